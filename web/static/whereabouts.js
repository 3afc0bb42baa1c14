// Where the reader was, kept with the page's entry in the browser's history: who comes back or reloads goes on there.

import { boundary } from "./place.js";
import { readingTop } from "./sight.js";

const SETTLED_MS = 400;

export class Whereabouts {
  /**
   * @param {Timeline} timeline
   * @param {Follow} follow
   */
  constructor(timeline, follow) {
    this.timeline = timeline;
    this.follow = follow;
    addEventListener("scroll", () => this.#soon(), { passive: true });
    addEventListener("pagehide", () => this.#keep());
  }

  // Browsers take it only so often.
  #soon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#keep(), SETTLED_MS);
  }

  #keep() {
    const messages = this.timeline.messages();
    const begin = readingTop();
    const first = messages[boundary(messages, ({ bottom }) => bottom > begin)];
    const isAtEnd = this.follow.here || !first;
    const reader = isAtEnd ? { end: true } : { seq: first.dataset.seq, top: first.getBoundingClientRect().top };
    history.replaceState({ ...history.state, reader }, "");
  }
}
