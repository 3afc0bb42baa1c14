"""Tables in what agents say: read, not squeezed."""

from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DESK, PHONE, OpenPage
from tests.browser.rows import insert, message
from tests.browser.sights import OVERFLOW, expect_live
from tests.webserver import WebServer

FEW = "| name | count | share |\n| :-- | --: | :-: |\n| alpha beta gamma | 1204556 | 12 |\n| beta | 7 | 100 |\n"
MANY = (
    f"| {' | '.join(f'column{n}' for n in range(20))} |\n"
    f"|{'---|' * 20}\n"
    f"| {' | '.join(str(1_204_556 + n) for n in range(20))} |\n"
)
LONG = f"| where | what |\n|---|---|\n| https://example.org/{'a' * 300} | {'x' * 300} |\n"
# Of each cell, how many lines it has.
LINES = """(cells) => cells.map((cell) => {
  const text = document.createRange();
  text.selectNodeContents(cell);
  return new Set([...text.getClientRects()].map(({ top }) => top)).size;
})"""
SIDES = "(cells) => cells.map((cell) => getComputedStyle(cell).textAlign)"


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.mark.parametrize("size", [DESK, (1024, 768), PHONE], ids=["desk", "tablet", "phone"])
def test_a_table_scrolls_and_breaks_no_word_that_has_room(
    web: WebServer, open_page: OpenPage, size: tuple[int, int]
) -> None:
    now = datetime.now(UTC)
    insert(web.database, [message(now, "planner", "message", text, run="tables") for text in (FEW, MANY, LONG)])
    page = open_page("/agents/tables", size=size)
    expect_live(page)
    tables = page.locator(".md .table")
    expect(tables).to_have_count(3)
    few, many, long = tables.all()
    assert set(few.locator("td:not(:first-child)").evaluate_all(LINES)) == {1}
    assert set(many.locator("th, td").evaluate_all(LINES)) == {1}
    # A word that no line holds goes on in the next, and leaves room for what stands beside it.
    assert min(long.locator("td").evaluate_all(LINES)) > 2
    assert long.evaluate("(box) => box.scrollWidth") < 2 * size[0]
    assert page.evaluate(OVERFLOW) <= 0
    assert few.evaluate("(box) => box.scrollWidth <= box.clientWidth")
    assert many.evaluate("(box) => (box.scrollTo(9_999, 0), box.scrollLeft)") > 0
    expect(many.get_by_role("cell", name="1204575")).to_be_in_viewport(ratio=1)


def test_columns_stand_at_the_sides_that_they_are_written_for(web: WebServer, open_page: OpenPage) -> None:
    insert(web.database, [message(datetime.now(UTC), "planner", "message", FEW, run="tables")])
    page = open_page("/agents/tables")
    assert page.locator(".md th").evaluate_all(SIDES) == ["left", "right", "center"]
    assert page.locator(".md tr:last-child td").evaluate_all(SIDES) == ["left", "right", "center"]
