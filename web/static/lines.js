// Long lines of code, output and diffs: wrapped, or scrolled sideways.

import { announce } from "./announce.js";
import { on } from "./keys.js";
import { readingTop } from "./sight.js";
import { LINES, showLines, store } from "./theme.js";

const LONG = "pre:is(.code, .term, .diff), .tree";
const STEP_PX = 12;
const page = document.scrollingElement;

const scroll = () => document.documentElement.hasAttribute("data-scrolls");

export class Lines {
  /**
   * @param {Element} root of what is read
   * @param {(change: () => void) => void} keep changes the page, and leaves the reader where they are
   */
  constructor(root, keep = hold) {
    this.root = root;
    this.keep = keep;
    // What scrolls is reached by keys; what doesn't is no stop on their way.
    this.sizes = new ResizeObserver((entries) => {
      for (const { target } of entries) {
        if (!target.isConnected) this.sizes.unobserve(target);
        else if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
        else target.removeAttribute("tabindex");
      }
    });
    this.watch(root);
    on(["w"], () => this.turn());
    document.querySelector('main [data-do="lines"]')?.addEventListener("click", () => this.turn());
    addEventListener("storage", ({ key }) => key === LINES && this.#show());
  }

  /** Have what came into the page be reached by keys, where it scrolls. */
  watch(element) {
    if (scroll()) for (const long of element.querySelectorAll(LONG)) this.sizes.observe(long);
  }

  /** Have long lines scroll where they wrap, or wrap where they scroll. */
  turn() {
    store(LINES, scroll() ? null : "scroll");
    this.#show(!scroll());
    announce(scroll() ? "Long lines scroll" : "Long lines wrap");
  }

  #show(chosen) {
    this.keep(() => showLines(chosen));
    if (scroll()) {
      this.watch(this.root);
      return;
    }
    this.sizes.disconnect();
    for (const long of this.root.querySelectorAll(LONG)) long.removeAttribute("tabindex");
  }
}

/** Change the page while a message, or else the first line in sight, stays where it is. */
export function hold(change, message = null) {
  const place = message?.getBoundingClientRect().top;
  const isInSight = message && place > readingTop() && place < innerHeight;
  const line = isInSight ? message : firstLine();
  const top = line?.getBoundingClientRect().top;
  change();
  if (line) page.scrollBy({ top: line.getBoundingClientRect().top - top, behavior: "instant" });
}

/** Return the first line in sight: of a text of many lines the place in it. */
function firstLine() {
  const { left, width } = document.querySelector("main").getBoundingClientRect();
  const x = left + width * 0.4;
  for (let y = readingTop() + 4; y < innerHeight; y += STEP_PX) {
    const part = document.elementFromPoint(x, y)?.closest("[data-seq] *, .change *");
    if (part) return placeIn(part, x, y) ?? part;
  }
  return null;
}

function placeIn(part, x, y) {
  // Safari has the older one alone.
  const { offsetNode, offset } = document.caretPositionFromPoint?.(x, y) ?? {};
  const place = document.caretRangeFromPoint?.(x, y);
  const [node, at] = offsetNode ? [offsetNode, offset] : [place?.startContainer, place?.startOffset];
  if (node?.nodeType !== Node.TEXT_NODE || !part.contains(node)) return null;
  const range = document.createRange();
  range.setStart(node, Math.max(0, at - 1));
  range.setEnd(node, Math.min(node.length, Math.max(1, at)));
  return range.getClientRects().length ? range : null;
}
