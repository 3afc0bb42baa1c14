"""What a command prints reads like a terminal, drawn with the page or live."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from playwright.sync_api import Page, expect

from flows.message import Message
from tests.browser.conftest import DESK, PHONE, OpenPage
from tests.browser.rows import insert, message
from tests.browser.sights import OVERFLOW, expect_live
from tests.browser.test_every_page import AXE, VIOLATIONS
from tests.webserver import WebServer

LINES = ["total 2", "-rw-r--r--  1 root   5 __init__.py", "    four\there", "2*3*4  ~~old~~", "---", "5) five"]
# Where each line begins and ends, and what it is in the page.
SHOWN = """(all) => all.map((article) => {
  const { top, bottom } = article.querySelector(".said").getBoundingClientRect();
  const pre = article.querySelector("pre");
  return { top, bottom, text: pre.innerText, words: pre.getBoundingClientRect().top, classes: article.className,
    told: getComputedStyle(article.querySelector(".at")).opacity };
})"""
ROWS = "article.is-output"


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


def said(lines: list[str]) -> list[Message]:
    """Return lines that a command printed, of which the fifth comes after a blank one."""
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
    return [
        message(at, "shell", "message", text, attrs={"artifact": "stdout", "line": number + (number > 4)})
        for number, text in enumerate(lines, 1)
    ]


def shown(page: Page, number: int = len(LINES)) -> list[dict[str, object]]:
    expect(page.locator(ROWS)).to_have_count(number)
    return [dict(row) for row in page.locator(ROWS).evaluate_all(SHOWN)]


@pytest.mark.parametrize("size", [DESK, PHONE])
def test_lines_stand_below_one_another_as_they_were_printed(
    size: tuple[int, int], shared_web: WebServer, open_page: OpenPage
) -> None:
    insert(shared_web.database, said(LINES))
    page = open_page("/agents/run-1", size=size)
    rows = shown(page)
    assert [str(row["text"]).strip("\n") for row in rows] == LINES
    steps = [round(float(str(after["words"])) - float(str(row["words"]))) for row, after in pairwise(rows)]
    # Lines are as far apart as in one text; where one was blank there is room for it.
    assert max(steps[:3]) <= 22
    assert steps[3] == pytest.approx(2 * steps[0], abs=2)
    # One surface, without a gap.
    assert all(float(str(after["top"])) <= float(str(row["bottom"])) for row, after in pairwise(rows))
    assert not page.evaluate(OVERFLOW)


def test_what_comes_live_is_drawn_like_what_was_there(shared_web: WebServer, open_page: OpenPage) -> None:
    lines = said(LINES)
    insert(shared_web.database, lines[:1])
    page = open_page("/agents/run-1")
    expect_live(page)
    insert(shared_web.database, lines[1:])
    live = [row["classes"] for row in shown(page)]
    page.reload()
    expect_live(page)
    assert [str(names).replace(" arrived", "") for names in live] == [row["classes"] for row in shown(page)]
    assert sum("flows" in str(names) for names in live) == 4


def test_a_second_is_told_once_and_again_where_it_is_pointed_at(shared_web: WebServer, open_page: OpenPage) -> None:
    insert(shared_web.database, said(LINES))
    page = open_page("/agents/run-1")
    assert [row["told"] for row in shown(page)] == ["1", *["0"] * 5]
    page.locator(ROWS).nth(2).hover()
    assert [row["told"] for row in shown(page)] == ["1", "0", "1", "0", "0", "0"]


def test_without_scripts_it_is_the_same(shared_web: WebServer, open_page: OpenPage) -> None:
    insert(shared_web.database, said(LINES))
    rows = shown(open_page("/agents/run-1"))
    plainly = shown(open_page("/agents/run-1", java_script_enabled=False))
    assert [row["classes"] for row in plainly] == [row["classes"] for row in rows]
    assert [row["text"] for row in plainly] == [row["text"] for row in rows]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_has_nothing_against_it(scheme: str, shared_web: WebServer, open_page: OpenPage) -> None:
    started = message(datetime.now(UTC) - timedelta(minutes=2), "shell", "run-started", "started: ls  -l *.py*")
    insert(shared_web.database, [started, *said(LINES)])
    page = open_page("/agents/run-1", color_scheme=scheme, bypass_csp=True)
    shown(page)
    page.evaluate(AXE)
    assert page.evaluate(f"{VIOLATIONS}({{}})") == []
