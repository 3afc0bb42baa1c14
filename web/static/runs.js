// The list of runs, alive: each run on its shelf, the newest activity first, unless a pointer is over the list.

import { Badge } from "./badge.js";
import { parse } from "./html.js";
import { on } from "./keys.js";
import { Live } from "./live.js";
import { lastSeen } from "./looked.js";
import { Selection } from "./selection.js";
import { localize, tick } from "./time.js";

const MOST = 200;
const DAY_MS = 86_400_000;
const list = document.querySelector(".list");
const { stream, cursor, paged, words, only } = list.dataset;
const form = document.querySelector(".filters");

const keyOf = (row) => `${row.dataset.namespace}\n${row.dataset.run}`;
const allRows = () => [...list.querySelectorAll("[data-run]")];
const rows = new Map(allRows().map((row) => [keyOf(row), row]));

/** Say whether a run belongs into the list as it is filtered. */
function fits(run) {
  if (only && run.state !== only) return false;
  if (!words) return true;
  const texts = [run.workflow_name, run.workflow_uid, run.run_id, run.last_content, run.agents.join(" ")];
  return texts.join("\n").toLowerCase().includes(words.toLowerCase());
}

/** Return where a row belongs; the server has the same rule. */
function shelfOf(row) {
  const all = list.querySelector('[data-shelf="all"]');
  if (all) return all;
  const { state, timestamp } = row.dataset;
  const isRecent = Date.now() - Date.parse(timestamp) < DAY_MS;
  const name = state === "running" ? state : (state === "failed" || state === "stale") && isRecent ? state : "rest";
  return list.querySelector(`[data-shelf="${name}"]`);
}

function place(row) {
  const runs = shelfOf(row).querySelector(".runs");
  let above = null;
  for (const other of runs.children) {
    if (other === row) continue;
    if (other.dataset.timestamp < row.dataset.timestamp) break;
    above = other;
  }
  if (above) above.after(row);
  else runs.prepend(row);
}

/** Say how much of a run this browser hasn't seen yet. */
function tellUnread(row) {
  const seen = lastSeen(`${row.dataset.namespace}/${row.dataset.run}`);
  const fresh = seen && seen.messages ? Number(row.dataset.messages) - seen.messages : 0;
  const mark = row.querySelector(".unread");
  mark.hidden = fresh <= 0;
  mark.textContent = fresh > 0 ? `${fresh.toLocaleString("en")} new` : "";
}

function count() {
  for (const shelf of list.querySelectorAll(".shelf")) {
    const number = shelf.querySelector(".runs").childElementCount;
    shelf.hidden = number === 0;
    shelf.querySelector(".count").textContent = number;
  }
  document.querySelector(".empty").hidden = rows.size > 0;
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
    tellUnread(row);
    place(row);
    return;
  }
  // Its rate is counted when the page is loaded.
  row.querySelector(".rate").replaceWith(old.querySelector(".rate"));
  const focused = old.contains(document.activeElement);
  old.replaceWith(row);
  tellUnread(row);
  if (focused) row.querySelector("a").focus({ preventScroll: true });
  // Rows don't move under a pointer or a focus.
  else if (!list.matches(":hover") || shelfOf(row) !== row.closest(".shelf")) place(row);
}

function take(events) {
  for (const event of events) update(event);
  for (const row of allRows().slice(MOST)) {
    rows.delete(keyOf(row));
    row.remove();
  }
  count();
}

list.addEventListener("mouseleave", () => {
  for (const runs of list.querySelectorAll(".runs")) {
    const sorted = [...runs.children].sort((a, b) => (a.dataset.timestamp < b.dataset.timestamp ? 1 : -1));
    if (sorted.some((row, index) => runs.children[index] !== row)) runs.append(...sorted);
  }
});

localize(document);
tick();
for (const row of rows.values()) tellUnread(row);
form.addEventListener("change", () => form.requestSubmit());
form.querySelector(".go").hidden = true;
form.addEventListener("formdata", ({ formData }) => {
  for (const [name, value] of [...formData]) if (!value) formData.delete(name);
});

const selection = new Selection(() => allRows());
on(["j"], () => selection.step(1));
on(["k"], () => selection.step(-1));
on(["e"], () => {
  const failed = allRows().find((row) => row.dataset.state === "failed");
  if (failed) selection.select(failed);
});
on(["g"], () => selection.select(allRows()[0] ?? null));
on(["G"], () => selection.select(allRows().at(-1) ?? null));
on(["Escape"], () => selection.select(null));

const badge = new Badge(document.querySelector(".badge"));
if (paged === undefined) new Live(stream, cursor, badge, take);
