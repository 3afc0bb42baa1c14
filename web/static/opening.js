// What the first picture of a conversation needs, and no more: it is there before the rest of the scripts is.

import { kept, putBack, show } from "./kept.js";
import { localize } from "./time.js";

const BADGE_PX = 32;
const MARGIN_PX = 16;

localize(document);
history.scrollRestoration = "manual";
document.querySelector(".say")?.removeAttribute("hidden");
const { sought } = document.querySelector(".timeline").dataset;
const [head, bar] = [".head", ".bar"].map((name) => document.querySelector(name));
const measure = () => {
  // Above the bar there may be the badge.
  const height = getComputedStyle(head).position === "sticky" ? head.offsetHeight : bar.offsetHeight + BADGE_PX;
  document.documentElement.style.setProperty("--head", `${height + MARGIN_PX}px`);
};
measure();
const heights = new ResizeObserver(measure);
heights.observe(head);
heights.observe(bar);
new IntersectionObserver((entries) => bar.toggleAttribute("data-below-title", entries.at(-1).isIntersecting)).observe(document.querySelector(".top"));
const reader = kept();
const named = document.getElementById(sought ? `m-${sought}` : location.hash.slice(1));
const read = reader?.seq && document.getElementById(`m-${reader.seq}`);
if (read) putBack(read, reader);
else if (named?.matches(".msg") && !reader) show(named);
else if ((reader?.end || !location.hash) && !document.querySelector("main .turn.later")) {
  const page = document.scrollingElement;
  page.scrollTo({ top: page.scrollHeight, behavior: "instant" });
}
