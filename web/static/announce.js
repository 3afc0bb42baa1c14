// Says something in passing, to whoever sees the page and to whoever hears it.

let timer = null;

export function announce(words) {
  const live = document.querySelector('[data-testid="announcement"]');
  if (!live) return;
  live.textContent = words;
  live.classList.remove("sr");
  live.classList.add("toast");
  clearTimeout(timer);
  timer = setTimeout(() => {
    live.classList.replace("toast", "sr");
    live.textContent = "";
  }, 2_500);
}
