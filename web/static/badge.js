// Says whether the page is live and how fresh it is, and since when it isn't.

import { clockOf, spanOf } from "./time.js";

const ASK_MS = 5_000;

export class Badge {
  constructor(element) {
    this.element = element;
    this.word = element.querySelector(".word");
    this.connection = null;
    this.ingest = null;
    this.passing = null;
    if (element.dataset.freshness && element.dataset.state !== "paged") this.#watch(element.dataset.freshness);
  }

  get state() {
    return this.element.dataset.state;
  }

  show(state, words) {
    // Whoever listens is told of a change, not of each second that goes by.
    this.element.setAttribute("aria-live", this.state === state ? "off" : "polite");
    if (this.state !== state) this.element.dataset.state = state;
    if (this.word.textContent !== words) this.word.textContent = words;
  }

  live() {
    this.connection = "live";
    this.#say();
  }

  caughtUp(count) {
    this.connection = "live";
    this.passing = `caught up, ${count.toLocaleString("en")} ${count === 1 ? "message" : "messages"}`;
    setTimeout(() => {
      this.passing = null;
      if (this.connection === "live") this.#say();
    }, 5_000);
    this.#say();
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

  gap() {
    this.connection = "gap";
    this.show("stale", "some messages are missing, reload to see them");
  }

  signedOut() {
    this.connection = "signed-out";
    this.show("signed-out", "signed out, reload to sign in");
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
    if (ingest && (ingest.state === "down" || ingest.state === "behind")) {
      this.show("stale", this.passing ?? ingest.words);
      return;
    }
    const words = [this.passing ? `live, ${this.passing}` : "live"];
    if (ingest?.storedAt) words.push(`last stored ${spanOf(ingest.storedAt)} ago`);
    if (ingest?.state === "fresh") words.push(ingest.words);
    this.show("live", words.join(" · "));
  }

  #watch(url) {
    const ask = async () => {
      if (document.hidden) return;
      try {
        const answer = await fetch(url);
        if (!answer.ok) return;
        const { state, words, stored_seconds_ago: ago } = await answer.json();
        this.ingest = { state, words, storedAt: ago === null ? null : new Date(Date.now() - 1000 * ago) };
        if (this.connection === "live") this.#say();
      } catch {
        // The stream says that the server is away.
      }
    };
    ask();
    setInterval(ask, ASK_MS);
    document.addEventListener("visibilitychange", ask);
  }
}
