// Says whether the page is live, and since when it isn't.

import { clockOf } from "./time.js";

export class Badge {
  constructor(element) {
    this.element = element;
    this.word = element.querySelector(".word");
  }

  get state() {
    return this.element.dataset.state;
  }

  show(state, words) {
    this.element.dataset.state = state;
    if (this.word.textContent !== words) this.word.textContent = words;
  }

  live() {
    this.show("live", "live");
  }

  caughtUp(count) {
    this.show("live", `live, caught up: ${count.toLocaleString("en")} ${count === 1 ? "message" : "messages"}`);
  }

  reconnecting(since) {
    this.show("reconnecting", `connection lost at ${clockOf(since)}, trying again`);
  }

  offline(since) {
    this.show("offline", `offline, as of ${clockOf(since)}`);
  }

  stale() {
    this.show("stale", "stale: new messages are not being stored");
  }

  gap() {
    this.show("stale", "some messages are missing, reload to see them");
  }

  signedOut() {
    this.show("signed-out", "signed out, reload to sign in");
  }
}
