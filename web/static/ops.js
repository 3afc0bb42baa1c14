// How everything is, asked for again every few seconds; dead letters are tried again by a button.

import { announce } from "./announce.js";
import { parse } from "./html.js";
import { clockOf, localize } from "./time.js";

const PAUSE_MS = 5_000;
const place = document.querySelector(".ops");
const badge = document.querySelector(".badge");
let before = null;

function show(state, words) {
  badge.dataset.state = state;
  badge.querySelector(".word").textContent = words;
}

/** Say how many messages a second were stored since the last look. */
function rate() {
  const figure = place.querySelector("[data-rate]");
  const now = { at: performance.now(), stored: Number(figure.dataset.rate) };
  if (before) {
    const number = Math.max(0, (now.stored - before.stored) / ((now.at - before.at) / 1000));
    figure.textContent = `${number < 10 ? number.toFixed(1) : Math.round(number).toLocaleString("en")} messages/s`;
  }
  before = now;
}

function dress() {
  localize(place);
  for (const button of place.querySelectorAll('[data-do="replay"]')) button.hidden = false;
  rate();
}

async function load() {
  // What somebody is reading or doing stays.
  if (document.hidden || place.querySelector("details[open], [data-busy]") || place.contains(document.activeElement)) return;
  try {
    const answer = await fetch(place.dataset.load);
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    place.replaceChildren(...parse(await answer.text()).childNodes);
    dress();
    show("live", `as of ${clockOf(new Date())}`);
  } catch {
    show("offline", "the server doesn't answer; trying again");
  }
}

place.addEventListener("click", async ({ target }) => {
  const button = target.closest('[data-do="replay"]');
  if (!button) return;
  const letter = button.closest("[data-letter]");
  const fate = letter.querySelector(".fate");
  button.disabled = true;
  letter.dataset.busy = "";
  fate.textContent = "trying …";
  try {
    const url = `/agents/ops/letters/${letter.dataset.letter}/replay`;
    const answer = await fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error ?? `the server answered ${answer.status}`);
    const words = { stored: "stored", known: "was stored already", unfit: "still can't be stored" };
    fate.textContent = words[told.state];
    if (told.state === "unfit") button.disabled = false;
    else button.remove();
    announce(`The message ${fate.textContent}`);
  } catch (error) {
    fate.textContent = `not replayed: ${error.message}`;
    button.disabled = false;
  } finally {
    delete letter.dataset.busy;
  }
});

dress();
show("live", `as of ${clockOf(new Date())}`);
setInterval(load, PAUSE_MS);
document.addEventListener("visibilitychange", load);
