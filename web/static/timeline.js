// A conversation, alive: a run's page and the general channel's.

import { announce } from "./announce.js";
import { Badge } from "./badge.js";
import { Compose } from "./compose.js";
import { Finding } from "./finding.js";
import { Follow } from "./follow.js";
import { parse } from "./html.js";
import { on } from "./keys.js";
import { Lanes } from "./lanes.js";
import { Live } from "./live.js";
import { Looked } from "./looked.js";
import { Account, Parts } from "./parts.js";
import { Timeline } from "./place.js";
import { Selection } from "./selection.js";
import { localize, tick } from "./time.js";
import { Toolbar, copyLink, copyWords } from "./toolbar.js";
import { Window } from "./window.js";

const root = document.querySelector(".timeline");
const { stream, cursor, parts: partsUrl, room, sought, ended, errors, since, fragments } = root.dataset;
const terms = JSON.parse(root.dataset.terms);
const query = JSON.parse(root.dataset.query);

localize(document);
tick();
history.scrollRestoration = "manual";

const timeline = new Timeline(root);
const looked = new Looked(timeline, room);
const view = new Window(timeline, fragments, () => changed());
const follow = new Follow(document.querySelector(".pill"), view);
const parts = partsUrl ? new Parts(partsUrl) : null;
const account = partsUrl ? new Account() : null;
const badge = new Badge(document.querySelector(".badge"));
const selection = new Selection(() => timeline.messages(), (message) => toolbar.show(message));
const toolbar = new Toolbar(root);
const finding = new Finding(timeline, view, reach, query);
const lanesPlace = document.querySelector(".lanes-place");
const lanes = lanesPlace ? new Lanes(lanesPlace, (moment) => goTo({ when: moment })) : null;
const say = document.querySelector(".say");
const compose = say ? new Compose(say) : null;

function changed() {
  looked.draw();
  finding.count();
  lanes?.sight();
  document.querySelector(".empty").hidden = timeline.size > 0;
}

/** Select a message and put it before the reader. */
function reach(message, part = message) {
  follow.stop();
  selection.select(message, { focus: false });
  part.scrollIntoView({ block: "center", behavior: "instant" });
  message.querySelector(".at").focus({ preventScroll: true });
}

async function goTo(place) {
  try {
    await view.go(place);
  } catch {
    announce("These messages did not load");
    return null;
  }
  follow.stop();
  const message = place.at ? timeline.find(place.at) : timeline.messages().find(({ dataset }) => dataset.timestamp >= place.when) ?? timeline.last;
  if (message) reach(message);
  return message;
}

/** Say whether what arrived is among what is looked for; agents and kinds are the stream's business. */
function fits(event, message) {
  if (errors !== undefined && message.dataset.wrong === undefined) return false;
  if (since && message.dataset.timestamp < since) return false;
  if (!terms.length) return true;
  const words = `${event.content}\n${JSON.stringify(event.tool ?? "")}`.toLowerCase();
  return terms.every((term) => words.includes(term));
}

function take(events) {
  const fragment = parse(events.map((event) => event.html ?? "").join(""));
  localize(fragment);
  const bySeq = new Map(events.map((event) => [String(event.seq), event]));
  const all = [...fragment.children];
  const messages = all.filter((message) => fits(bySeq.get(message.dataset.seq), message));
  for (const message of messages) message.classList.add("arrived");
  compose?.arrived(all);
  badge.stored(new Date(events.at(-1).created_at));
  follow.add(root, messages.length, () => view.add(messages));
  if (follow.here && view.trim("above")) follow.toEnd();
  if (timeline.size) document.querySelector(".empty").hidden = true;
  parts?.refresh();
  account?.refresh();
  lanes?.refresh();
}

/** Show the message that the address names, though it isn't in the page. */
async function openHash() {
  const seq = /^#m-(\d+)$/.exec(location.hash)?.[1];
  if (!seq) return false;
  const message = timeline.find(seq) ?? (await goTo({ at: seq }));
  if (message?.dataset.seq !== seq) announce("That message isn't here: it may be filtered out, or older than what is kept");
  else reach(message);
  return true;
}

root.addEventListener("click", (event) => {
  const link = event.target.closest("a.at");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const message = link.closest("[data-seq]");
  const filtered = Object.keys(query).some((name) => name !== "include");
  // Out of what is filtered a message opens among those around it.
  if (filtered) location.assign(link.href);
  else {
    history.replaceState(null, "", link.href);
    selection.select(message, { focus: false });
    copyLink(message);
  }
});
addEventListener("hashchange", openHash);

const openAll = () => {
  const cards = [...root.querySelectorAll("details.fold, details.quiet")];
  const isOpen = cards.every((card) => card.open);
  for (const card of cards) card.open = !isOpen;
};
on(["j"], () => selection.step(1));
on(["k"], () => selection.step(-1));
on(["n"], () => finding.step(1, selection.current));
on(["p"], () => finding.step(-1, selection.current));
on(["e"], () => finding.failure(1, selection.current));
on(["g"], async () => {
  const first = root.dataset.first ?? "0001-01-01T00:00:00Z";
  await view.go({ after: `${first},0` });
  follow.stop();
  if (timeline.first) reach(timeline.first);
});
on(["G"], () => follow.toEnd());
on(["f"], () => {
  if (follow.here) {
    follow.stop();
    announce("Not following");
  } else {
    follow.toEnd();
    announce("Following");
  }
});
on(["o", "Enter"], (event) => {
  const card = selection.current?.querySelector("details");
  if (!card || (event.key === "Enter" && event.target.closest("a, button, summary"))) return false;
  card.open = !card.open;
  return true;
});
on(["E"], openAll);
on(["c"], () => selection.current && copyLink(selection.current));
on(["y"], () => selection.current && copyWords(selection.current));
on(["Escape"], () => selection.select(null));
const actions = {
  "next-failure": () => finding.failure(1, selection.current),
  "next-match": () => finding.step(1, selection.current),
  "previous-match": () => finding.step(-1, selection.current),
};
for (const [name, action] of Object.entries(actions)) document.querySelector(`main [data-do="${name}"]`)?.addEventListener("click", action);

const sieve = document.querySelector(".sieve");
sieve.addEventListener("formdata", ({ formData }) => {
  for (const [name, value] of [...formData]) if (!value) formData.delete(name);
});

const head = document.querySelector(".head");
new ResizeObserver(() => {
  const height = getComputedStyle(head).position === "sticky" ? head.offsetHeight : 0;
  document.documentElement.style.scrollPaddingTop = `${height + 16}px`;
}).observe(head);

looked.draw();
if (sought && timeline.find(sought)) reach(timeline.find(sought));
else if (location.hash.startsWith("#m-")) openHash();
else if (view.isAtEnd) follow.toEnd();
if (ended === undefined) new Live(stream, cursor, badge, take);
