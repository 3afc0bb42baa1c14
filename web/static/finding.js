// Goes from one match, or one failure, to the next, beyond what is in the page too.

import { announce } from "./announce.js";
import { ask } from "./ask.js";
import { FIRST, LAST, after, before, placeOf } from "./place.js";

const WRONG = { errors: "1" };
const NOTHING = { seq: null, more: false };

/** Say whether the line of a card has a match that counts elsewhere: in what the card holds, or at the call above. */
function isSaidAgain(mark) {
  const row = mark.closest(".row");
  if (!row) return false;
  if (row.matches(".joined .request")) return true;
  const inside = row.closest(".fold")?.querySelector(":scope > .inside");
  const words = mark.textContent.toLowerCase();
  return [...(inside?.getElementsByTagName("mark") ?? [])].some(({ textContent }) => textContent.toLowerCase() === words);
}

export class Finding {
  /**
   * @param {Timeline} timeline
   * @param {Window} view
   * @param {(message: Element) => void} reach shows a message and selects it
   * @param {Record<string, string>} query the filters of the page
   */
  constructor(timeline, view, reach, query) {
    this.timeline = timeline;
    this.view = view;
    this.reach = reach;
    this.url = timeline.element.dataset.next;
    this.query = query;
    this.mark = null;
    this.place = document.querySelector(".hits .place");
    this.count();
  }

  get searches() {
    return "q" in this.query;
  }

  /** Go to the next match or the one before; where nothing is searched, to the next failure. */
  step(by, from) {
    return this.searches ? this.#match(by, from) : this.failure(by, from);
  }

  /** Go to the next failure after a message, or the one before it; after the last one comes the first again. */
  async failure(by, from) {
    const start = from?.isConnected ? from : null;
    const onward = by > 0 ? after : before;
    let found = start ? onward(start) : this.timeline[by > 0 ? "first" : "last"];
    while (found && found.dataset.wrong === undefined) found = onward(found);
    if (found) {
      this.reach(found);
      return;
    }
    try {
      await this.#failureBeyond(by, start);
    } catch {
      announce("These messages did not load");
    }
  }

  /** Go to the next failure that isn't in the page; where there is none, begin anew at the other end of all messages. */
  async #failureBeyond(by, start) {
    const edge = by > 0 ? this.timeline.last : this.timeline.first;
    const isOpen = document.querySelector(`main .turn.${by > 0 ? "later" : "earlier"} a`);
    const next = edge && isOpen ? await this.#ask(by, placeOf(edge), WRONG) : NOTHING;
    if (next.seq !== null) {
      await this.#show(next.seq);
      return;
    }
    if (next.more) {
      announce(by > 0 ? "No failure among the next messages" : "No failure among the messages before");
      return;
    }
    const { seq } = await this.#ask(by, by > 0 ? FIRST : LAST, WRONG);
    if (seq === null) announce("No failure here");
    else {
      await this.#show(seq);
      if (start?.dataset.seq === String(seq)) announce("The only failure");
      else announce(by > 0 ? "From the start: the first failure" : "From the end: the last failure");
    }
  }

  async #show(seq) {
    if (!this.timeline.find(seq)) await this.view.go({ at: seq });
    const message = this.timeline.find(seq);
    if (message) this.reach(message);
  }

  #match(by, from) {
    const marks = this.#marks();
    let at = this.mark?.isConnected ? marks.indexOf(this.mark) : -1;
    if (at < 0 && from) {
      at = marks.findIndex((mark) => from.contains(mark) || from.compareDocumentPosition(mark) & Node.DOCUMENT_POSITION_FOLLOWING);
      at -= by > 0 ? 1 : 0;
    } else if (at < 0 && by < 0) at = marks.length;
    const next = marks[at + by];
    if (!next) {
      const side = by > 0 ? "later" : "earlier";
      if (document.querySelector(`main .turn.${side} a`)) this.view.load(side).then(() => this.count());
      else announce(by > 0 ? "No match after this" : "No match before this");
      return;
    }
    this.mark?.classList.remove("is-current");
    this.mark = next;
    next.classList.add("is-current");
    for (let parent = next.parentElement; parent; parent = parent.parentElement) if (parent.matches("details")) parent.open = true;
    this.reach(next.closest("[data-seq]"), next);
    this.count();
  }

  #marks() {
    return [...this.timeline.element.getElementsByTagName("mark")].filter((mark) => !isSaidAgain(mark));
  }

  /** Say how many matches there are in the page. */
  count() {
    if (!this.place) return;
    const marks = this.#marks();
    const at = this.mark?.isConnected ? marks.indexOf(this.mark) + 1 : 0;
    const more = document.querySelector("main .turn.earlier, main .turn.later") ? "+" : "";
    this.place.textContent = marks.length ? `${at} of ${marks.length.toLocaleString("en")}${more}` : "no match in sight";
    this.place.closest(".hits").hidden = !this.timeline.size;
  }

  /** Return the place of the next message that filters let through, if any is near, and whether there may be more. */
  async #ask(by, place, filters) {
    const url = new URL(this.url, location.href);
    for (const [name, value] of Object.entries({ ...this.query, ...filters })) url.searchParams.set(name, value);
    url.searchParams.set(by > 0 ? "after" : "before", place);
    const answer = await ask(url);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    return answer.json();
  }
}
