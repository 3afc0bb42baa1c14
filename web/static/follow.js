// Sticks to the end only while the reader is there, and says how much is new when they are not.

import { boundary } from "./place.js";
import { readingTop } from "./sight.js";

const NEAR = 60;
const page = document.scrollingElement;

const distance = () => page.scrollHeight - page.scrollTop - page.clientHeight;

/** Say whether the page's end is in sight. */
export const isAtEnd = () => distance() < NEAR;

/** Change the page while what the reader sees stays where it is. */
export function still(timeline, change) {
  // A message, since the line of a day may go.
  const messages = timeline.messages();
  const begin = readingTop();
  const anchor = messages[boundary(messages, ({ bottom }) => bottom > begin)];
  const top = anchor?.getBoundingClientRect().top;
  change();
  if (anchor?.isConnected) page.scrollBy({ top: anchor.getBoundingClientRect().top - top, behavior: "instant" });
}

export class Follow {
  /**
   * @param {Element} pill says how much is new, and leads there
   * @param {Window} view the part of the conversation that is in the page
   */
  constructor(pill, view) {
    this.pill = pill;
    this.view = view;
    this.word = pill.querySelector(".new");
    this.fresh = 0;
    this.here = true;
    addEventListener("scroll", () => this.#look(), { passive: true });
    addEventListener("resize", () => this.here && this.#down());
    pill.addEventListener("click", () => this.toEnd());
  }

  /** Go to the end and stay there. */
  async toEnd() {
    if (!this.view.isAtEnd) await this.view.go();
    this.#down();
    this.here = true;
    this.#count(0);
  }

  /** Stay where the reader is. */
  stop() {
    this.here = false;
  }

  /** Add messages below or between; `change` returns those that are new in the page, `arrived` is how many there are. */
  add(timeline, arrived, change) {
    if (this.here) {
      change();
      this.#down();
      return;
    }
    still(timeline, () => {
      const added = change().length;
      // What isn't in the page yet is new to the reader, too.
      this.#count(this.fresh + (this.view.isAtEnd ? added : arrived));
    });
  }

  #down() {
    page.scrollTo({ top: page.scrollHeight, behavior: "instant" });
  }

  #look() {
    this.here = isAtEnd() && this.view.isAtEnd;
    if (this.here) this.#count(0);
  }

  #count(number) {
    this.fresh = number;
    this.pill.hidden = number === 0;
    this.word.textContent = `${number.toLocaleString("en")} new`;
  }
}
