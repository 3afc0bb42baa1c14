// The part of a conversation that is in the page: more is loaded at either end as the reader comes near,
// and what is far from them is taken away, so that the page stays light however long the conversation is.

import { ask } from "./ask.js";
import { still } from "./follow.js";
import { parse } from "./html.js";
import { after, before, placeOf } from "./place.js";
import { localize } from "./time.js";

const NEAR = "600px 0px";
// Elements of messages; with their texts, and the page around them, they are no more than 6,000 nodes.
const MOST = 3_000;
const KEPT = 2_400;
// What arrived while the end wasn't loaded, and may have been stored after it was read.
const MOST_MISSED = 500;

const TEXT = { earlier: "Earlier messages", later: "Later messages" };

export class Window {
  /**
   * @param {Timeline} timeline
   * @param {string} url of the fragments
   * @param {() => void} changed is called after messages came or went
   */
  constructor(timeline, url, changed = () => {}) {
    this.timeline = timeline;
    this.url = url;
    this.changed = changed;
    this.loading = null;
    this.missed = [];
    this.meanwhile = null;
    this.watcher = new IntersectionObserver((entries) => this.#near(entries), { rootMargin: NEAR });
    this.#wire();
  }

  /** Whether the newest message is in the page. */
  get isAtEnd() {
    return !this.#link("later");
  }

  /**
   * Take what arrived; return what is new in the page.
   * @param {Element[]} messages
   * @param {boolean} followed whether the reader is at the end
   */
  add(messages, followed) {
    this.meanwhile?.push(...messages);
    // Far below a reader who stays where they are it isn't piled up.
    if (!followed && this.isAtEnd && this.#elements > KEPT) this.#offer("later");
    const openBelow = !this.isAtEnd;
    if (openBelow && this.missed !== null) {
      this.missed.push(...messages);
      if (this.missed.length > MOST_MISSED) this.missed = null;
    }
    return this.timeline.add(messages, { openAbove: Boolean(this.#link("earlier")), openBelow });
  }

  get #elements() {
    return this.timeline.element.getElementsByTagName("*").length;
  }

  /**
   * Change the page, then take away what is too much, far from the reader at one end.
   * Where things are is asked before anything is changed: asked in between, all of it would be laid out twice.
   */
  change(end, change) {
    const far = this.timeline.far(end);
    const changed = change();
    if (this.#elements > MOST && this.timeline.trim(far.filter((message) => message.isConnected), KEPT)) {
      this.#offer(end === "above" ? "earlier" : "later");
    }
    return changed;
  }

  /** Load one end; returns when it is there. */
  async load(side) {
    const link = this.#link(side);
    if (this.loading || !link) return;
    await this.#fetch(link.dataset.fragment, link, (fragment) => this.#extend(side, fragment));
  }

  /** Show another part of the conversation: the newest, or what is around a message or a time. */
  async go(query = {}) {
    const url = new URL(this.url, location.href);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    await this.loading;
    // What arrives while they are on their way may have been stored after they were read.
    const arrived = (this.meanwhile = []);
    try {
      await this.#fetch(url, null, (fragment) => {
        const messages = messagesOf(fragment);
        localize(fragment);
        this.timeline.replace(messages);
        this.#place("earlier", fragment);
        this.#place("later", fragment);
        document.querySelector(".newest")?.remove();
        this.missed = [];
        this.meanwhile = null;
        this.add(arrived, true);
        this.changed();
      });
    } finally {
      this.meanwhile = null;
    }
  }

  #link(side) {
    return document.querySelector(`main .turn.${side} a`);
  }

  async #fetch(url, link, use) {
    if (link) link.textContent = `Loading ${TEXT[link.parentElement.classList.contains("later") ? "later" : "earlier"].toLowerCase()} …`;
    const work = (async () => {
      try {
        const answer = await ask(url);
        if (!answer.ok) throw new Error(`status ${answer.status}`);
        use(parse(await answer.text()));
      } catch (error) {
        if (!link) throw error;
        link.textContent = "These messages did not load. Try again";
        this.watcher.disconnect();
      }
    })();
    this.loading = work.catch(() => {});
    try {
      await work;
    } finally {
      this.loading = null;
    }
    this.#wire();
  }

  #extend(side, fragment) {
    const messages = messagesOf(fragment);
    localize(fragment);
    const edge = side === "earlier" ? this.timeline.first : this.timeline.last;
    const isFocused = this.#link(side) === document.activeElement;
    still(this.timeline, () => {
      this.change(side === "earlier" ? "below" : "above", () => {
        this.timeline.add(messages);
        this.#place(side, fragment);
        if (side === "later" && this.isAtEnd) {
          if (this.missed === null) this.#offer("later");
          else this.timeline.add(this.missed);
          this.missed = [];
          document.querySelector(".newest")?.remove();
        }
      });
      this.changed();
    });
    if (isFocused) this.#focusBeyond(side, edge);
  }

  /** Have who came to the link by keys go on with what came in its place, beyond the message that was the last one. */
  #focusBeyond(side, edge) {
    const onward = side === "earlier" ? before : after;
    for (let message = edge ? onward(edge) : this.timeline.first; message; message = onward(message)) {
      const parts = [...message.querySelectorAll("a, summary")];
      const part = parts.find((one) => one.checkVisibility({ visibilityProperty: true }));
      if (part) {
        part.focus();
        return;
      }
    }
    this.#link(side)?.focus({ preventScroll: true });
  }

  /** Put a fragment's link in the place of the page's. */
  #place(side, fragment) {
    const line = fragment.querySelector(`.turn.${side}`);
    this.#link(side)?.parentElement.remove();
    if (!line) return;
    if (side === "earlier") this.timeline.element.before(line);
    else this.timeline.element.after(line);
  }

  /** Offer what lies beyond the messages that are shown. */
  #offer(side) {
    const edge = side === "earlier" ? this.timeline.first : this.timeline.last;
    if (!edge) return;
    let link = this.#link(side);
    if (!link) {
      const line = document.createElement("p");
      line.className = `turn ${side}`;
      link = line.appendChild(document.createElement("a"));
      link.textContent = TEXT[side];
      if (side === "earlier") this.timeline.element.before(line);
      else this.timeline.element.after(line);
    }
    const name = side === "earlier" ? "before" : "after";
    const fragment = new URL(this.url, location.href);
    fragment.searchParams.set(name, placeOf(edge));
    link.dataset.fragment = fragment.href;
    fragment.pathname = fragment.pathname.replace(/\/messages$/, "");
    link.href = fragment.href;
    this.#wire();
  }

  #near(entries) {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting) this.load(target.parentElement.classList.contains("later") ? "later" : "earlier");
    }
  }

  #wire() {
    this.watcher.disconnect();
    for (const side of ["earlier", "later"]) {
      const link = this.#link(side);
      if (!link) continue;
      link.onclick = (event) => {
        event.preventDefault();
        this.load(side);
      };
      this.watcher.observe(link);
    }
  }
}

function messagesOf(fragment) {
  return [...fragment.children].filter((element) => element.dataset.seq !== undefined);
}
