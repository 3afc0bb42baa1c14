"""What turns the writing around turns nothing in a real page, and Arabic and Hebrew are read from the right."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Locator, expect

from tests.browser import story
from tests.browser.conftest import DESK, PHONE, OpenPage
from tests.browser.rows import insert, message
from tests.browser.sights import OVERFLOW, expect_live
from tests.webserver import WebServer

COMMAND = "rm -rf \u202e/pmt"
# The letters as they stand, from left to right.
ORDER = """(element) => {
  const texts = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let read = "";
  const letters = [];
  while (texts.nextNode()) {
    const text = texts.currentNode;
    for (let at = 0; at < text.length; at += 1) {
      const range = document.createRange();
      range.setStart(text, at);
      range.setEnd(text, at + 1);
      letters.push([range.getBoundingClientRect().left, text.data[at]]);
    }
  }
  return letters.sort(([a], [b]) => a - b).map(([, letter]) => letter).join("");
}"""


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


def order(element: Locator) -> str:
    return str(element.first.evaluate(ORDER))


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_an_override_turns_nothing_around(size: tuple[int, int], shared_web: WebServer, open_page: OpenPage) -> None:
    at = datetime.now(UTC) - timedelta(minutes=1)
    rows = [
        message(at, "planner", "message", COMMAND),
        message(at, "planner", "message", f"`{COMMAND}`"),
        message(at, "executor", "tool_call", "", attrs=story.shell(COMMAND)),
        message(at, "executor", "tool_result", "", attrs=story.shell("make", output=COMMAND, exit_code=1)),
        message(at, "shell", "message", COMMAND, attrs={"artifact": "stdout", "line": 1}),
    ]
    insert(shared_web.database, rows[:-1])
    page = open_page("/agents/run-1", size=size)
    expect_live(page)
    insert(shared_web.database, rows[-1:])
    expect(page.locator("article.is-output .turning")).to_have_count(1)
    for place in (".md > p", ".md code", "code.asked", ".is-result .gist", ".is-output pre"):
        assert "/pmt" in order(page.locator(f".timeline {place}")), place
    sign = page.locator(".turning").first
    expect(sign).to_have_attribute("title", "U+202E right-to-left override")
    box = sign.bounding_box()
    assert box is not None
    assert box["width"] > 15
    assert page.evaluate(OVERFLOW) <= 0


def test_arabic_and_hebrew_are_read_from_the_right(shared_web: WebServer, open_page: OpenPage) -> None:
    at = datetime.now(UTC) - timedelta(minutes=1)
    insert(shared_web.database, [message(at, "planner", "message", f"{text} `a.py`") for text in ("مرحبا", "שלום")])
    page = open_page("/agents/run-1")
    texts = page.locator("article .md")
    expect(texts).to_have_count(2)
    for text in texts.all():
        words, code = text.bounding_box(), text.locator("code").bounding_box()
        assert words is not None
        assert code is not None
        # The code comes last, so it stands at the left.
        assert words["x"] + words["width"] - code["x"] - code["width"] > 20
        expect(text).to_have_css("direction", "rtl")


def test_what_was_found_turns_nothing_around(shared_web: WebServer, open_page: OpenPage) -> None:
    insert(shared_web.database, [message(datetime.now(UTC), "planner", "message", f"find me: {COMMAND}")])
    page = open_page("/search?q=find")
    expect(page.locator(".hit .quote .turning")).to_have_count(1)
    assert "/pmt" in order(page.locator(".hit .quote"))


def test_a_file_that_was_changed_turns_nothing_around(shared_web: WebServer, open_page: OpenPage) -> None:
    diff = f"--- a/x.sh\n+++ b/x.sh\n@@ -1 +1 @@\n-true\n+{COMMAND}\u200e"
    attrs = story.shell("git apply", name="apply_patch", output=diff, exit_code=0)
    insert(shared_web.database, [message(datetime.now(UTC), "executor", "tool_result", diff, attrs=attrs)])
    page = open_page("/agents/run-1/changes")
    assert "/pmt" in order(page.locator(".change .d-add"))
    expect(page.locator(".change .d-add .turning")).to_have_count(2)
