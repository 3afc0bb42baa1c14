// One connection a browser, however many tabs: whoever holds the lock has it, and hands on what comes.
//
// A tab says what it watches and up to where it has everything. The one that holds the lock opens a single
// EventSource for all of them, each topic with its own cursor, so that nobody misses anything. Where a browser
// has no locks or no channels, each tab has a connection of its own (see live.js).

import { Silence } from "./silence.js";

const NAME = "agent-comms:live";
const ASK_MS = 4_000;
// Whoever holds the lock and says nothing for so long is frozen: another one takes it.
const SILENT_MS = 12_000;
const TOGETHER_MS = 100;
const LONGEST_PAUSE_MS = 15_000;
const MOST = 60;

const me = `${Date.now()}-${Math.random()}`;
const isLater = (one, other) => BigInt(one) > BigInt(other);

class Switchboard {
  constructor() {
    this.channel = new BroadcastChannel(NAME);
    this.channel.onmessage = ({ data }) => this.#hear(data);
    this.listener = null;
    this.wish = null;
    this.leads = false;
    this.state = null;
    this.since = null;
    this.wishes = new Map();
    this.delivered = new Map();
    this.caughtUp = new Set();
    this.pause = 0;
    this.silence = new Silence((since) => this.#giveUp(since));
    this.#queue();
    addEventListener("pagehide", () => this.#say({ bye: me }));
  }

  /** Begin to watch; `listener` has `opened`, `lost`, `message` and `control`. */
  watch(topic, cursor, listener) {
    this.listener = listener;
    this.wish = { topic, cursor };
    this.#tell();
    this.heardAt = performance.now();
    setInterval(() => this.#check(), ASK_MS);
  }

  /** Try at once; the way may be open again. */
  again() {
    if (this.leads) this.#open();
    else this.#tell();
  }

  #queue(options = {}) {
    navigator.locks.request(NAME, options, () => this.#lead()).catch((error) => {
      // Another tab has taken it; a page that is being left is no longer asked.
      if (error.name === "AbortError" && this.leads) this.#step();
    });
  }

  #lead() {
    this.leads = true;
    this.#say({ who: true });
    this.#tell();
    // The lock is held as long as the tab is there, or until it is taken away.
    return new Promise(() => {});
  }

  #step() {
    this.leads = false;
    clearTimeout(this.retry);
    this.source?.close();
    this.source = null;
    this.silence.rest();
    this.wishes.clear();
    this.#queue();
    this.#tell();
  }

  #check() {
    if (this.leads || document.hidden) return;
    const silence = performance.now() - this.heardAt;
    if (silence > SILENT_MS) {
      this.heardAt = performance.now();
      this.#queue({ steal: true });
    } else this.#say({ alive: "?" });
  }

  #say(words) {
    this.channel.postMessage(words);
  }

  #tell() {
    if (!this.wish) return;
    const words = { wish: { ...this.wish }, from: me };
    if (this.leads) this.#take(words);
    else this.#say(words);
  }

  #hear(words) {
    if (words.who) {
      this.heardAt = performance.now();
      this.#tell();
    } else if (this.leads) {
      if (words.bye) this.wishes.delete(words.bye);
      else if (words.wish) this.#take(words);
      else if (words.alive === "?") {
        this.#say({ alive: "yes" });
        // The clock of a tab that nobody sees goes slowly, and others may be seen.
        this.silence.look();
      }
    } else {
      if (words.alive === "yes" || words.event || words.state) this.heardAt = performance.now();
      if (words.event) this.#pass(words.event);
      else if (words.state) this.#show(words.state, words.since);
    }
  }

  #take({ wish, from }) {
    this.wishes.set(from, wish);
    const delivered = this.delivered.get(wish.topic);
    if (this.source && delivered !== undefined && !isLater(delivered, wish.cursor)) {
      this.#tellState(this.state, this.since);
      if (this.caughtUp.has(wish.topic)) this.#tellEvent({ control: "caught-up", topic: wish.topic });
      return;
    }
    // Several who come together are one.
    clearTimeout(this.opening);
    this.opening = setTimeout(() => this.#open(), this.source ? TOGETHER_MS : 0);
  }

  #open() {
    clearTimeout(this.retry);
    this.source?.close();
    this.delivered.clear();
    this.caughtUp.clear();
    for (const { topic, cursor } of this.wishes.values()) {
      const known = this.delivered.get(topic);
      if (known === undefined || isLater(known, cursor)) this.delivered.set(topic, cursor);
    }
    this.silence.rest();
    if (!this.delivered.size) return;
    const url = new URL("/live", location.href);
    for (const [topic, cursor] of [...this.delivered].slice(0, MOST)) url.searchParams.append("watch", `${cursor} ${topic}`);
    const source = new EventSource(url);
    this.source = source;
    this.silence.heard();
    source.onopen = () => {
      this.pause = 0;
      this.silence.heard();
      this.#tellState("live");
    };
    source.onmessage = ({ data }) => this.#arrived(data);
    source.addEventListener("alive", () => this.silence.heard());
    for (const name of ["gap", "stale", "caught-up"]) {
      source.addEventListener(name, ({ data }) => {
        const event = { control: name, ...JSON.parse(data) };
        this.silence.heard();
        if (name === "caught-up") this.caughtUp.add(event.topic);
        this.#tellEvent(event);
      });
    }
    source.addEventListener("signed-out", ({ data }) => {
      // Whoever comes again isn't let in.
      source.close();
      this.silence.rest();
      this.#tellEvent({ control: "signed-out", ...JSON.parse(data) });
    });
    // It ends in good order, to be opened anew.
    source.addEventListener("again", () => this.#open());
    source.onerror = () => {
      // Where to go on is in its address, so the browser's own way to come back would begin too early.
      this.#lose(new Date());
      this.pause = Math.min(LONGEST_PAUSE_MS, Math.max(500, 2 * this.pause));
      this.retry = setTimeout(() => this.#open(), this.pause * (0.75 + Math.random() / 2));
    };
  }

  #lose(since) {
    this.source.close();
    this.silence.rest();
    this.#tellState("lost", this.state === "lost" ? this.since : since);
  }

  /** Nothing is heard any more: the connection is dead, or is one that never opens. */
  #giveUp(since) {
    this.#lose(since);
    this.#open();
  }

  // Its first line is the cursor and the topic, its second what happened.
  #arrived(data) {
    this.silence.heard();
    const line = data.indexOf("\n");
    const space = data.indexOf(" ");
    const event = { cursor: data.slice(0, space), topic: data.slice(space + 1, line), data: data.slice(line + 1) };
    for (const wish of this.wishes.values()) {
      if (wish.topic === event.topic && isLater(event.cursor, wish.cursor)) wish.cursor = event.cursor;
    }
    this.delivered.set(event.topic, event.cursor);
    this.#tellEvent(event);
  }

  #tellEvent(event) {
    // No other tab may be there, or watch this.
    const hears = ([from, { topic }]) => from !== me && topic === event.topic;
    if (event.control || [...this.wishes].some(hears)) this.#say({ event });
    this.#pass(event);
  }

  #pass(event) {
    if (!this.wish || (event.topic !== this.wish.topic && event.control !== "signed-out")) return;
    if (event.control) {
      this.listener.control(event.control, event);
      return;
    }
    if (isLater(event.cursor, this.wish.cursor)) this.wish.cursor = event.cursor;
    this.listener.message(event.data);
  }

  #tellState(state, since = null) {
    this.state = state;
    this.since = since;
    if (!state) return;
    this.#say({ state, since });
    this.#show(state, since);
  }

  #show(state, since) {
    if (state === "live") this.listener?.opened();
    else this.listener?.lost(since);
  }
}

let board = null;

/** Return the connection that all tabs share; null where this browser can't share one. */
export function shared() {
  if (!("locks" in navigator && "BroadcastChannel" in globalThis)) return null;
  board ??= new Switchboard();
  return board;
}
