// A click on a lane leads to that time; a line shows what of the run is in sight.

import { parse } from "./html.js";
import { localize } from "./time.js";

const PAUSE_MS = 10_000;

export class Lanes {
  /**
   * @param {Element} place where they stand
   * @param {(moment: string) => void} go shows what was said at a time
   */
  constructor(place, go) {
    this.place = place;
    this.go = go;
    this.timer = null;
    place.addEventListener("click", (event) => this.#click(event));
    addEventListener("scroll", () => this.#soon(), { passive: true });
    this.load();
  }

  /** Refresh after a while; many calls are one. */
  refresh() {
    this.timer ??= setTimeout(() => {
      this.timer = null;
      if (!document.hidden) this.load();
    }, PAUSE_MS);
  }

  async load() {
    try {
      const answer = await fetch(this.place.dataset.load);
      if (!answer.ok) return;
      const fragment = parse(await answer.text());
      localize(fragment);
      const isOpen = this.place.querySelector("details")?.open;
      this.place.replaceChildren(...fragment.childNodes);
      const details = this.place.querySelector("details");
      if (details && isOpen) details.open = true;
      this.sight();
    } catch {
      // The badge says that the server is away.
    }
  }

  get figure() {
    return this.place.querySelector(".lanes");
  }

  #soon() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.sight();
    });
  }

  /** Show which time is in sight. */
  sight() {
    const figure = this.figure;
    if (!figure) return;
    const drawing = figure.querySelector("svg");
    const shown = [...document.querySelectorAll(".timeline > [data-seq]")];
    const first = shown.find((message) => message.getBoundingClientRect().bottom > 120);
    const last = shown.findLast((message) => message.getBoundingClientRect().top < innerHeight);
    const line = figure.querySelector(".sight");
    line.hidden = !first || !last;
    if (line.hidden) return;
    const [begin, end] = [Date.parse(figure.dataset.first), Date.parse(figure.dataset.last)];
    const part = (message) => Math.min(1, Math.max(0, (Date.parse(message.dataset.timestamp) - begin) / Math.max(1, end - begin)));
    const { left, width } = drawing.getBoundingClientRect();
    const from = left - figure.getBoundingClientRect().left;
    line.style.left = `${from + part(first) * width}px`;
    line.style.width = `${Math.max(2, (part(last) - part(first)) * width)}px`;
  }

  #click(event) {
    const drawing = event.target.closest("svg");
    if (!drawing) return;
    const { left, width } = drawing.getBoundingClientRect();
    const figure = this.figure;
    const [begin, end] = [Date.parse(figure.dataset.first), Date.parse(figure.dataset.last)];
    const share = Math.min(1, Math.max(0, (event.clientX - left) / width));
    this.go(new Date(begin + share * (end - begin)).toISOString());
  }
}
