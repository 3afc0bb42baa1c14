// Asks again for a part of the page that what is said changes: after a pause, and the longer it takes the less often.

import { ask } from "./ask.js";
import { parse } from "./html.js";
import { localize } from "./time.js";

// Of the time between two answers no more than a twentieth is spent on them.
const SHARE = 20;
// But what is shown is never older than this because one of them was slow.
const LONGEST_MS = 30_000;

export class Refresh {
  /**
   * @param {string} url of a fragment
   * @param {number} pause at least so long, in milliseconds
   * @param {(fragment: DocumentFragment) => void} use
   * @param {number[]} later looks again after so many milliseconds each, unless something is said before
   */
  constructor(url, pause, use, later = []) {
    this.url = url;
    this.pause = this.wait = pause;
    this.use = use;
    this.later = later;
    this.looks = [];
    this.timer = null;
    this.isLoading = false;
    this.isAskedAgain = false;
    this.number = 0;
    this.missed = false;
    document.addEventListener("visibilitychange", () => !document.hidden && this.missed && this.soon());
  }

  /** Refresh after the pause, once it is seen; many calls are one. */
  soon() {
    this.missed = document.hidden;
    if (this.missed) return;
    this.looks = [...this.later];
    clearTimeout(this.look);
    // What is on its way may be older than what this is about.
    if (this.isLoading) this.isAskedAgain = true;
    else this.timer ??= setTimeout(() => this.load(), this.wait);
  }

  /** Refresh at once; what is on its way may have been asked for before all of this happened. */
  now() {
    this.missed = document.hidden;
    if (this.missed) return;
    this.looks = [...this.later];
    clearTimeout(this.look);
    clearTimeout(this.timer);
    this.isAskedAgain = false;
    this.#load();
  }

  /** Load it once the page has been drawn. */
  first() {
    requestAnimationFrame(() => setTimeout(() => this.load()));
  }

  load() {
    if (!this.isLoading) this.#load();
  }

  async #load() {
    this.timer = null;
    this.isLoading = true;
    const number = (this.number += 1);
    const isOld = () => number !== this.number;
    const began = performance.now();
    try {
      const answer = await ask(this.url);
      if (answer.status >= 500) throw new Error(`status ${answer.status}`);
      const text = await answer.text();
      if (isOld()) return;
      this.wait = Math.max(this.pause, Math.min(LONGEST_MS, SHARE * (performance.now() - began)));
      if (answer.ok) this.#use(text);
    } catch {
      if (isOld()) return;
      // The badge says that the server is away. The last message of a run may have been said.
      this.wait = Math.min(LONGEST_MS, 2 * this.wait);
      this.isAskedAgain = true;
    } finally {
      if (!isOld()) this.#next();
    }
  }

  #use(text) {
    const fragment = parse(text);
    localize(fragment);
    this.use(fragment);
  }

  #next() {
    this.isLoading = false;
    if (this.isAskedAgain) {
      this.isAskedAgain = false;
      this.soon();
    } else if (this.looks.length) this.look = setTimeout(() => this.#lookAgain(), this.looks.shift());
  }

  #lookAgain() {
    this.missed = document.hidden;
    if (!this.missed) this.load();
  }
}
