// The parts of a run's page that its messages change: asked for again after some have come.

import { parse } from "./html.js";
import { localize } from "./time.js";

const PAUSE_MS = 1_500;
// What takes a look at the whole run is asked for less often.
const ACCOUNT_PAUSE_MS = 15_000;

export class Parts {
  constructor(url) {
    this.url = url;
    this.timer = null;
    this.missed = false;
    document.addEventListener("visibilitychange", () => !document.hidden && this.missed && this.refresh());
  }

  /** Refresh soon, once it is seen; many calls are one. */
  refresh() {
    this.missed = document.hidden;
    if (this.missed) return;
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

export class Account {
  constructor() {
    this.places = [...document.querySelectorAll(".account[data-load]")];
    this.timer = null;
    if (this.places.length) this.load();
  }

  refresh() {
    if (!this.places.length) return;
    this.timer ??= setTimeout(() => {
      this.timer = null;
      if (!document.hidden) this.load();
    }, ACCOUNT_PAUSE_MS);
  }

  async load() {
    try {
      const answer = await fetch(this.places[0].dataset.load);
      if (!answer.ok) return;
      const fragment = parse(await answer.text());
      localize(fragment);
      for (const place of this.places) {
        if (!place.contains(document.activeElement)) place.replaceChildren(...fragment.cloneNode(true).childNodes);
      }
    } catch {
      // As above.
    }
  }
}
