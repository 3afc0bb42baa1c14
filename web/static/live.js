// The page's stream: comes back by itself, goes on exactly where it was, and says so.

import { shared } from "./shared.js";

const PATIENCE_MS = 8_000;
const LONGEST_PAUSE_MS = 15_000;
const CATCH_UP_MS = 1_200;
// While much comes, the page changes no more often.
const BREATH_MS = 100;

/** A connection of this tab's own, where the browser can't share one. */
class Own {
  watch(url, cursor, listener) {
    this.url = url;
    this.cursor = cursor;
    this.listener = listener;
    this.pause = 0;
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (event) => event.persisted && this.again());
    this.again();
  }

  again() {
    this.#close();
    const url = new URL(this.url, location.href);
    url.searchParams.set("lastEventId", this.cursor);
    const source = new EventSource(url);
    this.source = source;
    source.onopen = () => {
      this.pause = 0;
      this.listener.opened();
    };
    source.onmessage = ({ data, lastEventId }) => {
      if (lastEventId) this.cursor = lastEventId;
      this.listener.message(data);
    };
    for (const name of ["gap", "stale", "signed-out"]) {
      source.addEventListener(name, ({ data, lastEventId }) => {
        if (lastEventId) this.cursor = lastEventId;
        if (name === "signed-out") this.#close();
        this.listener.control(name, JSON.parse(data));
      });
    }
    source.onerror = () => {
      source.close();
      this.listener.lost();
      this.pause = Math.min(LONGEST_PAUSE_MS, Math.max(500, 2 * this.pause));
      this.retry = setTimeout(() => this.again(), this.pause * (0.75 + Math.random() / 2));
    };
  }

  #close() {
    clearTimeout(this.retry);
    this.source?.close();
  }
}

export class Live {
  /**
   * @param {string} url of the stream, without a cursor
   * @param {string} cursor after which the page has nothing yet
   * @param {Badge} badge
   * @param {(events: object[]) => void} take is given what arrived, a few at a time
   * @param {{alone?: boolean}} options whether the connection is this tab's own
   */
  constructor(url, cursor, badge, take, { alone = false } = {}) {
    this.badge = badge;
    this.take = take;
    this.waiting = [];
    this.flushedAt = 0;
    this.lostAt = null;
    this.caught = null;
    this.line = (alone ? null : shared()) ?? new Own();
    addEventListener("offline", () => this.lost(true));
    addEventListener("online", () => this.line.again());
    this.line.watch(url, cursor, this);
  }

  opened() {
    clearTimeout(this.giveUp);
    if (this.lostAt !== null) {
      this.lostAt = null;
      this.caught ??= 0;
      setTimeout(() => this.#settle(), CATCH_UP_MS);
    }
    this.badge.live();
  }

  lost(certainly = false) {
    if (this.lostAt === null) {
      this.lostAt = new Date();
      this.giveUp = setTimeout(() => this.lostAt && this.badge.offline(this.lostAt), PATIENCE_MS);
    }
    if (certainly) this.badge.offline(this.lostAt);
    else if (this.badge.state !== "offline") this.badge.reconnecting(this.lostAt);
  }

  message(data) {
    if (this.caught !== null) this.caught += 1;
    this.waiting.push(data);
    if (this.waiting.length > 1) return;
    // Together with what else arrives before the next picture; a hidden tab draws none.
    const rest = document.hidden ? 2 * BREATH_MS : BREATH_MS - (performance.now() - this.flushedAt);
    if (rest > 0) setTimeout(() => this.#flush(), rest);
    else requestAnimationFrame(() => this.#flush());
  }

  control(name, { stale }) {
    if (name === "gap") this.badge.gap();
    else if (name === "signed-out") this.badge.signedOut();
    else if (stale) this.badge.stale();
    else this.badge.live();
  }

  #settle() {
    if (this.caught && this.lostAt === null) this.badge.caughtUp(this.caught);
    this.caught = null;
  }

  #flush() {
    const events = this.waiting.map((data) => JSON.parse(data));
    this.waiting = [];
    this.flushedAt = performance.now();
    if (events.length) this.take(events);
  }
}
