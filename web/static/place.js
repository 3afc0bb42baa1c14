// Where a message goes: by its time, then by its place in the live order; none twice.

import { dayOf, zoneName } from "./time.js";

// After so long an agent is named again.
const PAUSE_MS = 300_000;

const seqOf = (message) => Number(message.dataset.seq);
const isMessage = (element) => element.dataset.seq !== undefined;

/** Say whether a message comes after another in reading order. */
function isAfter(a, b) {
  if (a.dataset.timestamp !== b.dataset.timestamp) return a.dataset.timestamp > b.dataset.timestamp;
  return seqOf(a) > seqOf(b);
}

function sibling(element, step) {
  let found = element?.[step];
  while (found && !isMessage(found)) found = found[step];
  return found ?? null;
}

const before = (message) => sibling(message, "previousElementSibling");
const after = (message) => sibling(message, "nextElementSibling");

export class Timeline {
  constructor(element) {
    this.element = element;
    this.seen = new Set(this.messages().map(seqOf));
    for (const message of this.messages()) this.#dress(message);
  }

  messages() {
    return [...this.element.children].filter(isMessage);
  }

  get size() {
    return this.seen.size;
  }

  /** Return the place of the oldest message that is shown, as the server reads it. */
  get start() {
    const first = this.#oldest();
    return first ? `${first.dataset.timestamp},${first.dataset.seq}` : null;
  }

  /** Place messages; return those that are new. `from` is the first place that may be filled. */
  add(messages, hasEarlier) {
    const added = [];
    for (const message of messages) {
      if (this.seen.has(seqOf(message))) continue;
      const oldest = this.#oldest();
      // It belongs to a page that isn't loaded, and comes with it.
      if (hasEarlier && oldest && isAfter(oldest, message)) continue;
      this.#insert(message);
      added.push(message);
    }
    return added;
  }

  /** Put an earlier page above. */
  prepend(messages) {
    const fresh = messages.filter((message) => !this.seen.has(seqOf(message)));
    const next = this.#oldest();
    this.element.prepend(...fresh);
    for (const message of fresh) this.seen.add(seqOf(message));
    for (const message of fresh) this.#dress(message);
    if (next) this.#dress(next);
  }

  /** Take the oldest messages away until `count` are left. */
  trim(count) {
    const spare = this.messages().slice(0, -count);
    for (const message of spare) {
      this.seen.delete(seqOf(message));
      message.remove();
    }
    for (const line of this.element.querySelectorAll(".day:has(+ .day)")) line.remove();
    const oldest = this.#oldest();
    if (oldest) this.#dress(oldest);
  }

  #oldest() {
    let found = this.element.firstElementChild;
    while (found && !isMessage(found)) found = found.nextElementSibling;
    return found;
  }

  #insert(message) {
    let above = this.element.lastElementChild;
    while (above && (!isMessage(above) || isAfter(above, message))) above = above.previousElementSibling;
    if (above) above.after(message);
    else this.element.prepend(message);
    this.seen.add(seqOf(message));
    this.#dress(message);
    const next = after(message);
    if (next) this.#dress(next);
  }

  /** Give a message what depends on the one above: its day, whether its agent goes on, whether it answers a call. */
  #dress(message) {
    const above = before(message);
    const day = dayOf(new Date(message.dataset.timestamp));
    const newDay = !above || dayOf(new Date(above.dataset.timestamp)) !== day;
    this.#line(message, newDay ? day : null, !above);
    const goesOn = !newDay && goesOnAfter(message, above);
    const joined = goesOn && answers(message.dataset, above.dataset);
    const soon = goesOn && new Date(message.dataset.timestamp) - new Date(above.dataset.timestamp) < PAUSE_MS;
    message.classList.toggle("same", joined || soon);
    message.classList.toggle("joined", joined);
  }

  #line(message, day, isFirst) {
    let line = message.previousElementSibling;
    if (!line?.classList.contains("day")) line = null;
    if (day === null) {
      line?.remove();
      return;
    }
    if (!line) {
      line = document.createElement("div");
      line.className = "day";
      message.before(line);
    }
    line.textContent = isFirst ? `${day} · ${zoneName()}` : day;
  }
}

/** Say whether the same agent speaks. A line of status is no speech; and behind `person` there may be two of them. */
function goesOnAfter({ dataset }, above) {
  const same = above.dataset.agent === dataset.agent && above.dataset.workflow === dataset.workflow;
  return same && dataset.agent !== "person" && !above.classList.contains("is-status");
}

/** Say whether a result belongs to the call right above. */
function answers(result, call) {
  if (call.kind !== "tool_call" || result.kind !== "tool_result" || call.tool !== result.tool) return false;
  return call.call === result.call || !call.call || !result.call;
}
