// What the reader opened or folded stays so, as long as the tab is there: after a reload, and when it is loaded anew.

import { after, before } from "./place.js";

const PREFIX = "agent-comms:folds:";
const MOST = 500;
const CARDS = "details.fold, details.quiet";

const cardOf = (message) => message.querySelector(CARDS) ?? message.querySelector("details");

/** Return a message and the one that is one card with it, that with the output first. */
function halves(message) {
  if (message.classList.contains("answered")) return [after(message), message];
  return message.classList.contains("joined") ? [message, before(message)] : [message];
}

export class Folds {
  /**
   * @param {Element} root of the messages
   * @param {string} room
   */
  constructor(root, room) {
    this.key = PREFIX + room;
    this.chosen = new Map(this.#read());
    // What opens as it comes is nobody's choice; at the click it isn't done yet.
    root.addEventListener("click", ({ target }) => {
      const card = target.closest("summary")?.parentElement;
      if (card?.matches(CARDS)) this.#keep([[card, !card.open]]);
    });
  }

  /** Show a message's card as it was left. */
  apply(message) {
    const isOpen = this.chosen.get(message.dataset.seq);
    if (isOpen !== undefined) cardOf(message)?.toggleAttribute("open", isOpen);
  }

  /** Open or fold a message's card, of a call and its result the output; returns whether it has one. */
  turn(message) {
    const card = halves(message).map(cardOf).find(Boolean);
    if (card) this.#set([card], !card.open);
    return Boolean(card);
  }

  /** Open all cards, or fold them where all are open. */
  turnAll(root) {
    const cards = [...root.querySelectorAll(CARDS)];
    this.#set(cards, !cards.every((card) => card.open));
  }

  #set(cards, isOpen) {
    for (const card of cards) card.open = isOpen;
    this.#keep(cards.map((card) => [card, isOpen]));
  }

  #keep(choices) {
    for (const [card, isOpen] of choices) {
      const { seq } = card.closest("[data-seq]").dataset;
      this.chosen.delete(seq);
      this.chosen.set(seq, isOpen);
    }
    for (const seq of [...this.chosen.keys()].slice(0, Math.max(0, this.chosen.size - MOST))) this.chosen.delete(seq);
    try {
      sessionStorage.setItem(this.key, JSON.stringify([...this.chosen]));
    } catch {
      // It stays as long as the page does.
    }
  }

  #read() {
    try {
      return JSON.parse(sessionStorage.getItem(this.key) ?? "[]");
    } catch {
      return [];
    }
  }
}
