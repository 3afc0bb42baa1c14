"""Where a link opens a conversation, and that nothing but the reader moves it from there."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browser import story
from tests.browser.conftest import DESK, PHONE, OpenPage
from tests.browser.rows import insert, message
from tests.browser.sights import AT_THE_END, expect_live, place_of, wait_for, wait_until_still
from tests.browser.sights import message as shown
from tests.webserver import WebServer

RUN = "/agents/index-the-monorepo"
# The fourth is so low that the head takes almost half of it.
SIZES = {"desk": DESK, "tablet": (1024, 768), "phone": PHONE, "low": (1100, 520), "lying": (844, 390)}
ANY_SIZE = pytest.mark.parametrize("size", SIZES.values(), ids=list(SIZES))
HEAD_END = """Math.max(...[...document.querySelectorAll(".head, .bar")]
  .filter((head) => getComputedStyle(head).position === "sticky")
  .map((head) => head.getBoundingClientRect().bottom))"""
SELECTED = "Number(document.querySelector('.msg.selected')?.dataset.seq ?? 0)"
IN_THE_HEAD = "document.activeElement.closest('.head, .bar') !== null"
TOP = "document.querySelector(location.hash).getBoundingClientRect().top"
# Where the message that the address names was in each picture, and in those after all was loaded.
KEEP_PLACES = """
  globalThis.places = [];
  globalThis.after = 0;
  const look = () => {
    const named = location.hash && document.querySelector(location.hash);
    if (named) places.push(named.getBoundingClientRect().top);
    if (document.readyState === "complete") globalThis.after += 1;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
"""
SPREAD = "Math.max(...places) - Math.min(...places)"


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.fixture
def database(shared_web: WebServer) -> str:
    return shared_web.database


@pytest.fixture
def places(database: str) -> list[int]:
    return insert(database, story.long_run(datetime.now(UTC) - timedelta(minutes=1), 300))


def expect_open(page: Page, seq: int) -> None:
    """Expect a message in sight, and below the head."""
    expect(shown(page, seq)).to_be_in_viewport()
    assert place_of(shown(page, seq)) >= page.evaluate(HEAD_END) - 1


@ANY_SIZE
@pytest.mark.parametrize("at", [40, 150])
def test_a_link_opens_a_message_below_the_head_where_it_stays(
    places: list[int], open_page: OpenPage, size: tuple[int, int], at: int
) -> None:
    seq = places[at]
    page = open_page(f"{RUN}?at={seq}#m-{seq}", size=size, before=KEEP_PLACES)
    expect_live(page)
    wait_for(page, f"{SELECTED} === {seq}")
    wait_for(page, "after > 10")
    expect_open(page, seq)
    assert page.evaluate(SPREAD) < 2


@ANY_SIZE
def test_without_scripts_a_link_opens_a_message_below_the_head(
    places: list[int], open_page: OpenPage, size: tuple[int, int]
) -> None:
    page = open_page(f"{RUN}?at={places[150]}#m-{places[150]}", size=size, java_script_enabled=False)
    expect_open(page, places[150])


@ANY_SIZE
def test_a_link_within_the_page_opens_a_message_below_the_head(
    places: list[int], open_page: OpenPage, size: tuple[int, int]
) -> None:
    page = open_page(RUN, size=size)
    expect_live(page)
    # One that is in the page, one that isn't, and one again that the browser has been to.
    for at in (-30, 100, 101, 100):
        page.evaluate(f"location.hash = 'm-{places[at]}'")
        wait_for(page, f"{SELECTED} === {places[at]}")
        wait_until_still(page)
        expect_open(page, places[at])


def test_who_was_led_to_a_message_and_went_on_comes_back_to_where_they_were(
    places: list[int], open_page: OpenPage
) -> None:
    seq = places[150]
    page = open_page(f"{RUN}?at={seq}#m-{seq}")
    expect_live(page)
    wait_for(page, f"{SELECTED} === {seq}")
    page.evaluate("scrollBy(0, -133)")
    wait_until_still(page)
    wait_for(page, "Boolean(history.state?.reader)")
    before = page.evaluate(TOP)
    for back in (page.reload, page.go_back):
        if back == page.go_back:
            page.goto("/agents/general")
        back()
        expect_live(page)
        wait_until_still(page)
        assert page.evaluate(TOP) == pytest.approx(before, abs=1)


def test_who_goes_on_by_keys_from_the_bar_has_what_they_select_below_the_head(
    places: list[int], open_page: OpenPage
) -> None:
    page = open_page(f"{RUN}?at={places[150]}#m-{places[150]}")
    expect_live(page)
    wait_for(page, f"{SELECTED} === {places[150]}")
    for at in range(149, 139, -1):
        page.get_by_role("button", name="Next failure").focus()
        page.keyboard.press("k")
        wait_for(page, f"{SELECTED} === {places[at]}")
        expect_open(page, places[at])


@pytest.mark.usefixtures("places")
@ANY_SIZE
def test_writing_in_the_bar_and_going_through_its_fields_moves_nothing_and_goes_on_following(
    database: str, open_page: OpenPage, size: tuple[int, int]
) -> None:
    page = open_page(RUN, size=size)
    expect_live(page)
    wait_for(page, AT_THE_END)
    wait_until_still(page)
    before = page.evaluate("scrollY")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    keys = [*"needle", "filter", *["Tab"] * 7]
    for key in keys:
        if key == "filter":
            page.locator(".more-filters > summary").click()
        else:
            page.keyboard.press(key)
        wait_until_still(page)
        assert page.evaluate("scrollY") == before
    assert page.evaluate(IN_THE_HEAD)
    (late,) = insert(database, [message(datetime.now(UTC), "planner", "message", "Late.", run="index-the-monorepo")])
    expect(shown(page, late)).to_be_in_viewport()
    wait_for(page, AT_THE_END)


@pytest.mark.usefixtures("places")
def test_writing_in_the_head_of_what_was_found_moves_nothing(open_page: OpenPage) -> None:
    page = open_page("/search?q=shard", size=SIZES["low"])
    page.evaluate("scrollTo(0, 200)")
    wait_for(page, "scrollY > 100")
    before = page.evaluate("scrollY")
    for key in "/ab":
        page.keyboard.press(key)
        wait_until_still(page)
        assert page.evaluate("scrollY") == before
    expect(page.get_by_role("searchbox").first).to_be_focused()
