// The parts of a run's page that its messages change: asked for again after some have come.

import { parse } from "./html.js";
import { localize } from "./time.js";

const PAUSE_MS = 1_500;

export class Parts {
  constructor(url) {
    this.url = url;
    this.timer = null;
  }

  /** Refresh soon; many calls are one. */
  refresh() {
    this.timer ??= setTimeout(() => this.#load(), PAUSE_MS);
  }

  async #load() {
    try {
      const answer = await fetch(this.url);
      if (answer.ok) this.#replace(parse(await answer.text()));
    } catch {
      // The badge says that the server is away; the next message asks again.
    } finally {
      this.timer = null;
    }
  }

  #replace(fragment) {
    localize(fragment);
    for (const part of fragment.querySelectorAll("[data-part]")) {
      for (const old of document.querySelectorAll(`[data-part="${part.dataset.part}"]`)) {
        if (!old.contains(document.activeElement)) old.replaceChildren(...part.cloneNode(true).childNodes);
      }
    }
  }
}
