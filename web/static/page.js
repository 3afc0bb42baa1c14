// What every page has: its theme, its keys, the sheet that names them.

import * as help from "./help.js";
import { on } from "./keys.js";
import * as theme from "./theme.js";

theme.begin();
help.begin();
const field = document.querySelector('input[type="search"]');
if (field) {
  on(["/"], () => {
    field.focus();
    field.select();
  });
}
