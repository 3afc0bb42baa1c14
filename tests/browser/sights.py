"""What a reader would notice about a page."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Error, Locator, Page, expect

from tests.waiting import wait_until

AT_THE_END = "document.scrollingElement.scrollHeight - scrollY - innerHeight < 2"
FIRST = "Number(document.querySelector('[data-seq]').dataset.seq)"
OVERFLOW = "document.documentElement.scrollWidth - innerWidth"

# Keeps all that the badge says: some of it passes.
KEEP_WORDS = """
  globalThis.said = [];
  addEventListener("DOMContentLoaded", () => {
    const badge = document.querySelector(".badge");
    if (!badge) return;
    const all = { attributes: true, childList: true, characterData: true, subtree: true };
    new MutationObserver(() => said.push(badge.textContent.trim())).observe(badge, all);
  });
"""

# Keeps what is said in passing: a busy machine may look once it has passed.
KEEP_ANNOUNCED = """
  globalThis.announced = [];
  addEventListener("DOMContentLoaded", () => {
    const place = document.querySelector("[data-testid=announcement]");
    if (!place) return;
    const keep = () => place.textContent && announced.push(place.textContent);
    new MutationObserver(keep).observe(place, { childList: true });
  });
"""
# Takes all up to the words that are looked for, so that the same ones can be waited for once more.
TAKE_ANNOUNCED = """(words) => {
  const at = announced.findIndex((each) => each.includes(words));
  announced.splice(0, at + 1);
  return at >= 0;
}"""

STILL = """(async () => {
  let before = NaN;
  for (let still = 0; still < 5; before = scrollY) {
    await new Promise(requestAnimationFrame);
    still = scrollY === before ? still + 1 : 0;
  }
})()"""

NODES = """(() => {
  const all = document.createTreeWalker(document, NodeFilter.SHOW_ALL);
  let number = 1;
  while (all.nextNode()) number += 1;
  return number;
})()"""

# The text that is hard to read: each with its contrast to what is behind it.
PALE = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const luminance = ([red, green, blue]) => 0.2126 * light(red) + 0.7152 * light(green) + 0.0722 * light(blue);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (numbers(colour).length === 3 || numbers(colour)[3] === 1) return numbers(colour);
    }
    return [255, 255, 255];
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest(".sr, .sprite")) continue;
    const pair = [numbers(getComputedStyle(element).color), behind(element)].map(luminance).sort((a, b) => b - a);
    const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (contrast < 4.5) found.push([texts.currentNode.data.trim().slice(0, 40), element.className, contrast]);
  }
  return found;
}"""


def message(page: Page, seq: int) -> Locator:
    return page.locator(f'[data-seq="{seq}"]')


@contextmanager
def leaving(page: Page) -> Iterator[None]:
    """Wait until another page is there: what Playwright calls a navigation may be a script that notes its place."""
    with page.expect_event("load"):
        yield


def sequence(page: Page) -> list[int]:
    """Return the shown messages from top to bottom."""
    numbers = page.locator("[data-testid=timeline] [data-seq]").evaluate_all("all => all.map((one) => one.dataset.seq)")
    return [int(number) for number in numbers]


def expect_live(page: Page) -> None:
    expect(page.locator(".badge")).to_have_attribute("data-state", "live")


def wait_for(page: Page, condition: str) -> None:
    """Wait until a JavaScript expression holds; Playwright's own way is an `eval`, which the pages' policy forbids."""
    wait_until(lambda: _holds(page, condition), condition)


def _holds(page: Page, condition: str) -> bool:
    try:
        return bool(page.evaluate(condition))
    except Error as error:
        # It was asked while the page was being left.
        if "Execution context was destroyed" not in error.message:
            raise
        return False


def expect_announced(page: Page, words: str) -> None:
    """Wait until something has been said in passing that holds these words."""
    wait_until(lambda: page.evaluate(TAKE_ANNOUNCED, words), words)


def wait_until_still(page: Page) -> None:
    """Wait until nothing scrolls any more: a wheel turns on for some pictures."""
    page.evaluate(STILL)


def place_of(locator: Locator) -> float:
    """Return how far below the window's top an element is."""
    box = locator.bounding_box()
    assert box is not None
    return box["y"]


def nodes(page: Page) -> int:
    """Return how many nodes the document has, texts and all."""
    return int(page.evaluate(NODES))
