// What was found: its times in the reader's zone, and keys to go through it.

import { on } from "./keys.js";
import { Selection } from "./selection.js";
import { localize } from "./time.js";
import { write } from "./toolbar.js";

localize(document);
const hits = [...document.querySelectorAll(".hit")];
const selection = new Selection(() => hits);
on(["j", "n"], () => selection.step(1));
on(["k", "p"], () => selection.step(-1));
on(["g"], () => selection.select(hits[0] ?? null));
on(["G"], () => selection.select(hits.at(-1) ?? null));
on(["c"], () => selection.current && write(selection.current.querySelector(".quote a").href, "Link"));
on(["Escape"], () => selection.select(null));
