// A conversation, alive: a run's page and the general channel's.

import { Badge } from "./badge.js";
import { Earlier } from "./earlier.js";
import { Follow } from "./follow.js";
import { parse } from "./html.js";
import { Live } from "./live.js";
import { Parts } from "./parts.js";
import { Timeline } from "./place.js";
import { localize, tick } from "./time.js";

// While the reader follows, so many messages are kept above; the rest is loaded again when they scroll up.
const MOST = 400;
const KEPT = 240;

const root = document.querySelector(".timeline");
const { stream, cursor, parts: partsUrl, paged } = root.dataset;

localize(document);
tick();
history.scrollRestoration = "manual";

const timeline = new Timeline(root);
const earlier = new Earlier(timeline);
const follow = new Follow(document.querySelector(".pill"));
const parts = partsUrl ? new Parts(partsUrl) : null;

function take(events) {
  const fragment = parse(events.map((event) => event.html ?? "").join(""));
  localize(fragment);
  const messages = [...fragment.children];
  for (const message of messages) message.classList.add("arrived");
  follow.add(root, () => timeline.add(messages, Boolean(earlier.link)));
  if (follow.here && timeline.size > MOST) {
    timeline.trim(KEPT);
    earlier.offer();
    follow.toEnd();
  }
  const nothing = document.querySelector(".empty");
  if (nothing && timeline.size) nothing.hidden = true;
  parts?.refresh();
}

if (paged === undefined) {
  // A link to a message that is in the page leads there; else the newest is what a reader wants.
  if (!document.getElementById(location.hash.slice(1))?.dataset.seq) follow.toEnd();
  new Live(stream, cursor, new Badge(document.querySelector(".badge")), take);
}
