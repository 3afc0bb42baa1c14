// The page's stream: comes back by itself, goes on exactly where it was, and says so.

const PATIENCE_MS = 8_000;
const LONGEST_PAUSE_MS = 15_000;
const CATCH_UP_MS = 1_200;

export class Live {
  /**
   * @param {string} url of the stream, without a cursor
   * @param {string} cursor after which the page has nothing yet
   * @param {Badge} badge
   * @param {(events: object[]) => void} take is given what arrived, a few at a time
   */
  constructor(url, cursor, badge, take) {
    this.url = url;
    this.cursor = cursor;
    this.badge = badge;
    this.take = take;
    this.waiting = [];
    this.lostAt = null;
    this.attempts = 0;
    this.caught = null;
    addEventListener("offline", () => this.#lost(true));
    addEventListener("online", () => this.#open());
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (event) => event.persisted && this.#open());
    this.#open();
  }

  #open() {
    this.#close();
    const url = new URL(this.url, location.href);
    url.searchParams.set("lastEventId", this.cursor);
    const source = new EventSource(url);
    this.source = source;
    source.onopen = () => this.#opened();
    source.onmessage = (event) => this.#arrived(event);
    source.onerror = () => this.#lost(false);
    source.addEventListener("gap", (event) => this.#told(event, () => this.badge.gap()));
    source.addEventListener("stale", (event) => this.#told(event, ({ stale }) => (stale ? this.badge.stale() : this.badge.live())));
    source.addEventListener("signed-out", () => {
      this.#close();
      this.badge.signedOut();
    });
  }

  #close() {
    clearTimeout(this.retry);
    this.source?.close();
  }

  #opened() {
    this.attempts = 0;
    clearTimeout(this.giveUp);
    if (this.lostAt !== null) {
      this.lostAt = null;
      this.caught = 0;
      setTimeout(() => this.#settle(), CATCH_UP_MS);
    }
    this.badge.live();
  }

  #settle() {
    if (this.caught && this.badge.state === "live") {
      this.badge.caughtUp(this.caught);
      setTimeout(() => this.badge.state === "live" && this.badge.live(), 5_000);
    }
    this.caught = null;
  }

  #lost(certainly) {
    if (this.lostAt === null) {
      this.lostAt = new Date();
      this.giveUp = setTimeout(() => this.lostAt && this.badge.offline(this.lostAt), PATIENCE_MS);
    }
    if (certainly) this.badge.offline(this.lostAt);
    else if (this.badge.state !== "offline") this.badge.reconnecting(this.lostAt);
    // A browser tries again by itself, but not after an answer it can't read.
    if (this.source.readyState === EventSource.CLOSED) {
      const pause = Math.min(LONGEST_PAUSE_MS, 500 * 2 ** this.attempts++) * (0.75 + Math.random() / 2);
      clearTimeout(this.retry);
      this.retry = setTimeout(() => this.#open(), pause);
    }
  }

  #told(event, show) {
    if (event.lastEventId) this.cursor = event.lastEventId;
    show(JSON.parse(event.data));
  }

  #arrived(event) {
    if (event.lastEventId) this.cursor = event.lastEventId;
    if (this.caught !== null) this.caught += 1;
    this.waiting.push(JSON.parse(event.data));
    if (this.waiting.length > 1) return;
    // Together with what else arrives before the next picture; a hidden tab draws none.
    if (document.hidden) setTimeout(() => this.#flush(), 200);
    else requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    const events = this.waiting;
    this.waiting = [];
    if (events.length) this.take(events);
  }
}
