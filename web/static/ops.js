// How everything is, asked for again every few seconds; dead letters are tried again by a button.

import { announce } from "./announce.js";
import { ask } from "./ask.js";
import { parse } from "./html.js";
import { clockOf, localize } from "./time.js";

const PAUSE_MS = 5_000;
// What is shown is no older as long as all is well.
const OLD_MS = 12_000;
const place = document.querySelector(".ops");
const badge = document.querySelector(".badge");
let before = null;
// When all that is shown was so.
let at = Date.now();
let isAsking = false;

/** Say when it was so and, where it isn't known whether it still is, why. */
function tell(state, why = "") {
  const isOld = state !== "live";
  const clock = clockOf(at);
  badge.dataset.state = state;
  badge.querySelector(".word").textContent = `as of ${clock}${why && `: ${why}`}`;
  place.toggleAttribute("data-old", isOld);
  place.querySelector("#now-title").textContent = isOld ? `At ${clock}` : "Now";
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

/** Say whether somebody is reading or doing something here, which then stays. */
const isInUse = () => place.querySelector("details[open], [data-busy]") !== null || place.contains(document.activeElement);

async function load() {
  if (document.hidden) return;
  const isOld = Date.now() - at > OLD_MS;
  if (isInUse()) {
    if (isOld) tell("held", "it stays while it is in use");
    return;
  }
  if (isAsking) {
    if (isOld && badge.dataset.state !== "offline") tell("reconnecting", "the server hasn't answered since");
    return;
  }
  isAsking = true;
  try {
    const answer = await ask(place.dataset.load);
    const text = await answer.text();
    if (!answer.ok) tell("offline", "the server can't say how it is now; trying again");
    else if (!isInUse()) {
      place.replaceChildren(...parse(text).childNodes);
      dress();
      at = Date.now();
      tell("live");
    }
  } catch {
    tell("offline", "the server doesn't answer; trying again");
  } finally {
    isAsking = false;
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
    const answer = await ask(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
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
tell("live");
setInterval(load, PAUSE_MS);
document.addEventListener("visibilitychange", load);
