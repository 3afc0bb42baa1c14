// Says whether the page is live and how fresh it is, and since when it isn't.

import { ask } from "./ask.js";
import { clockOf, spanOf } from "./time.js";

const ASK_MS = 5_000;
const AGE_MS = 1_000;
// What was said longer ago of how many wait isn't so any more.
const KNOWN_MS = 20_000;

export class Badge {
  /**
   * @param {Element} element
   * @param {string} noun what comes: a message, a run
   */
  constructor(element, noun = "message") {
    this.element = element;
    this.noun = noun;
    this.word = element.querySelector(".word");
    this.again = document.createElement("a");
    this.again.href = "";
    this.again.textContent = "Reload";
    this.connection = null;
    this.ingest = null;
    this.passing = null;
    this.isMissingSome = false;
    if (element.dataset.freshness && element.dataset.state !== "paged") this.#watch(element.dataset.freshness);
  }

  get state() {
    return this.element.dataset.state;
  }

  show(state, words, { reload = false } = {}) {
    // Whoever listens is told of a change, not of each second that goes by.
    const aloud = this.state === state ? "off" : "polite";
    if (this.element.getAttribute("aria-live") !== aloud) this.element.setAttribute("aria-live", aloud);
    if (this.state !== state) this.element.dataset.state = state;
    if (this.word.textContent !== words) this.word.textContent = words;
    if (reload) this.element.append(this.again);
    else this.again.remove();
  }

  live() {
    this.connection = "live";
    this.#say();
  }

  caughtUp(count) {
    this.passing = `caught up, ${count.toLocaleString("en")} ${this.noun}${count === 1 ? "" : "s"}`;
    this.element.dataset.passing = "";
    setTimeout(() => {
      this.passing = null;
      delete this.element.dataset.passing;
      if (this.connection === "live") this.#say();
    }, 5_000);
    if (this.connection === "live") this.#say();
  }

  reconnecting(since) {
    this.connection = "lost";
    this.show("reconnecting", `reconnecting: connection lost at ${clockOf(since)}`);
  }

  offline(since) {
    this.connection = "lost";
    this.show("offline", `offline, as of ${clockOf(since)}`);
  }

  stale() {
    this.connection = "stale";
    this.show("stale", "stale: new messages are not being stored");
  }

  /** Until the page is loaded again, whatever its connection does. */
  gap() {
    this.isMissingSome = true;
    if (this.connection === "live") this.#say();
  }

  signedOut() {
    this.connection = "signed-out";
    this.show("signed-out", "signed out, nothing new is shown", { reload: true });
  }

  /** Something was just stored: what is shown is as fresh as that. */
  stored(at) {
    if (this.ingest && (this.ingest.storedAt === null || at > this.ingest.storedAt)) {
      this.ingest.storedAt = at;
      if (this.connection === "live") this.#say();
    }
  }

  // The page's own connection is one thing, whether anything is being stored at all another.
  #say() {
    const ingest = this.ingest;
    if (this.isMissingSome) {
      this.show("stale", `some ${this.noun}s are missing here`, { reload: true });
      return;
    }
    if (ingest && (ingest.state === "down" || ingest.state === "behind")) {
      this.show("stale", this.passing ?? ingest.words);
      return;
    }
    const words = [this.passing ? `live, ${this.passing}` : "live"];
    if (ingest?.storedAt) words.push(`last stored ${spanOf(ingest.storedAt)} ago`);
    if (ingest?.state === "fresh" && Date.now() - ingest.toldAt < KNOWN_MS) words.push(ingest.words);
    this.show("live", words.join(" · "));
  }

  #watch(url) {
    let isAsking = false;
    const look = async () => {
      if (document.hidden || isAsking) return;
      isAsking = true;
      try {
        const answer = await ask(url);
        if (!answer.ok) return;
        const { state, words, stored_seconds_ago: ago } = await answer.json();
        const toldAt = Date.now();
        this.ingest = { state, words, toldAt, storedAt: ago === null ? null : new Date(toldAt - 1000 * ago) };
        if (this.connection === "live") this.#say();
      } catch {
        // The stream says that the server is away.
      } finally {
        isAsking = false;
      }
    };
    look();
    setInterval(look, ASK_MS);
    document.addEventListener("visibilitychange", look);
    // Its age goes on, whether there is an answer or not.
    setInterval(() => !document.hidden && this.connection === "live" && this.#say(), AGE_MS);
  }
}
