// What the reader chose for this browser: dark or light, rather than the system's, and whether long lines scroll.

const KEY = "agent-comms:theme";
export const LINES = "agent-comms:lines";
const THEMES = ["system", "light", "dark"];

export function stored(key, fallback = null) {
  try {
    return localStorage.getItem(key) ?? fallback;
  } catch {
    return fallback; // A browser may keep nothing.
  }
}

/** Keep a value, or with null none; returns whether that was done. */
export function store(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
    return true;
  } catch {
    // Then the choice lasts as long as the page.
    return false;
  }
}

let theme = stored(KEY, "system");

function show() {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  const button = document.querySelector('[data-do="theme"]');
  if (!button) return;
  button.querySelector(".word").textContent = { system: "System", light: "Light", dark: "Dark" }[theme];
  button.setAttribute("aria-label", `Theme: ${theme}`);
}

/** Show whether long lines scroll; by themselves they wrap. */
export function showLines(scroll = stored(LINES) === "scroll") {
  document.documentElement.toggleAttribute("data-scrolls", scroll);
  const button = document.querySelector('main [data-do="lines"]');
  if (!button) return;
  button.hidden = false;
  button.setAttribute("aria-pressed", String(!scroll));
}

// Before the first picture, which would be in the other one.
show();
showLines();
const knobs = document.querySelector(".knobs");
if (knobs) knobs.hidden = false;

export function begin() {
  document.querySelector('[data-do="theme"]')?.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "system";
    store(KEY, theme === "system" ? null : theme);
    show();
  });
  addEventListener("storage", ({ key }) => {
    if (key !== KEY) return;
    theme = stored(KEY, "system");
    show();
  });
}
