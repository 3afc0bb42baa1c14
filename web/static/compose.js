// A person speaks: what is on its way is shown as such, what failed can be sent again, a draft survives a reload.

import { on } from "./keys.js";
import { store, stored } from "./theme.js";

const LATE_MS = 8_000;

export class Compose {
  /** @param {HTMLFormElement} form */
  constructor(form) {
    this.form = form;
    this.field = form.querySelector("textarea");
    const { channel, workflowNamespace, workflowUid } = form.dataset;
    this.key = `agent-comms:draft:${channel === "general" ? "general" : `${workflowNamespace}/${workflowUid}`}`;
    this.sent = new Map();
    form.hidden = false;
    this.field.value = stored(this.key, "");
    this.#grow();
    this.field.addEventListener("input", () => {
      store(this.key, this.field.value || null);
      this.#grow();
    });
    this.field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
    on(["r"], () => this.field.focus());
  }

  /** Take note of what arrived: what was on its way is there. */
  arrived(messages) {
    for (const message of messages) {
      const id = message.dataset.messageId;
      if (id && this.sent.has(id)) {
        this.sent.get(id).line.remove();
        this.sent.delete(id);
      }
    }
  }

  #submit() {
    const content = this.field.value.trim();
    if (!content) return;
    this.field.value = "";
    store(this.key, null);
    this.#grow();
    this.#send(crypto.randomUUID?.() ?? `${Date.now()}-${Math.random().toString(36).slice(2)}`, content);
  }

  async #send(id, content) {
    const { channel, workflowUid, workflowName, workflowNamespace } = this.form.dataset;
    const body = { message_id: id, channel, content };
    if (channel === "run") Object.assign(body, { workflow_uid: workflowUid, workflow_name: workflowName, workflow_namespace: workflowNamespace });
    const line = this.sent.get(id)?.line ?? this.#line(content);
    this.sent.set(id, { line, content });
    this.#show(line, "pending", "sending");
    try {
      const answer = await fetch("/api/agents/messages", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
      if (answer.ok) {
        this.#show(line, "sent", "sent");
        setTimeout(() => line.isConnected && this.#show(line, "sent", "sent, and waits to be stored"), LATE_MS);
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
      line.remove();
      this.field.value = content;
      store(this.key, content);
      this.#grow();
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
    line.scrollIntoView({ block: "nearest", behavior: "instant" });
    return line;
  }

  #show(line, state, words) {
    line.dataset.state = state;
    line.querySelector(".fate").textContent = words;
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
