// Dark or light: the system's, or the one that the reader chose for this browser.

const KEY = "agent-comms:theme";
const THEMES = ["system", "light", "dark"];

export function stored(key, fallback = null) {
  try {
    return localStorage.getItem(key) ?? fallback;
  } catch {
    return fallback; // A browser may keep nothing.
  }
}

export function store(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // Then the choice lasts as long as the page.
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

export function begin() {
  show();
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
