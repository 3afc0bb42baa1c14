// The parts of a run's page that its messages change: the head, the summary, the recent runs; and what it comes to.

import { Refresh } from "./refresh.js";

const PAUSE_MS = 1_500;
// What is told of a run after its last message: what its artifacts came to, that it is over.
const LATER_MS = [5_000, 30_000];
// What takes a look at the whole run is asked for less often.
const ACCOUNT_PAUSE_MS = 15_000;

/** Put new content into places that nobody is in. */
function fill(places, content) {
  for (const place of places) {
    if (!place.contains(document.activeElement)) place.replaceChildren(...content.cloneNode(true).childNodes);
  }
}

const isEnded = (root) => root.querySelector("[data-messages-of]").dataset.ended !== undefined;

/**
 * Return what refreshes the head, the summary and the recent runs.
 * @param {string} url of the fragment
 * @param {() => void} ended is called when they tell for the first time that the run is over
 */
export function parts(url, ended) {
  let wasEnded = isEnded(document);
  const use = (fragment) => {
    for (const part of fragment.querySelectorAll("[data-part]")) {
      fill(document.querySelectorAll(`[data-part="${part.dataset.part}"]`), part);
    }
    const isOver = isEnded(fragment);
    if (isOver && !wasEnded) ended();
    wasEnded = isOver;
  };
  return new Refresh(url, PAUSE_MS, use, LATER_MS);
}

/** Offer kinds to filter by, that the run has and the page didn't know of. */
function offerKinds(options) {
  const select = document.querySelector('.drawer select[name="kind"]');
  const known = new Set([...select.options].map(({ value }) => value));
  select.append(...[...options].filter(({ value }) => !known.has(value)));
}

/** Return what refreshes a run's account. */
export function account() {
  const places = [...document.querySelectorAll(".account[data-load]")];
  const refresh = new Refresh(places[0].dataset.load, ACCOUNT_PAUSE_MS, (fragment) => {
    const kinds = fragment.querySelector("template[data-kinds]");
    kinds.remove();
    fill(places, fragment);
    offerKinds(kinds.content.children);
  });
  refresh.first();
  return refresh;
}
