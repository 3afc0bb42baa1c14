"""Long lines of output, code and diffs: wrapped, or scrolled sideways."""

from datetime import UTC, datetime, timedelta
from textwrap import indent

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import story
from tests.browser.conftest import PHONE, OpenPage
from tests.browser.rows import insert, message
from tests.browser.sights import OVERFLOW, expect_announced, expect_live, wait_for
from tests.browser.test_every_page import AXE, VIOLATIONS
from tests.webserver import WebServer

WIDE = "x = call(" + ", ".join(f"argument_{n}" for n in range(40)) + ")"
OUTPUT = "\n".join(f"line {n}: {'step ' * (n % 60)}end" for n in range(400))
DIFF = f"--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,2 @@\n a = 1\n-{WIDE}\n+b = 2"
LONG = "main pre:is(.code, .term, .diff)"
IS_WIDE = "(pre) => pre.scrollWidth > pre.clientWidth"
# Where a line stands in the window; the argument is what it begins with.
TOP_OF = """(words) => {
  const texts = document.createTreeWalker(document.querySelector("pre.term"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const at = texts.currentNode.data.indexOf(words);
    if (at < 0) continue;
    const range = document.createRange();
    range.setStart(texts.currentNode, at);
    range.setEnd(texts.currentNode, at + 1);
    return range.getBoundingClientRect().top;
  }
}"""
READING_LINE = "Math.max(0, document.querySelector('.head').getBoundingClientRect().bottom) + 2"
NUMBERED = """(rows) => rows.map((row) => {
  const { content, display, visibility } = getComputedStyle(row, "::before");
  return display !== "none" && visibility === "visible" ? JSON.parse(content) : null;
})"""
# Where they are; one of six digits reaches to the left.
NUMBERS = """(pre) => {
  const rows = [...pre.querySelectorAll("[data-n]")];
  const { left, top } = rows[0].getBoundingClientRect();
  const { bottom } = rows.at(-1).getBoundingClientRect();
  const width = Math.floor(Number.parseFloat(getComputedStyle(rows[0]).paddingLeft));
  return { x: Math.round(left) - 10, y: top, width: width + 10, height: bottom - top };
}"""
SELECTED = """(pre) => {
  getSelection().selectAllChildren(pre);
  return getSelection().toString();
}"""


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.fixture
def database(shared_web: WebServer) -> str:
    return shared_web.database


def say(database: str, *, output: str = OUTPUT, ago: int = 60) -> int:
    """Have a run say a line of output, of code and of a diff that are wide; return where the output is."""
    at = datetime.now(UTC) - timedelta(seconds=ago)
    places = insert(
        database,
        [
            message(at, "executor", "tool_result", "", attrs=story.shell("cat log", output=output, exit_code=1)),
            message(
                at, "planner", "message", f"Code:\n\n```python\n{WIDE}\n```\n\n```python\nx = 1\n```\n\nand prose."
            ),
            message(
                at,
                "executor",
                "tool_result",
                DIFF,
                attrs=story.shell("git apply", name="apply_patch", output=DIFF, exit_code=0),
            ),
        ],
    )
    return places[0]


def wide(page: Page) -> list[bool]:
    """Say of each text of lines whether it is wider than its place."""
    return [bool(is_wide) for is_wide in page.locator(LONG).evaluate_all(f"all => all.map({IS_WIDE})")]


def switch(page: Page) -> Locator:
    return page.get_by_role("button", name="Wrap lines")


@pytest.mark.parametrize("size", [(1440, 900), PHONE], ids=["desk", "phone"])
def test_long_lines_wrap_until_the_reader_has_them_scroll(
    database: str, open_page: OpenPage, size: tuple[int, int]
) -> None:
    say(database)
    page = open_page("/agents/run-1", size=size)
    expect(switch(page)).to_have_attribute("aria-pressed", "true")
    assert wide(page) == [False] * 4
    switch(page).click()
    expect(switch(page)).to_have_attribute("aria-pressed", "false")
    assert wide(page) == [True, True, False, True]
    assert page.evaluate(OVERFLOW) <= 0
    # What scrolls is reached by keys, and nothing else.
    expect(page.locator(f"{LONG}[tabindex='0']")).to_have_count(3)
    expect(page.get_by_text("x = 1", exact=True).locator("xpath=ancestor::pre")).not_to_have_attribute("tabindex", "0")
    # Beside a long line the others have their colour as far as it goes.
    rows = page.locator("pre.diff > span").evaluate_all("all => all.map((row) => row.offsetWidth)")
    assert min(rows) == max(rows) > page.locator("pre.diff").evaluate("(pre) => pre.clientWidth")
    switch(page).click()
    expect(page.locator(f"{LONG}[tabindex]")).to_have_count(0)
    assert wide(page) == [False] * 4


def test_that_lines_scroll_is_remembered_and_holds_for_what_comes_and_for_each_tab(
    database: str, open_page: OpenPage
) -> None:
    place = say(database)
    page = open_page("/agents/run-1")
    other = page.context.new_page()
    other.goto(f"/agents/run-1/message/{place}")
    assert wide(other) == [False]
    page.keyboard.press("w")
    expect_announced(page, "Long lines scroll")
    wait_for(other, "document.querySelector('pre').scrollWidth > document.querySelector('pre').clientWidth")
    expect(switch(other)).to_have_attribute("aria-pressed", "false")
    other.close()
    page.reload()
    expect(switch(page)).to_have_attribute("aria-pressed", "false")
    expect_live(page)
    say(database, ago=0)
    expect(page.locator(LONG)).to_have_count(8)
    expect(page.locator(f"{LONG}[tabindex='0']")).to_have_count(6)
    page.goto("/agents/run-1/changes")
    wait_for(page, f"({IS_WIDE})(document.querySelector('pre.diff'))")
    page.keyboard.press("w")
    wait_for(page, f"!({IS_WIDE})(document.querySelector('pre.diff'))")
    assert (
        page.evaluate("localStorage.length") == 0 or page.evaluate("localStorage.getItem('agent-comms:lines')") is None
    )


@pytest.mark.parametrize("path", ["/agents/run-1?at={place}", "/agents/run-1/message/{place}"])
def test_who_has_long_lines_scroll_goes_on_reading_where_they_were(
    database: str, open_page: OpenPage, path: str
) -> None:
    place = say(database)
    page = open_page(path.format(place=place))
    whole = page.locator("a[data-whole]").first
    if whole.is_visible():
        whole.click()
    expect(page.locator("pre.term")).to_contain_text("line 1: ")
    page.evaluate(f"scrollBy(0, ({TOP_OF})('line 250:') - ({READING_LINE}))")
    before = page.evaluate(TOP_OF, "line 250:")
    height = page.evaluate("document.documentElement.scrollHeight")
    for _ in range(2):
        page.keyboard.press("w")
        assert abs(page.evaluate(TOP_OF, "line 250:") - before) < 2
        assert page.evaluate("document.documentElement.scrollHeight") != height
        height = page.evaluate("document.documentElement.scrollHeight")


def test_what_is_selected_is_what_was_said_whether_lines_wrap_or_scroll(database: str, open_page: OpenPage) -> None:
    output = "\n".join([WIDE, "\ttab", "  two spaces  ", "", "end"])
    say(database, output=output)
    page = open_page("/agents/run-1")
    for _ in range(2):
        assert page.locator("pre.term").evaluate(SELECTED) == output
        assert page.locator("pre.code").first.evaluate(SELECTED).rstrip("\n") == WIDE
        assert page.locator("pre.diff").evaluate(SELECTED).rstrip("\n") == DIFF
        page.keyboard.press("w")


@pytest.mark.parametrize("size", [(1440, 900), PHONE], ids=["desk", "phone"])
def test_the_numbers_of_a_diff_stay_while_its_lines_go_by_behind_them(
    database: str, open_page: OpenPage, size: tuple[int, int]
) -> None:
    first = 99_998
    diff = f"--- a/x.py\n+++ b/x.py\n@@ -{first},3 +{first},4 @@\n {WIDE}\n-{WIDE}\n+{WIDE}\n+{WIDE}\n {WIDE}"
    output = story.shell("git apply", name="apply_patch", output=diff, exit_code=0)
    now = datetime.now(UTC)
    said = f"Look:\n\n- ```diff\n{indent(diff, '  ')}\n  ```"
    insert(database, [message(now, "executor", "tool_result", diff, attrs=output), message(now, "a", "message", said)])
    page = open_page("/agents/run-1", size=size)
    page.keyboard.press("w")
    expect(page.locator("pre.diff[tabindex='0']")).to_have_count(2)
    for path in ("/agents/run-1", "/agents/run-1/changes"):
        page.goto(path)
        for pre in page.locator("pre.diff").all():
            pre.scroll_into_view_if_needed()
            assert pre.locator("[data-n]").evaluate_all(NUMBERED) == ["99998", "99999", "99999", "100000", "100001"]
            for theme in ("light", "dark"):
                page.emulate_media(color_scheme=theme)
                clip = pre.evaluate(NUMBERS)
                before = page.screenshot(clip=clip)
                assert pre.evaluate("(pre) => (pre.scrollTo(157, 0), pre.scrollLeft)") == 157
                assert page.screenshot(clip=clip) == before
                pre.evaluate("(pre) => pre.scrollTo(0, 0)")


def test_axe_has_nothing_against_lines_that_scroll(database: str, open_page: OpenPage) -> None:
    say(database)
    page = open_page("/agents/run-1", bypass_csp=True)
    page.keyboard.press("w")
    expect(page.locator(f"{LONG}[tabindex='0']")).to_have_count(3)
    page.evaluate(AXE)
    assert page.evaluate(f"{VIOLATIONS}({{}})") == []
