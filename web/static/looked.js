// Where the reader was last time: a line before what came since.

import { store, stored } from "./theme.js";

const PREFIX = "agent-comms:seen:";
const MOST = 300;

/** Return what was the newest message of a room when this browser looked last. */
export const lastSeen = (room) => {
  const [seq, messages] = (stored(PREFIX + room) ?? "").split("/");
  return seq ? { seq: Number(seq), messages: Number(messages) } : null;
};

export class Looked {
  constructor(timeline, room) {
    this.timeline = timeline;
    this.room = room;
    this.before = lastSeen(room)?.seq ?? null;
    this.newest = this.before ?? 0;
    addEventListener("pagehide", () => this.keep());
    document.addEventListener("visibilitychange", () => document.hidden && this.keep());
  }

  /** Draw the line, where its place is in the page. */
  draw() {
    document.querySelector(".looked")?.remove();
    if (this.before === null) return;
    const messages = this.timeline.messages();
    const first = messages.find((message) => Number(message.dataset.seq) > this.before);
    // All is new, or nothing is: a line says nothing then.
    if (!first || (first === messages[0] && !document.querySelector("main .turn.earlier"))) return;
    const line = document.createElement("div");
    line.className = "looked";
    line.textContent = "Since you last looked";
    first.before(line);
  }

  /** Remember what the reader has had before them. */
  keep() {
    for (const seq of this.timeline.seen) this.newest = Math.max(this.newest, seq);
    if (!this.newest) return;
    const told = document.querySelector("[data-messages-of]")?.dataset.messagesOf ?? "";
    store(PREFIX + this.room, `${this.newest}/${told}`);
    this.#forget();
  }

  #forget() {
    try {
      const keys = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
      for (const key of keys.slice(0, Math.max(0, keys.length - MOST))) localStorage.removeItem(key);
    } catch {
      // Nothing is kept anyway.
    }
  }
}
