// The list of runs, alive: each run on its shelf, the newest activity first, unless a pointer is over the list.

import { announce } from "./announce.js";
import { Badge } from "./badge.js";
import * as drawer from "./drawer.js";
import { parse } from "./html.js";
import { on } from "./keys.js";
import { Live } from "./live.js";
import { lastSeen } from "./looked.js";
import { Refresh } from "./refresh.js";
import { Selection } from "./selection.js";
import { localize, tick } from "./time.js";
import { write } from "./toolbar.js";

const MOST = 200;
const DAY_MS = 86_400_000;
const COUNT_PAUSE_MS = 1_500;
// A run goes silent without a word.
const COUNT_LATER_MS = [60_000, 600_000, 1_200_000];
const list = document.querySelector(".list");
const { stream, cursor, paged, words, only, since, until, apart } = list.dataset;
const form = document.querySelector(".filters");

const keyOf = (row) => `${row.dataset.namespace}\n${row.dataset.run}`;
const allRows = () => [...list.querySelectorAll("[data-run]")];
const rows = new Map(allRows().map((row) => [keyOf(row), row]));

// How many runs are on each shelf, beyond those in the page.
const totals = { place: document.querySelector(".totals"), refresh: null };
const { load } = totals.place.dataset;
if (load && paged === undefined) {
  totals.refresh = new Refresh(load, COUNT_PAUSE_MS, (fragment) => {
    if (totals.place.contains(document.activeElement)) return;
    totals.place.replaceChildren(...fragment.childNodes);
    count();
  }, COUNT_LATER_MS);
}

/** Say whether a run belongs into the list as it is filtered. */
function fits(run, row) {
  if (only && run.state !== only) return false;
  // By overlap, as the server has it.
  if (since && row.dataset.timestamp < since) return false;
  if (until && row.dataset.first >= until) return false;
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

const ofNamespace = (row) => (apart === undefined ? "" : row.dataset.namespace);
const newest = (group) => group.querySelector("[data-run]")?.dataset.timestamp ?? "";

/** Return the list of a row's namespace on its shelf, made where it isn't there yet. */
function groupOf(row) {
  const shelf = shelfOf(row);
  const namespace = ofNamespace(row);
  const groups = [...shelf.querySelectorAll(".group")];
  const found = groups.find(({ dataset }) => dataset.namespace === namespace);
  if (found) return found;
  const group = document.createElement("section");
  group.className = "group";
  group.dataset.namespace = namespace;
  const title = shelf.querySelector(".shelf-title").firstChild.data.trim();
  if (namespace) {
    const head = group.appendChild(document.createElement("h3"));
    head.className = "group-title";
    const link = head.appendChild(document.createElement("a"));
    const url = new URL(location.href);
    url.searchParams.set("workflowNamespace", namespace);
    link.href = url.href;
    link.title = "Show this namespace alone";
    // As the server shows it, whatever signs it has.
    link.append(row.querySelector(".namespace bdi").cloneNode(true));
  }
  const runs = group.appendChild(document.createElement("ol"));
  runs.className = "runs";
  runs.setAttribute("aria-label", namespace ? `${title}, ${namespace}` : title);
  shelf.querySelector(".groups").append(group);
  return group;
}

/** Put the groups of a shelf into their order: that of the newest activity first, unless the reader is in one. */
function arrange(shelf) {
  if (shelf.contains(document.activeElement)) return;
  const groups = [...shelf.querySelectorAll(".group")];
  const sorted = [...groups].sort((a, b) => (newest(a) < newest(b) ? 1 : -1));
  if (sorted.some((group, at) => groups[at] !== group)) shelf.querySelector(".groups").append(...sorted);
}

function place(row) {
  const runs = groupOf(row).querySelector(".runs");
  let above = null;
  for (const other of runs.children) {
    if (other === row) continue;
    if (other.dataset.timestamp < row.dataset.timestamp) break;
    above = other;
  }
  if (above) above.after(row);
  else runs.prepend(row);
  if (!list.matches(":hover")) arrange(row.closest(".shelf"));
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
    for (const group of shelf.querySelectorAll(".group")) if (!group.querySelector("[data-run]")) group.remove();
    const shown = shelf.querySelectorAll("[data-run]").length;
    const all = shelf.querySelector(".all");
    // Of words that are looked for nobody has counted the runs.
    if (all && totals.refresh) {
      const { number = 0, words = "" } = totals.place.querySelector(`[data-of="${shelf.dataset.shelf}"]`)?.dataset ?? {};
      shelf.querySelector(".count").textContent = words;
      all.querySelector("span").textContent = words;
      all.hidden = Number(number) <= shown;
    }
    shelf.hidden = shown === 0 && (!all || all.hidden);
  }
  document.querySelector(".empty").hidden = rows.size > 0;
}

function update({ run, html }) {
  const row = parse(html).firstElementChild;
  const key = keyOf(row);
  const old = rows.get(key);
  if (!fits(run, row)) {
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
  totals.refresh?.soon();
}

list.addEventListener("mouseleave", () => {
  for (const runs of list.querySelectorAll(".runs")) {
    const sorted = [...runs.children].sort((a, b) => (a.dataset.timestamp < b.dataset.timestamp ? 1 : -1));
    if (sorted.some((row, index) => runs.children[index] !== row)) runs.append(...sorted);
  }
  for (const shelf of list.querySelectorAll(".shelf")) arrange(shelf);
});

localize(document);
tick();
for (const row of rows.values()) tellUnread(row);
// A time is complete long before it is the one that is meant.
form.addEventListener("change", ({ target }) => {
  if (!target.closest(".drawer")) form.requestSubmit();
});
form.querySelector(":scope > .go").hidden = true;
drawer.begin();

/** Have the days that are offered be the reader's own, whenever the page was loaded. */
function offerDays() {
  const now = new Date();
  for (const link of form.querySelectorAll(".offers a")) {
    const url = new URL(link.href);
    for (const [name, hours] of Object.entries(link.dataset)) {
      url.searchParams.set(name, new Date(now.getFullYear(), now.getMonth(), now.getDate(), Number(hours)).toISOString());
    }
    link.href = url.href;
  }
}

document.querySelector(".more-filters").addEventListener("toggle", offerDays);

const selection = new Selection(() => allRows());

/** Select the next failed run, or the one before. */
function toFailed(by) {
  const all = allRows();
  const at = all.indexOf(selection.current);
  const onward = by > 0 ? all.slice(at + 1) : all.slice(0, Math.max(0, at)).reverse();
  const failed = onward.find((row) => row.dataset.state === "failed");
  if (failed) selection.select(failed);
  else announce(by > 0 ? "No failed run after this" : "No failed run before this");
}

on(["j"], () => selection.step(1));
on(["k"], () => selection.step(-1));
on(["n", "e"], () => toFailed(1));
on(["p"], () => toFailed(-1));
on(["c"], () => selection.current && write(selection.current.querySelector("a.name").href, "Link"));
on(["g"], () => selection.select(allRows()[0] ?? null));
on(["G"], () => selection.select(allRows().at(-1) ?? null));
on(["Escape"], () => selection.select(null));

const badge = new Badge(document.querySelector(".badge"), "run");
if (paged === undefined) new Live(stream, cursor, badge, take);
