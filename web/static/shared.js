// One connection a browser, however many tabs: whoever holds the lock has it, and hands on what comes.
//
// A tab says what it watches and up to where it has everything. The one that holds the lock opens a single
// EventSource for all of them, each topic with its own cursor, so that nobody misses anything. Where a browser
// has no locks or no channels, each tab has a connection of its own (see live.js).

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
    this.wishes = new Map();
    this.delivered = new Map();
    this.pause = 0;
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
      else if (words.alive === "?") this.#say({ alive: "yes" });
    } else {
      if (words.alive === "yes" || words.event || words.state) this.heardAt = performance.now();
      if (words.event) this.#pass(words.event);
      else if (words.state) this.#show(words.state);
    }
  }

  #take({ wish, from }) {
    this.wishes.set(from, wish);
    const delivered = this.delivered.get(wish.topic);
    if (this.source && delivered !== undefined && !isLater(delivered, wish.cursor)) {
      this.#tellState(this.state);
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
    for (const { topic, cursor } of this.wishes.values()) {
      const known = this.delivered.get(topic);
      if (known === undefined || isLater(known, cursor)) this.delivered.set(topic, cursor);
    }
    if (!this.delivered.size) return;
    const url = new URL("/live", location.href);
    for (const [topic, cursor] of [...this.delivered].slice(0, MOST)) url.searchParams.append("watch", `${cursor} ${topic}`);
    const source = new EventSource(url);
    this.source = source;
    source.onopen = () => {
      this.pause = 0;
      this.#tellState("live");
    };
    source.onmessage = ({ data }) => this.#arrived(data);
    for (const name of ["gap", "stale"]) {
      source.addEventListener(name, ({ data }) => this.#tellEvent({ control: name, ...JSON.parse(data) }));
    }
    source.addEventListener("signed-out", ({ data }) => {
      // Whoever comes again isn't let in.
      source.close();
      this.#tellEvent({ control: "signed-out", ...JSON.parse(data) });
    });
    // It ends in good order, to be opened anew.
    source.addEventListener("again", () => this.#open());
    source.onerror = () => {
      // Where to go on is in its address, so the browser's own way to come back would begin too early.
      source.close();
      this.#tellState("lost");
      this.pause = Math.min(LONGEST_PAUSE_MS, Math.max(500, 2 * this.pause));
      this.retry = setTimeout(() => this.#open(), this.pause * (0.75 + Math.random() / 2));
    };
  }

  // Its first line is the cursor and the topic, its second what happened.
  #arrived(data) {
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
    this.#say({ event });
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

  #tellState(state) {
    this.state = state;
    if (!state) return;
    this.#say({ state });
    this.#show(state);
  }

  #show(state) {
    if (state === "live") this.listener?.opened();
    else this.listener?.lost();
  }
}

let board = null;

/** Return the connection that all tabs share; null where this browser can't share one. */
export function shared() {
  if (!("locks" in navigator && "BroadcastChannel" in globalThis)) return null;
  board ??= new Switchboard();
  return board;
}
