// Loads earlier messages above what is read, without a jump.

import { still } from "./follow.js";
import { parse } from "./html.js";
import { localize } from "./time.js";

const AHEAD = "1200px 0px 0px 0px";

export class Earlier {
  constructor(timeline) {
    this.timeline = timeline;
    this.loading = false;
    this.watcher = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && this.load(), { rootMargin: AHEAD });
    this.#wire();
  }

  get link() {
    return document.querySelector(".earlier a");
  }

  /** Offer what lies before the oldest message that is shown. */
  offer() {
    const start = this.timeline.start;
    if (!start) return;
    let link = this.link;
    if (!link) {
      const line = document.createElement("p");
      line.className = "turn earlier";
      link = line.appendChild(document.createElement("a"));
      link.textContent = "Earlier messages";
      this.timeline.element.before(line);
    }
    const page = new URL(location.href);
    page.hash = "";
    page.searchParams.set("before", start);
    link.href = page.href;
    page.pathname += "/earlier";
    link.dataset.fragment = page.href;
    this.#wire();
  }

  async load() {
    const link = this.link;
    if (this.loading || !link) return;
    this.loading = true;
    link.textContent = "Loading earlier messages …";
    try {
      const answer = await fetch(link.dataset.fragment);
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      this.#place(parse(await answer.text()));
    } catch {
      link.textContent = "Earlier messages did not load. Try again";
      this.watcher.disconnect();
    } finally {
      this.loading = false;
    }
  }

  #place(fragment) {
    const next = fragment.querySelector(".earlier");
    const messages = [...fragment.children].filter((element) => element.dataset.seq !== undefined);
    localize(fragment);
    still(this.timeline.element, () => {
      this.timeline.prepend(messages);
      const line = this.link.parentElement;
      if (next) line.replaceWith(next);
      else line.remove();
    });
    this.#wire();
  }

  #wire() {
    this.watcher.disconnect();
    const link = this.link;
    if (!link) return;
    link.onclick = (event) => {
      event.preventDefault();
      this.load();
    };
    this.watcher.observe(link);
  }
}
