// A click on a lane leads to that time; a line shows what of the run is in sight.

import { boundary } from "./place.js";
import { Refresh } from "./refresh.js";
import { readingTop } from "./sight.js";

const PAUSE_MS = 10_000;

export class Lanes {
  /**
   * @param {Element} place where they stand
   * @param {Timeline} timeline
   * @param {(moment: string) => void} go shows what was said at a time
   */
  constructor(place, timeline, go) {
    this.place = place;
    this.timeline = timeline;
    this.go = go;
    this.refresh = new Refresh(place.dataset.load, PAUSE_MS, (fragment) => this.#show(fragment));
    place.addEventListener("click", (event) => this.#click(event));
    addEventListener("scroll", () => this.sight(), { passive: true });
    this.refresh.first();
  }

  #show(fragment) {
    const isOpen = this.place.querySelector("details")?.open;
    this.place.replaceChildren(...fragment.childNodes);
    const details = this.place.querySelector("details");
    if (details && isOpen) details.open = true;
    this.sight();
  }

  get figure() {
    return this.place.querySelector(".lanes");
  }

  /** Show which time is in sight, with the next picture. */
  sight() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#draw();
    });
  }

  #draw() {
    const figure = this.figure;
    if (!figure) return;
    const drawing = figure.querySelector("svg");
    const shown = this.timeline.messages();
    const edge = readingTop();
    const first = shown[boundary(shown, ({ bottom }) => bottom > edge)];
    const last = shown[boundary(shown, ({ top }) => top >= innerHeight) - 1];
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
