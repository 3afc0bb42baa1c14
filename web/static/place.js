// Where a message goes: by its time, then by its place in the live order; none twice.

import { dayOf, zoneName } from "./time.js";

// Before all that was ever said, and after all that will be.
export const FIRST = "0001-01-01T00:00:00Z,0";
export const LAST = "9999-12-31T23:59:59Z,0";
// After so long an agent is named again.
const PAUSE_MS = 300_000;

const isLine = ({ dataset }) => dataset.line !== undefined;
const secondOf = ({ dataset }) => dataset.timestamp.slice(0, 19);
const seqOf = (message) => Number(message.dataset.seq);
const isMessage = (element) => element.dataset.seq !== undefined;

/** Say whether a message comes after another in reading order. */
function isAfter(a, b) {
  if (a.dataset.timestamp !== b.dataset.timestamp) return a.dataset.timestamp > b.dataset.timestamp;
  return seqOf(a) > seqOf(b);
}

/** Return how many messages stand above the first whose box fits; what fits has nothing but its like below it. */
export function boundary(messages, fits) {
  let [low, high] = [0, messages.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (fits(messages[middle].getBoundingClientRect())) high = middle;
    else low = middle + 1;
  }
  return low;
}

function sibling(element, step) {
  let found = element?.[step];
  while (found && !isMessage(found)) found = found[step];
  return found ?? null;
}

/** Return the message above another, or below it. */
export const before = (message) => sibling(message, "previousElementSibling");
export const after = (message) => sibling(message, "nextElementSibling");

/** Return a message's place, as the server reads it. */
export const placeOf = (message) => message && `${message.dataset.timestamp},${message.dataset.seq}`;

export class Timeline {
  /**
   * @param {Element} element
   * @param {(message: Element) => void} prepare is given each message that comes into the page
   */
  constructor(element, prepare = () => {}) {
    this.element = element;
    this.prepare = prepare;
    this.seen = new Set();
    this.adopt();
  }

  /** Take what the element holds now for what is shown. */
  adopt() {
    const messages = this.messages();
    this.seen = new Set(messages.map(seqOf));
    for (const message of messages) {
      this.prepare(message);
      this.#dress(message);
    }
  }

  messages() {
    return [...this.element.children].filter(isMessage);
  }

  get size() {
    return this.seen.size;
  }

  get first() {
    const found = this.element.firstElementChild;
    return found && !isMessage(found) ? after(found) : found;
  }

  get last() {
    const found = this.element.lastElementChild;
    return found && !isMessage(found) ? before(found) : found;
  }

  find(seq) {
    return this.seen.has(Number(seq)) ? document.getElementById(`m-${seq}`) : null;
  }

  /**
   * Place messages; return those that are new.
   * What lies beyond an open end belongs to a page that isn't loaded, and comes with it.
   */
  add(messages, { openAbove = false, openBelow = false } = {}) {
    const { first, last } = this;
    const added = messages.filter((message) => {
      if (this.seen.has(seqOf(message))) return false;
      if (openAbove && first && isAfter(first, message)) return false;
      if (openBelow && last && isAfter(message, last)) return false;
      this.seen.add(seqOf(message));
      return true;
    });
    this.#insert([...added].sort((a, b) => (isAfter(a, b) ? 1 : -1)));
    return added;
  }

  /** Take the place of everything that is shown. */
  replace(messages) {
    this.element.replaceChildren(...messages);
    this.adopt();
  }

  /** Return the messages at one end that are far from the reader, the outermost first. */
  far(end) {
    // Farther than where more is loaded, or what goes would come again at once.
    const far = 1_000;
    const messages = this.messages();
    if (end === "above") return messages.slice(0, boundary(messages, ({ bottom }) => bottom > -far));
    return messages.slice(boundary(messages, ({ top }) => top >= innerHeight + far)).reverse();
  }

  /** Take some of these messages away, until all elements are no more than so many. */
  trim(messages, most) {
    let spare = this.element.getElementsByTagName("*").length - most;
    const going = [];
    for (const message of messages) {
      if (spare <= 0) break;
      spare -= message.getElementsByTagName("*").length + 1;
      going.push(message);
    }
    for (const message of going) {
      this.seen.delete(seqOf(message));
      if (message.previousElementSibling?.classList.contains("day")) message.previousElementSibling.remove();
      message.remove();
    }
    if (going.length && this.first) this.#dress(this.first);
    this.last?.classList.remove("answered");
    return going.length > 0;
  }

  /** Insert messages that are in reading order: all of them on one way up. */
  #insert(messages) {
    const { first } = this;
    let above = this.element.lastElementChild;
    if (first && messages.length && isAfter(first, messages.at(-1))) above = null;
    const touched = new Set();
    for (const message of [...messages].reverse()) {
      this.prepare(message);
      while (above && (!isMessage(above) || isAfter(above, message))) above = above.previousElementSibling;
      if (above) above.after(message);
      else this.element.prepend(message);
      touched.add(after(message)).add(message);
    }
    touched.delete(null);
    // From above to below, since each goes by the one above it.
    for (const message of [...touched].reverse()) this.#dress(message);
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
    const printed = soon && isLine(message) && isLine(above);
    message.classList.toggle("flows", printed && isNextLine(message.dataset, above.dataset));
    message.classList.toggle("at-once", printed && secondOf(message) === secondOf(above));
    // Asked as `:has(+ .joined)`, each message that comes would have all of them styled anew.
    above?.classList.toggle("answered", joined);
    if (message.dataset.kind === "tool_result" && message.dataset.call && !joined) this.#answer(message);
  }

  /** Say at a call further above what came of it. */
  #answer(result) {
    let call = before(result);
    for (let steps = 0; call && steps < 200; steps += 1, call = before(call)) {
      const { dataset } = call;
      if (dataset.kind !== "tool_call" || dataset.call !== result.dataset.call) continue;
      if (dataset.agent !== result.dataset.agent || dataset.tool !== result.dataset.tool) continue;
      if (after(call) === result || call.querySelector(".answer")) return;
      const link = document.createElement("a");
      link.href = `#${result.id}`;
      link.append("Result below");
      for (const part of result.querySelectorAll(".row:last-child > :is(.took, .outcome)")) link.append(part.cloneNode(true));
      const line = document.createElement("p");
      line.className = "answer";
      line.append(link);
      call.querySelector(".card")?.append(line);
      return;
    }
  }

  #line(message, day, isFirst) {
    let line = message.previousElementSibling;
    // The line that says where the reader was last time stands between.
    if (line?.classList.contains("looked")) line = line.previousElementSibling;
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

/** Say whether a line that a command printed is the one right below another. */
function isNextLine(line, above) {
  return line.artifact === above.artifact && Number(line.line) === Number(above.line) + 1;
}

/** Say whether a result belongs to the call right above. */
function answers(result, call) {
  if (call.kind !== "tool_call" || result.kind !== "tool_result" || call.tool !== result.tool) return false;
  return call.call === result.call || !call.call || !result.call;
}
