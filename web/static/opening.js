// What the first picture of a conversation needs, and no more: it is there before the rest of the scripts is.

import { kept, putBack } from "./kept.js";
import { localize } from "./time.js";

localize(document);
history.scrollRestoration = "manual";
document.querySelector(".say")?.removeAttribute("hidden");
const { sought } = document.querySelector(".timeline").dataset;
const bar = document.querySelector(".bar");
new IntersectionObserver((entries) => bar.toggleAttribute("data-below-title", entries.at(-1).isIntersecting)).observe(document.querySelector(".top"));
const reader = kept();
const read = reader?.seq && document.getElementById(`m-${reader.seq}`);
if (read) putBack(read, reader);
else if (sought && !reader) document.getElementById(`m-${sought}`)?.scrollIntoView({ block: "center", behavior: "instant" });
else if ((reader?.end || !location.hash) && !document.querySelector("main .turn.later")) {
  const page = document.scrollingElement;
  page.scrollTo({ top: page.scrollHeight, behavior: "instant" });
}
