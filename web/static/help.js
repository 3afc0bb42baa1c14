// The sheet that names the keys. It floats beside the page's content: a modal dialog makes all the rest inert,
// which in a long page takes longer than a key may.

import { isHeard, on } from "./keys.js";

export function begin() {
  const sheet = document.querySelector("#help");
  on(["?"], () => sheet.togglePopover());
  // What does nothing here isn't promised; leaving a field or the sheet works everywhere.
  sheet.addEventListener("beforetoggle", () => {
    for (const row of sheet.querySelectorAll("[data-keys]")) {
      row.hidden = !row.dataset.keys.split(" ").some((key) => key === "Esc" || isHeard(key));
    }
  });
}
