// A person speaks: what is on its way is shown as such, what failed can be sent again, a draft survives a reload.

import { announce } from "./announce.js";
import { ask } from "./ask.js";
import { on } from "./keys.js";
import { store, stored } from "./theme.js";

const LATE_MS = 8_000;
const MOST_UNSENT = 20;

// No character takes more in what is sent.
const MOST_OF_A_CHARACTER = 6;

/** Say by how much a text is longer than a message may be, as the server counts; empty where it is not. */
function tooLong(text, most) {
  if (text.length * MOST_OF_A_CHARACTER <= most) return "";
  const size = new TextEncoder().encode(JSON.stringify(text)).length - 2;
  if (size <= most) return "";
  const [characters, bytes, allowed] = [text.length, size, most].map((number) => number.toLocaleString("en"));
  return `Too long to send: ${characters} characters take ${bytes} bytes, and a message may have ${allowed}.`;
}

export class Compose {
  /**
   * @param {HTMLFormElement} form
   * @param {{narrowed?: boolean, spoken?: () => void}} options whether filters may hide what is said; called when something is said
   */
  constructor(form, { narrowed = false, spoken = () => {} } = {}) {
    this.form = form;
    this.narrowed = narrowed;
    this.spoken = spoken;
    this.field = form.querySelector("textarea");
    const { channel, workflowNamespace, workflowUid } = form.dataset;
    const room = channel === "general" ? "general" : `${workflowNamespace}/${workflowUid}`;
    this.key = `agent-comms:draft:${room}`;
    this.unsentKey = `agent-comms:unsent:${room}`;
    this.sent = new Map();
    this.note = form.querySelector(".too-long");
    form.hidden = false;
    this.#write(stored(this.key, ""));
    this.field.addEventListener("input", () => this.#draft());
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    on(["r"], () => this.field.focus());
    for (const [id, content] of this.#unsent()) {
      const line = this.#line(content);
      this.sent.set(id, { line, content });
      this.#fail(id, line, content, "the page was left before the server had it");
    }
  }

  /** Take note of what arrived: what was on its way is there. */
  arrived(messages) {
    for (const message of messages) {
      const id = message.dataset.messageId;
      if (id && this.sent.has(id)) {
        this.sent.get(id).line.remove();
        this.sent.delete(id);
        this.#forget(id);
      }
    }
  }

  #write(text) {
    this.field.value = text;
    this.#draft();
  }

  /** Keep what is written, and say where it is more than a message may be. */
  #draft() {
    const text = this.field.value;
    const isKept = store(this.key, text || null);
    // Not the beginning alone, which was kept before.
    if (!isKept) store(this.key, null);
    const words = tooLong(text.trim(), Number(this.form.dataset.mostBytes));
    const lost = isKept ? "" : " It is too long to be kept as a draft, too.";
    this.note.textContent = words && words + lost;
    this.field.setAttribute("aria-invalid", String(Boolean(words)));
    this.#grow();
  }

  #submit() {
    const content = this.field.value.trim();
    if (!content) return;
    if (this.note.textContent) {
      announce(this.note.textContent);
      this.field.focus();
      return;
    }
    this.#write("");
    this.#send(crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`, content);
  }

  async #send(id, content) {
    const { channel, workflowUid, workflowName, workflowNamespace } = this.form.dataset;
    const body = { message_id: id, channel, content };
    if (channel === "run") Object.assign(body, { workflow_uid: workflowUid, workflow_name: workflowName, workflow_namespace: workflowNamespace });
    let line = this.sent.get(id)?.line;
    if (!line) {
      line = this.#line(content);
      line.scrollIntoView({ block: "nearest", behavior: "instant" });
      this.spoken();
    }
    this.sent.set(id, { line, content });
    this.#keep(id, content);
    this.#show(line, "pending", "sending");
    try {
      const answer = await ask("/api/agents/messages", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
      if (answer.ok) {
        this.#forget(id);
        this.#show(line, "sent", this.narrowed ? "sent; the filters may hide it here" : "sent");
        if (!this.narrowed) setTimeout(() => line.isConnected && this.#show(line, "sent", "sent, and waits to be stored"), LATE_MS);
        return;
      }
      const problem = await answer.json().catch(() => ({}));
      this.#fail(id, line, content, problem.error ?? `the server answered ${answer.status}`);
    } catch {
      this.#fail(id, line, content, "the server can't be reached");
    }
  }

  #fail(id, line, content, why) {
    this.#show(line, "failed", `not sent: ${why}`);
    const again = this.#button("Try again", () => this.#send(id, content));
    const edit = this.#button("Edit", () => {
      this.sent.delete(id);
      this.#forget(id);
      line.remove();
      this.#write(content);
      this.field.focus();
    });
    line.querySelector(".fate").append(" ", again, " ", edit);
  }

  #line(content) {
    const line = document.createElement("div");
    line.className = "outgoing";
    line.dataset.testid = "outgoing";
    const words = line.appendChild(document.createElement("p"));
    words.className = "words";
    words.dir = "auto";
    words.textContent = content;
    const fate = line.appendChild(document.createElement("p"));
    fate.className = "fate";
    fate.setAttribute("role", "status");
    this.form.before(line);
    return line;
  }

  #show(line, state, words) {
    line.dataset.state = state;
    line.querySelector(".fate").textContent = words;
  }

  // What the server hasn't taken outlives the page: sent again under its id it is one message, however often.
  #unsent() {
    try {
      return JSON.parse(stored(this.unsentKey, "[]"));
    } catch {
      return [];
    }
  }

  #keep(id, content) {
    const others = this.#unsent().filter(([other]) => other !== id);
    store(this.unsentKey, JSON.stringify([...others, [id, content]].slice(-MOST_UNSENT)));
  }

  #forget(id) {
    const all = this.#unsent();
    const others = all.filter(([other]) => other !== id);
    if (others.length < all.length) store(this.unsentKey, others.length ? JSON.stringify(others) : null);
  }

  #button(words, action) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "link";
    button.textContent = words;
    button.addEventListener("click", action, { once: true });
    return button;
  }

  #grow() {
    this.field.rows = Math.min(10, Math.max(1, this.field.value.split("\n").length));
  }
}
