// One message by itself, or a run's changes: times in the reader's zone, and long lines as the reader wants them.

import { Lines } from "./lines.js";
import { localize } from "./time.js";

localize(document);
new Lines(document.querySelector("main"));
