// The list of runs, alive: a run that speaks moves to the top, unless a pointer is over the list.

import { Badge } from "./badge.js";
import { parse } from "./html.js";
import { Live } from "./live.js";
import { localize, tick } from "./time.js";

const MOST = 200;
const list = document.querySelector(".runs");
const { stream, cursor, paged, words, only } = list.dataset;
const form = document.querySelector(".filters");

const keyOf = (row) => `${row.dataset.namespace}\n${row.dataset.run}`;
const rows = new Map([...list.children].map((row) => [keyOf(row), row]));

/** Say whether a run belongs into the list as it is filtered. */
function fits(run) {
  if (only && run.state !== only) return false;
  if (!words) return true;
  const texts = [run.workflow_name, run.workflow_uid, run.run_id, run.last_content, run.agents.join(" ")];
  return texts.join("\n").toLowerCase().includes(words.toLowerCase());
}

function place(row) {
  const newer = (other) => other.dataset.timestamp >= row.dataset.timestamp && other !== row;
  let above = null;
  for (const other of list.children) {
    if (!newer(other)) break;
    above = other;
  }
  if (above) above.after(row);
  else list.prepend(row);
}

function update({ run, html }) {
  const row = parse(html).firstElementChild;
  const key = keyOf(row);
  const old = rows.get(key);
  if (!fits(run)) {
    old?.remove();
    rows.delete(key);
    return;
  }
  localize(row);
  rows.set(key, row);
  if (!old) {
    row.classList.add("arrived");
    place(row);
    return;
  }
  const focused = old.contains(document.activeElement);
  old.replaceWith(row);
  if (focused) row.querySelector("a").focus({ preventScroll: true });
  // Rows don't move under a pointer or a focus.
  else if (!list.matches(":hover")) place(row);
}

function take(events) {
  for (const event of events) update(event);
  for (const row of [...list.children].slice(MOST)) {
    rows.delete(keyOf(row));
    row.remove();
  }
  document.querySelector(".empty").hidden = list.childElementCount > 0;
}

list.addEventListener("mouseleave", () => {
  const sorted = [...list.children].sort((a, b) => (a.dataset.timestamp < b.dataset.timestamp ? 1 : -1));
  if (sorted.some((row, index) => list.children[index] !== row)) list.append(...sorted);
});

localize(document);
tick();
form.addEventListener("change", () => form.requestSubmit());
form.querySelector(".go").hidden = true;
form.addEventListener("formdata", ({ formData }) => {
  for (const [name, value] of [...formData]) if (!value) formData.delete(name);
});

if (paged === undefined) new Live(stream, cursor, new Badge(document.querySelector(".badge")), take);
