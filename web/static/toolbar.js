// What can be done with a message: copy what it says, its link, open it alone. One bar for all of them.

import { announce } from "./announce.js";
import { ask } from "./ask.js";
import { parse } from "./html.js";
import { localize } from "./time.js";

// Where a finger points, or there is little room, the bar is a row below the message that was tapped; the stylesheet has the same.
const row = matchMedia("(pointer: coarse), (max-width: 760px)");
const ICON = '<svg class="icon" aria-hidden="true"><use href="#i-NAME"></use></svg>';

/** Copy a text and say so. */
export async function write(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    announce(`${what} copied`);
  } catch {
    announce("The browser doesn't let this page copy");
  }
}

const page = (message, form) => {
  const url = new URL(message.dataset.page, location.href);
  if (form) url.pathname += `/${form}`;
  return url.href;
};

/** Copy the link that opens a message among those around it. */
export const copyLink = (message) => write(new URL(message.querySelector(".at").getAttribute("href"), location.href).href, "Link");

/** Copy what a message says, as it was published. */
export async function copyWords(message) {
  try {
    const answer = await ask(page(message, "raw"));
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const text = await answer.text();
    if (text) await write(text, "Text");
    else announce("There is no output to copy");
  } catch {
    announce("The message could not be loaded");
  }
}

/** Put the whole message in the place of what is shown of it. */
export async function openWhole(message, link) {
  const words = link.textContent;
  link.textContent = "Loading …";
  try {
    const url = new URL(page(message, "whole"));
    const q = new URLSearchParams(location.search).get("q");
    if (q) url.searchParams.set("q", q);
    const answer = await ask(url);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const whole = parse(await answer.text()).querySelector("article");
    localize(whole);
    const top = link.getBoundingClientRect().top;
    message.querySelector(":scope > .said").replaceWith(whole.querySelector(":scope > .said"));
    message.dataset.whole = "";
    // What comes above what was seen pushes it down; the reader goes on reading from where the link was.
    const pre = message.querySelector("pre");
    if (pre && top < 0) pre.scrollIntoView({ block: "start", behavior: "instant" });
  } catch {
    link.textContent = `${words}: it did not load, try again`;
  }
}

export class Toolbar {
  /**
   * @param {Element} root of the messages
   * @param {object} told
   * @param {(message: Element) => void} told.opened is given a message that is shown as a whole
   * @param {(message: Element | null) => void} told.tapped is given the message that was tapped, where none is pointed at
   */
  constructor(root, { opened, tapped }) {
    this.root = root;
    this.opened = opened;
    this.tapped = tapped;
    this.message = null;
    this.element = document.createElement("div");
    this.element.className = "toolbar";
    this.element.append(
      this.#button("copy", "Copy", "Copy what it says", () => copyWords(this.message)),
      this.#button("link", "Link", "Copy link", () => copyLink(this.message)),
      this.#button("page", "Open", "Open by itself", () => location.assign(page(this.message))),
    );
    for (const pointed of ["pointerover", "focusin"]) {
      root.addEventListener(pointed, ({ target }) => row.matches || this.show(target.closest("[data-seq]")));
    }
    root.addEventListener("click", (event) => this.#click(event));
  }

  show(message) {
    if (!message || message === this.message) return;
    this.message = message;
    message.append(this.element);
  }

  #button(icon, word, words, action) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "knob";
    button.title = words;
    button.setAttribute("aria-label", words);
    button.append(parse(`${ICON.replace("NAME", icon)}<span class="name">${word}</span>`));
    button.addEventListener("click", action);
    return button;
  }

  #click(event) {
    if (row.matches && !event.target.closest("a, button")) this.tapped(event.target.closest("[data-seq]"));
    const link = event.target.closest("a[data-whole]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const message = link.closest("[data-seq]");
    openWhole(message, link).then(() => this.opened(message));
  }
}
