// Where the reader was last time: a line before what came since.

import { boundary } from "./place.js";
import { readingTop } from "./sight.js";
import { store, stored } from "./theme.js";

const PREFIX = "agent-comms:seen:";
const MOST = 300;
// What goes by faster nobody has looked at.
const GLANCE_MS = 200;
const MOST_CAME = 10_000;

/** Return what was the newest message of a room when this browser looked last. */
export const lastSeen = (room) => {
  const [seq, messages] = (stored(PREFIX + room) ?? "").split("/");
  return seq ? { seq: Number(seq), messages: Number(messages) } : null;
};

export class Looked {
  constructor(timeline, room) {
    this.timeline = timeline;
    this.room = room;
    this.before = lastSeen(room)?.seq ?? null;
    this.furthest = 0;
    // Where what came stands in the live order, as far as the head doesn't count it yet.
    this.came = [];
    this.timer = null;
    addEventListener("scroll", () => this.#soon(), { passive: true });
    addEventListener("pagehide", () => this.#keep());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#keep();
      else this.#soon();
    });
  }

  /** Draw the line, where its place is in the page. */
  draw() {
    document.querySelector(".looked")?.remove();
    if (this.before === null) return;
    const messages = this.timeline.messages();
    const first = messages.find((message) => Number(message.dataset.seq) > this.before);
    // All is new, or nothing is: a line says nothing then.
    if (!first || (first === messages[0] && !document.querySelector("main .turn.earlier"))) return;
    const line = document.createElement("div");
    line.className = "looked";
    line.textContent = "Since you last looked";
    first.before(line);
  }

  /** Take note of what is on the screen. */
  look() {
    const messages = this.timeline.messages();
    const top = readingTop();
    const first = boundary(messages, ({ bottom }) => bottom > top);
    const end = boundary(messages, (box) => box.top >= innerHeight);
    for (const { dataset } of messages.slice(first, end)) this.furthest = Math.max(this.furthest, Number(dataset.seq));
  }

  /** Take note of what came into the run. */
  arrived(seqs) {
    this.came = [...this.#uncounted(), ...seqs].slice(-MOST_CAME);
    this.#soon();
  }

  /** Return the place of what tells how many messages the run has, and up to where it counts them. */
  get #told() {
    return document.querySelector("[data-messages-of]")?.dataset;
  }

  #uncounted() {
    const { upTo } = this.#told ?? {};
    return this.came.filter((seq) => seq > Number(upTo));
  }

  /** Return how many messages of the run the reader has had before them: what the head counts, and what came since. */
  #messages() {
    const { messagesOf } = this.#told ?? {};
    return messagesOf ? Number(messagesOf) + this.#uncounted().filter((seq) => seq <= this.furthest).length : 0;
  }

  #soon() {
    this.timer ??= setTimeout(() => {
      this.timer = null;
      // What comes while nobody sees the tab is drawn at its end, too.
      if (!document.hidden) this.look();
    }, GLANCE_MS);
  }

  /** Remember the furthest that this tab or another has had before the reader. */
  #keep() {
    const kept = lastSeen(this.room);
    const seq = Math.max(this.furthest, kept?.seq ?? 0);
    if (!seq) return;
    store(PREFIX + this.room, `${seq}/${Math.max(this.#messages(), kept?.messages || 0)}`);
    this.#forget();
  }

  #forget() {
    try {
      const keys = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
      for (const key of keys.slice(0, Math.max(0, keys.length - MOST))) localStorage.removeItem(key);
    } catch {
      // Nothing is kept anyway.
    }
  }
}
