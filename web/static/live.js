// The page's stream: comes back by itself, goes on exactly where it was, and says so.

import { shared } from "./shared.js";
import { Silence } from "./silence.js";

const PATIENCE_MS = 8_000;
const LONGEST_PAUSE_MS = 15_000;
// While much comes, the page changes no more often.
const BREATH_MS = 100;
// And by no more at once, so that a key is heard between two changes.
const MOST_AT_ONCE = 30;
// Of more that waits to be drawn the reader would see the last alone.
const MOST_WAITING = 300;

/** A connection of this tab's own, where the browser can't share one. */
class Own {
  watch(url, cursor, listener) {
    this.url = url;
    this.cursor = cursor;
    this.listener = listener;
    this.pause = 0;
    this.silence = new Silence((since) => {
      this.listener.lost(since);
      this.again();
    });
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
    this.silence.heard();
    source.onopen = () => {
      this.pause = 0;
      this.silence.heard();
      this.listener.opened();
    };
    source.addEventListener("alive", () => this.silence.heard());
    source.onmessage = ({ data, lastEventId }) => {
      this.silence.heard();
      if (lastEventId) this.cursor = lastEventId;
      this.listener.message(data);
    };
    for (const name of ["gap", "stale", "caught-up", "signed-out"]) {
      source.addEventListener(name, ({ data, lastEventId }) => {
        this.silence.heard();
        if (lastEventId) this.cursor = lastEventId;
        if (name === "signed-out") this.#close();
        this.listener.control(name, JSON.parse(data));
      });
    }
    source.onerror = () => {
      this.#close();
      this.listener.lost(new Date());
      this.pause = Math.min(LONGEST_PAUSE_MS, Math.max(500, 2 * this.pause));
      this.retry = setTimeout(() => this.again(), this.pause * (0.75 + Math.random() / 2));
    };
  }

  #close() {
    clearTimeout(this.retry);
    this.silence.rest();
    this.source?.close();
  }
}

export class Live {
  /**
   * @param {string} url of the stream, without a cursor
   * @param {string} cursor after which the page has nothing yet
   * @param {Badge} badge
   * @param {(events: object[]) => void} take is given what arrived, a few at a time
   * @param {object} options
   * @param {boolean} options.alone whether the connection is this tab's own
   * @param {(newest: object) => Promise<boolean>} options.overtaken what to do where too many wait to be taken one after
   *   the other; returns whether it has been done
   * @param {() => void} options.returned is called once everything is here that was said while the connection was lost
   */
  constructor(url, cursor, badge, take, { alone = false, overtaken = null, returned = () => {} } = {}) {
    this.badge = badge;
    this.take = take;
    this.overtaken = overtaken;
    this.returned = returned;
    this.waiting = [];
    this.isDrawing = false;
    this.flushedAt = 0;
    this.lostAt = null;
    this.caught = null;
    this.line = (alone ? null : shared()) ?? new Own();
    addEventListener("offline", () => this.lost(new Date(), true));
    addEventListener("online", () => this.line.again());
    this.line.watch(url, cursor, this);
  }

  opened() {
    clearTimeout(this.giveUp);
    if (this.lostAt !== null) {
      this.lostAt = null;
      this.caught ??= 0;
    }
    this.badge.live();
  }

  /**
   * @param {Date} since when it has been lost, as far as is known
   * @param {boolean} certainly whether there is no use in waiting for it
   */
  lost(since, certainly = false) {
    if (this.lostAt === null) {
      this.lostAt = since;
      this.giveUp = setTimeout(() => this.lostAt && this.badge.offline(this.lostAt), PATIENCE_MS);
    }
    if (certainly) this.badge.offline(this.lostAt);
    else if (this.badge.state !== "offline") this.badge.reconnecting(this.lostAt);
  }

  message(data) {
    if (this.caught !== null) this.caught += 1;
    this.waiting.push(data);
    if (!this.isDrawing) this.#soon();
  }

  /** Draw what waits, together with what else arrives before the next picture; a hidden tab draws none. */
  #soon() {
    this.isDrawing = true;
    const rest = document.hidden ? 2 * BREATH_MS : BREATH_MS - (performance.now() - this.flushedAt);
    if (rest > 0) setTimeout(() => this.#flush(), rest);
    else requestAnimationFrame(() => this.#flush());
  }

  control(name, { stale }) {
    if (name === "gap") this.badge.gap();
    else if (name === "signed-out") this.badge.signedOut();
    else if (name === "caught-up") this.#settle();
    else if (stale) this.badge.stale();
    else this.badge.live();
  }

  #settle() {
    if (this.caught === null) return;
    if (this.caught) this.badge.caughtUp(this.caught);
    this.caught = null;
    this.returned();
  }

  async #flush() {
    try {
      if (this.waiting.length > MOST_WAITING) await this.#overtake();
      const texts = this.waiting.splice(0, MOST_AT_ONCE);
      if (texts.length) this.take(texts.map((text) => JSON.parse(text)));
    } catch (error) {
      // They are not shown, and the cursor has passed them.
      this.badge.gap();
      throw error;
    } finally {
      this.isDrawing = false;
      // What waits for long is drawn with the next picture.
      this.flushedAt = this.waiting.length ? -Infinity : performance.now();
      if (this.waiting.length) this.#soon();
    }
  }

  async #overtake() {
    const { length } = this.waiting;
    try {
      if (await this.overtaken?.(JSON.parse(this.waiting[length - 1]))) this.waiting.splice(0, length);
    } catch {
      // They are drawn one after the other, then.
    }
  }
}
