// One letter does something, as long as nobody is writing.

const actions = new Map();

/** Have a key do something; the newest word on a key counts. */
export function on(keys, action) {
  for (const key of keys) actions.set(key, action);
}

/** Say whether a key does something on this page. */
export const isHeard = (key) => actions.has(key);

const isWriting = (element) => element?.closest?.("input:not([type=radio]):not([type=checkbox]), textarea, select, [contenteditable]");

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (isWriting(event.target)) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (document.querySelector(":popover-open") && event.key !== "?") return;
  const action = actions.get(event.key);
  if (!action) return;
  if (action(event) !== false) event.preventDefault();
});
