// One message by itself: its time in the reader's zone.

import { localize } from "./time.js";

localize(document);
