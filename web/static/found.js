// What was found: its times in the reader's zone, and keys to go through it.

import { on } from "./keys.js";
import { Selection } from "./selection.js";
import { localize } from "./time.js";

localize(document);
const selection = new Selection(() => [...document.querySelectorAll(".hit")]);
on(["j", "n"], () => selection.step(1));
on(["k", "p"], () => selection.step(-1));
