// A conversation, alive: a run's page and the general channel's.

import "./opening.js";

import { announce } from "./announce.js";
import { Badge } from "./badge.js";
import { Compose } from "./compose.js";
import * as drawer from "./drawer.js";
import { Ends } from "./ends.js";
import { Finding } from "./finding.js";
import { Folds } from "./folds.js";
import { Follow, isAtEnd } from "./follow.js";
import { parse } from "./html.js";
import { kept, putBack, show } from "./kept.js";
import { on } from "./keys.js";
import { Lanes } from "./lanes.js";
import { Lines, hold } from "./lines.js";
import { Live } from "./live.js";
import { Looked } from "./looked.js";
import { account as accountOf, parts as partsOf } from "./parts.js";
import { FIRST, Timeline } from "./place.js";
import { Selection, focusOn } from "./selection.js";
import { holds, mark } from "./terms.js";
import { localize, tick } from "./time.js";
import { Toolbar, copyLink, copyWords } from "./toolbar.js";
import { Whereabouts } from "./whereabouts.js";
import { Window } from "./window.js";

// Of more that come together each would be a layer of its own, and they are gone before they are there.
const MOST_FADED = 3;

const root = document.querySelector(".timeline");
const { stream, cursor, parts: partsUrl, room, sought, ended, errors, since, until, fragments } = root.dataset;
const terms = JSON.parse(root.dataset.terms);
const query = JSON.parse(root.dataset.query);

tick();
// Whoever has begun to read by now isn't taken away from there.
const opensAtEnd = isAtEnd();

let lines = null;
const folds = new Folds(root, room);
const timeline = new Timeline(root, (message) => {
  folds.apply(message);
  lines?.watch(message);
});
const looked = new Looked(timeline, room);
const view = new Window(timeline, fragments, () => changed());
const follow = new Follow(document.querySelector(".pill"), view);
// Once the head says that the run is over, nothing beside it may say less.
const parts = partsUrl ? partsOf(partsUrl, () => [account, lanes.refresh].forEach((part) => part.now())) : null;
const account = partsUrl ? accountOf() : null;
const badge = new Badge(document.querySelector(".badge"));
const selection = new Selection(() => timeline.messages(), (message) => toolbar.show(message));
const toolbar = new Toolbar(root, {
  opened: (message) => lines.watch(message),
  tapped: (message) => hold(() => selection.select(message, { focus: false }), message),
});
lines = new Lines(root, (change) => {
  if (follow.here) {
    change();
    follow.toEnd();
  } else hold(change, selection.current);
});
const finding = new Finding(timeline, view, reach, query);
const ends = new Ends(document.querySelector(".way"), view, {
  newest: toNewest,
  beginning: async () => (await toBeginning()) && scrollTo({ top: 0, behavior: "instant" }),
});
const lanesPlace = document.querySelector(".lanes-place");
const lanes = lanesPlace ? new Lanes(lanesPlace, timeline, (moment) => goTo({ when: moment })) : null;
const say = document.querySelector(".say");
const narrowed = Object.keys(query).some((name) => name !== "include");
const compose = say ? new Compose(say, { narrowed, spoken: () => follow.toEnd() }) : null;

function changed() {
  looked.draw();
  finding.count();
  lanes?.sight();
  ends.draw();
  document.querySelector(".empty").hidden = timeline.size > 0;
}

/** Select a message and put it, or a part of it, before the reader. */
function reach(message, part = message) {
  choose(message, () => part.scrollIntoView({ block: "center", behavior: "instant" }));
}

/** Select a message that a link names, and put it where it opens. */
function open(message) {
  choose(message, () => show(message));
}

function choose(message, place) {
  follow.stop();
  selection.select(message, { focus: false });
  // First, since while something in the head has the focus any place in the window will do.
  focusOn(message);
  place();
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

/** Have the beginning in the page; returns whether it is. */
async function toBeginning() {
  try {
    if (document.querySelector("main .turn.earlier")) await view.go({ after: FIRST });
  } catch {
    announce("These messages did not load");
    return false;
  }
  follow.stop();
  return true;
}

async function toNewest() {
  try {
    await follow.toEnd();
  } catch {
    announce("These messages did not load");
  }
}

/** Say whether what arrived is among what is looked for; agents and kinds are the stream's business. */
function fits(event, message) {
  if (errors !== undefined && message.dataset.wrong === undefined) return false;
  if (since && message.dataset.timestamp < since) return false;
  if (until && message.dataset.timestamp >= until) return false;
  return holds(event, terms);
}

function take(events) {
  const fragment = parse(events.map((event) => event.html ?? "").join(""));
  localize(fragment);
  const bySeq = new Map(events.map((event) => [String(event.seq), event]));
  const all = [...fragment.children];
  const messages = all.filter((message) => fits(bySeq.get(message.dataset.seq), message));
  if (messages.length <= MOST_FADED) for (const message of messages) message.classList.add("arrived");
  for (const message of messages) mark(message, terms);
  compose?.arrived(messages);
  badge.stored(new Date(events.at(-1).created_at));
  // What the general channel says under the run's name isn't counted as the run's.
  looked.arrived(events.filter(({ channel }) => channel === "run").map(({ seq }) => seq));
  const { here } = follow;
  const add = () => view.add(messages, here);
  follow.add(timeline, messages.length, () => (here ? view.change("above", add) : add()));
  ends.draw();
  if (terms.length) finding.count();
  if (timeline.size) document.querySelector(".empty").hidden = true;
  parts?.soon();
  account?.soon();
  lanes?.refresh.soon();
}

/** So much has arrived that it isn't worth drawing: whoever follows is shown the newest at once. */
async function overtaken(newest) {
  if (!follow.here) return false;
  await view.go();
  follow.toEnd();
  compose?.arrived(timeline.messages());
  badge.stored(new Date(newest.created_at));
  return true;
}

/** What changes with what is said may have changed while nothing was heard. */
function returned() {
  for (const part of [parts, account, lanes?.refresh]) part?.now();
}

/** Go on where the reader was before the page was left. */
async function comeBack(place) {
  if (place.end) {
    await toNewest();
    return;
  }
  follow.stop();
  try {
    if (!timeline.find(place.seq)) await view.go({ at: place.seq });
  } catch {
    announce("These messages did not load");
  }
  const message = timeline.find(place.seq);
  if (message) putBack(message, place);
}

/** Show the message that the address names, though it isn't in the page. */
async function openHash() {
  const seq = /^#m-(\d+)$/.exec(location.hash)?.[1];
  if (!seq) return false;
  const message = timeline.find(seq) ?? (await goTo({ at: seq }));
  if (message?.dataset.seq !== seq) announce("That message isn't here: it may be filtered out, or older than what is kept");
  else open(message);
  return true;
}

root.addEventListener("click", (event) => {
  const link = event.target.closest("a.at");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const message = link.closest("[data-seq]");
  // Out of what is filtered a message opens among those around it.
  if (narrowed) location.assign(link.href);
  else {
    history.replaceState(history.state, "", link.href);
    selection.select(message, { focus: false });
    copyLink(message);
  }
});
addEventListener("hashchange", openHash);

on(["j"], () => selection.step(1));
on(["k"], () => selection.step(-1));
on(["n"], () => finding.step(1, selection.current));
on(["p"], () => finding.step(-1, selection.current));
on(["e"], () => finding.failure(1, selection.current));
on(["g"], async () => {
  if ((await toBeginning()) && timeline.first) reach(timeline.first);
});
on(["G"], () => toNewest());
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
  if (!selection.current || (event.key === "Enter" && event.target.closest("a, button, summary"))) return false;
  return folds.turn(selection.current);
});
on(["E"], () => folds.turnAll(root));
on(["c"], () => selection.current && copyLink(selection.current));
on(["y"], () => selection.current && copyWords(selection.current));
on(["Escape"], () => selection.select(null));
const actions = {
  "next-failure": () => finding.failure(1, selection.current),
  "next-match": () => finding.step(1, selection.current),
  "previous-match": () => finding.step(-1, selection.current),
};
for (const [name, action] of Object.entries(actions)) document.querySelector(`main [data-do="${name}"]`)?.addEventListener("click", action);

drawer.begin();

compose?.arrived(timeline.messages());
looked.draw();
/** Take note of what is read and where, once the reader is where they belong. */
function begin() {
  looked.look();
  new Whereabouts(timeline, follow);
}

const reader = kept();
if (reader) comeBack(reader).finally(begin);
else if (sought && timeline.find(sought)) open(timeline.find(sought));
else if (location.hash.startsWith("#m-")) openHash();
else if (view.isAtEnd && (opensAtEnd || location.hash)) follow.toEnd();
else follow.stop();
if (!reader) begin();
if (ended === undefined) new Live(stream, cursor, badge, take, { overtaken, returned });
