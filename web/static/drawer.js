// The drawer of filters closes as what floats does: by a click beside it, or by Escape. Its times are of the reader's zone.

import { fieldOf, zoneName } from "./time.js";

/** Have the fields of times show the reader's zone instead of UTC, and say so once. */
function localize(drawer) {
  for (const word of drawer.querySelectorAll("[data-utc]")) word.remove();
  for (const field of drawer.querySelectorAll('input[type="datetime-local"]')) {
    // Not by `value`, which a browser may have kept from before.
    const utc = field.getAttribute("value");
    if (utc) field.value = fieldOf(new Date(`${utc}Z`));
  }
  const zone = drawer.querySelector(".zone");
  zone.textContent = `Times of ${zoneName()}`;
  zone.hidden = false;
}

export function begin() {
  const drawer = document.querySelector(".more-filters");
  addEventListener("click", ({ target }) => {
    if (!drawer.contains(target)) drawer.open = false;
  });
  drawer.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !drawer.open) return;
    drawer.open = false;
    drawer.querySelector("summary").focus();
  });
  localize(drawer);
  // What is left empty isn't asked for, and addresses are the same for everybody.
  const form = drawer.closest("form");
  form.addEventListener("formdata", ({ formData }) => {
    for (const [name, value] of [...formData]) {
      if (!value) formData.delete(name);
      else if (form.elements[name].type === "datetime-local") formData.set(name, new Date(value).toISOString());
    }
  });
}
