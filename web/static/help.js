// The sheet that names the keys.

import { on } from "./keys.js";

export function begin() {
  const sheet = document.querySelector("#help");
  const toggle = () => (sheet.open ? sheet.close() : sheet.showModal());
  on(["?"], toggle);
  document.querySelector('[data-do="help"]')?.addEventListener("click", toggle);
  sheet.addEventListener("click", (event) => event.target === sheet && sheet.close());
}
