// One thing of a list is selected, by key or by pointer, and stays in sight.

import { readingTop } from "./sight.js";

/** Give a selected item the focus: its link, or what of it is there. */
export function focusOn(item) {
  const parts = [...item.querySelectorAll("a, summary")];
  const part = parts.find((one) => one.checkVisibility({ visibilityProperty: true }));
  if (!part) item.tabIndex = -1;
  (part ?? item).focus({ preventScroll: true });
}

export class Selection {
  /**
   * @param {() => Element[]} items what can be selected, from top to bottom
   * @param {(item: Element | null) => void} chosen
   */
  constructor(items, chosen = () => {}) {
    this.items = items;
    this.chosen = chosen;
    this.current = null;
  }

  select(item, { focus = true } = {}) {
    if (this.current !== item) {
      this.current?.classList.remove("selected");
      this.current = item;
      item?.classList.add("selected");
    }
    this.chosen(item);
    if (item && focus) {
      // First, since while something in the head has the focus any place in the window will do.
      focusOn(item);
      item.scrollIntoView({ block: "nearest", behavior: "instant" });
    }
  }

  step(by) {
    const items = this.items();
    if (!items.length) return null;
    let at = this.current?.isConnected ? items.indexOf(this.current) : -1;
    if (at < 0) at = this.#nearest(items, by);
    else at = Math.min(items.length - 1, Math.max(0, at + by));
    this.select(items[at]);
    return items[at];
  }

  /** Return the first item in sight, or the last one going up. */
  #nearest(items, by) {
    const begin = readingTop();
    const inSight = items.map((item) => item.getBoundingClientRect()).map(({ top, bottom }) => bottom > begin && top < innerHeight);
    const at = by > 0 ? inSight.indexOf(true) : inSight.lastIndexOf(true);
    return at < 0 ? 0 : at;
  }
}
