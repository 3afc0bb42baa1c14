// Where there are no keys and little room: to the newest messages, and from there to the beginning.

const WAYS = { newest: ["#i-bottom", "To the newest messages"], beginning: ["#i-top", "To the beginning"] };

export class Ends {
  /**
   * @param {HTMLAnchorElement} link
   * @param {Window} view the part of the conversation that is in the page
   * @param {{newest: () => void, beginning: () => void}} ways
   */
  constructor(link, view, ways) {
    this.link = link;
    this.view = view;
    this.isAtTop = false;
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      ways[this.#way]();
    });
    new IntersectionObserver((entries) => {
      this.isAtTop = entries.at(-1).isIntersecting;
      this.draw();
    }).observe(document.querySelector(".top"));
  }

  get #way() {
    return this.isAtTop || !this.view.isAtEnd ? "newest" : "beginning";
  }

  /** Show where it leads now. */
  draw() {
    const [icon, words] = WAYS[this.#way];
    if (this.link.title === words) return;
    this.link.title = words;
    this.link.querySelector("use").setAttribute("href", icon);
    this.link.querySelector(".name").textContent = words;
  }
}
