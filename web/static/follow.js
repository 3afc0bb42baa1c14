// Sticks to the end only while the reader is there, and says how much is new when they are not.

const NEAR = 60;
const page = document.scrollingElement;

const distance = () => page.scrollHeight - page.scrollTop - page.clientHeight;

/** Change the page while what the reader sees stays where it is. */
export function still(root, change) {
  // A message, since the line of a day may go.
  const anchor = [...root.children].find((element) => element.dataset.seq && element.getBoundingClientRect().bottom > 120);
  const top = anchor?.getBoundingClientRect().top;
  change();
  if (anchor?.isConnected) page.scrollBy({ top: anchor.getBoundingClientRect().top - top, behavior: "instant" });
}

export class Follow {
  constructor(pill) {
    this.pill = pill;
    this.word = pill.querySelector(".new");
    this.fresh = 0;
    this.here = true;
    addEventListener("scroll", () => this.#look(), { passive: true });
    addEventListener("resize", () => this.here && this.toEnd());
    pill.addEventListener("click", () => this.toEnd());
  }

  /** Go to the end and stay there. */
  toEnd() {
    page.scrollTo({ top: page.scrollHeight, behavior: "instant" });
    this.here = true;
    this.#count(0);
  }

  /** Add messages below or between; `change` returns those that are new. */
  add(root, change) {
    if (this.here) {
      change();
      this.toEnd();
      return;
    }
    still(root, () => this.#count(this.fresh + change().length));
  }

  #look() {
    this.here = distance() < NEAR;
    if (this.here) this.#count(0);
  }

  #count(number) {
    this.fresh = number;
    this.pill.hidden = number === 0;
    this.word.textContent = `${number.toLocaleString("en")} new`;
  }
}
