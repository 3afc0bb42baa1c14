"""A long run on a phone, upright and lying: what finds stays in reach, and hides nothing."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser import story
from tests.browser.conftest import DESK, PHONE, OpenPage, Witness
from tests.browser.rows import insert
from tests.browser.sights import (
    AT_THE_END,
    FIRST,
    OVERFLOW,
    expect_live,
    place_of,
    sequence,
    wait_for,
    wait_until_still,
)
from tests.browser.sights import message as shown
from tests.browser.test_every_page import AXE, MOST_SHIFTED, SHIFTED, VIOLATIONS
from tests.webserver import WebServer

LYING = (844, 390)
TABLET = (1024, 768)
SIZES = [pytest.param(PHONE, id="upright"), pytest.param(LYING, id="lying")]
RUN = "/agents/index-the-monorepo"
FOUND = f"{RUN}?q=shard"
TOUCH = 44
# What of a small window may be taken from what is read.
MOST_TAKEN = 60
BAR_END = "document.querySelector('.bar').getBoundingClientRect().bottom"
SELECTED = "Number(document.querySelector('.msg.selected')?.dataset.seq ?? 0)"
# The controls of the bar that a finger would miss; of a chip that is scrolled away sideways only its height counts.
MISSED = f"""(() => {{
  const missed = [];
  for (const control of document.querySelectorAll(".bar :is(label.find, .quiet-button, .chip, .hits .knob)")) {{
    if (!control.checkVisibility()) continue;
    const {{ left, top, width, height }} = control.getBoundingClientRect();
    const [x, y, half] = [left + width / 2, top + height / 2, {TOUCH} / 2 - 1];
    const across = control.matches(".chip") ? [0] : [-half, 0, half];
    const points = across.map((by) => [x + by, y]).concat([[x, y - half], [x, y + half]]);
    const inSight = points.filter(([at]) => at > 0 && at < innerWidth);
    const all = inSight.map(([at, down]) => document.elementFromPoint(at, down));
    if (!control.matches(".chip") && inSight.length < points.length) missed.push(control.className);
    const owner = (one) => one?.closest("label.find, .quiet-button, .chip, .hits");
    if (all.some((one) => owner(one) !== owner(control) && !one?.closest(".hits"))) missed.push(control.className);
  }}
  return missed;
}})()"""
# What has the focus, where it can't be seen whole.
HIDDEN_FOCUS = """(() => {
  const focused = document.activeElement;
  if (focused === document.body || focused.closest(".bar, .side, .skip")) return null;
  const { top, bottom } = focused.getBoundingClientRect();
  const end = document.querySelector(".bar").getBoundingClientRect().bottom;
  const side = document.querySelector(".side").getBoundingClientRect();
  const floor = side.width === innerWidth ? side.top : innerHeight;
  return top >= end - 1 && bottom <= floor + 1 ? null : [focused.className, top, bottom, end];
})()"""


# Of the run's name in the bar.
CUT_OFF = """(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)(document.querySelector(".which"))"""
ABOVE_THE_WORDS = """(() => {
  const field = document.querySelector(".bar input[type=search]");
  const begin = field.getBoundingClientRect().top + Number.parseFloat(getComputedStyle(field).paddingTop);
  return document.querySelector(".which").getBoundingClientRect().bottom <= begin + 3;
})()"""


# What can be done with a message that was tapped: the controls that are too small, and what of any message they cover.
ROW = """(() => {
  const row = document.querySelector(".toolbar");
  const { top, bottom } = row.getBoundingClientRect();
  const small = [...row.querySelectorAll("button")].map((button) => button.getBoundingClientRect());
  const parts = [...document.querySelectorAll(".msg > :is(.said, .by, .at)")].filter((part) => part.checkVisibility());
  const boxes = parts.map((part) => part.getBoundingClientRect());
  return {
    small: small.filter(({ width, height }) => width < 44 || height < 44).length,
    covered: boxes.filter((box) => box.bottom > top + 1 && box.top < bottom - 1 && box.height > 1).length,
  };
})()"""

# The parts of messages that stand under what can be done with one of them.
COVERED = """(() => {
  const row = document.querySelector(".toolbar").getBoundingClientRect();
  const parts = [...document.querySelectorAll(".msg > :is(.said, .by, .at), .outcome, .took")];
  const shown = parts.filter((part) => part.checkVisibility({ visibilityProperty: true }));
  const boxes = shown.map((part) => [part.className, part.getBoundingClientRect()]);
  return boxes.filter(([, { left, right, top, bottom, width }]) =>
    width > 1 && right > row.left && left < row.right && bottom > row.top && top < row.bottom);
})()"""


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.fixture
def database(shared_web: WebServer) -> str:
    return shared_web.database


@pytest.fixture
def places(shared_web: WebServer) -> list[int]:
    return insert(shared_web.database, story.long_run(datetime.now(UTC) - timedelta(minutes=1), 200))


def open_at_end(open_page: OpenPage, size: tuple[int, int], path: str = RUN) -> Page:
    page = open_page(path, size=size)
    expect_live(page)
    wait_for(page, AT_THE_END)
    return page


def bar_height(page: Page) -> float:
    box = page.locator(".bar").bounding_box()
    assert box is not None
    return box["height"]


def middle(locator: Locator) -> tuple[float, float]:
    box = locator.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def expect_below_the_bar(page: Page, seq: int) -> None:
    wait_for(page, f"{SELECTED} === {seq}")
    expect(shown(page, seq)).to_be_in_viewport()
    assert place_of(shown(page, seq).locator(".said, .card, .line").first) >= page.evaluate(BAR_END) - 1


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("size", SIZES)
def test_who_reads_the_newest_searches_and_goes_to_failures_without_leaving(
    open_page: OpenPage, size: tuple[int, int]
) -> None:
    page = open_at_end(open_page, size)
    assert page.evaluate(MISSED) == []
    assert 0 < page.evaluate(BAR_END) < MOST_TAKEN
    page.mouse.move(size[0] / 2, size[1] / 2)
    page.mouse.wheel(0, -300)
    wait_for(page, f"!({AT_THE_END})")
    wait_until_still(page)
    assert page.evaluate(BAR_END) < MOST_TAKEN
    page.get_by_role("button", name="Next failure").click()
    wait_for(page, f"{SELECTED} > 0")
    failure = page.evaluate(SELECTED)
    assert shown(page, failure).get_attribute("data-wrong") is not None
    expect_below_the_bar(page, failure)
    page.get_by_role("searchbox").fill("shard 11")
    page.keyboard.press("Enter")
    page.wait_for_url("**q=shard+11*")
    expect(page.locator("mark").first).to_be_attached()


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("size", SIZES)
def test_what_is_on_stays_in_sight_and_matches_are_gone_through_by_touch(
    open_page: OpenPage, size: tuple[int, int]
) -> None:
    page = open_page(FOUND, size=size)
    expect_live(page)
    expect(page.locator(".hits .place")).to_contain_text(" of ")
    expect(page.locator(".lanes svg").first).to_be_attached()
    assert page.evaluate(SHIFTED) < MOST_SHIFTED
    wait_for(page, AT_THE_END)
    assert page.evaluate(MISSED) == []
    expect(page.locator(".more-filters .count")).to_have_text("1")
    page.get_by_role("button", name="Next match").click()
    wait_for(page, f"{SELECTED} > 0")
    expect_below_the_bar(page, page.evaluate(SELECTED))
    page.locator(".more-filters > summary").click()
    expect(page.locator(".drawer").get_by_label("Kind")).to_be_in_viewport()
    page.locator(".drawer").get_by_label("Kind").select_option("error")
    page.locator(".drawer").get_by_role("button", name="Show").click()
    page.wait_for_url("**kind=error**")
    page.get_by_role("link", name="kind error remove").click()
    page.wait_for_url(lambda url: "kind=" not in url)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_wrong_with_the_connection_covers_no_control_and_moves_nothing(
    places: list[int], open_page: OpenPage, witness: Witness, size: tuple[int, int]
) -> None:
    # Whatever is on its way when the connection ends doesn't come.
    witness.is_loading_tolerated = True
    page = open_at_end(open_page, size)
    badge, bar, last = page.locator(".badge"), page.locator(".bar"), shown(page, places[-1])
    before = place_of(last)
    page.context.set_offline(True)
    expect(badge).to_have_attribute("data-state", "offline")
    box = badge.bounding_box()
    assert box is not None
    assert box["y"] == 0
    assert place_of(bar) == pytest.approx(box["height"], abs=1)
    assert place_of(last) == pytest.approx(before, abs=1)
    assert page.evaluate(MISSED) == []
    page.context.set_offline(False)
    expect(badge).not_to_have_attribute("data-state", "offline")


@pytest.mark.parametrize("size", SIZES)
def test_one_button_leads_to_the_beginning_with_the_head_and_back_to_the_newest(
    places: list[int], open_page: OpenPage, size: tuple[int, int]
) -> None:
    page = open_at_end(open_page, size)
    page.get_by_role("link", name="To the beginning").click()
    wait_for(page, f"{FIRST} === {places[0]} && scrollY === 0")
    expect(page.get_by_role("heading", level=1)).to_be_in_viewport()
    expect(page.locator("main .turn.earlier")).to_have_count(0)
    page.get_by_text("About this run").click()
    expect(page.locator(".about .sheet").first).to_be_visible()
    page.get_by_role("link", name="To the newest messages").click()
    wait_for(page, AT_THE_END)
    expect(shown(page, places[-1])).to_be_in_viewport()
    expect(page.get_by_role("link", name="To the beginning")).to_be_focused()


@pytest.mark.parametrize("size", [*SIZES, pytest.param((320, 568), id="narrow")])
def test_the_bar_names_the_run_while_its_title_is_out_of_sight(
    database: str, open_page: OpenPage, size: tuple[int, int]
) -> None:
    name = "rebuild-the-index-of-every-repository-" * 4 + "nightly"
    insert(database, story.long_run(datetime.now(UTC) - timedelta(minutes=1), 60, name))
    page = open_at_end(open_page, size, f"/agents/{name}")
    shown_name = page.locator(".bar .which")
    expect(shown_name).to_have_text(name)
    expect(shown_name).to_have_attribute("title", name)
    expect(page.get_by_role("searchbox", name=f"Search this run {name}")).to_be_visible()
    assert page.evaluate(CUT_OFF)
    assert page.evaluate(OVERFLOW) <= 0
    assert page.evaluate(MISSED) == []
    assert page.evaluate(ABOVE_THE_WORDS)
    height = bar_height(page)
    page.get_by_role("link", name="To the beginning").click()
    expect(shown_name).to_be_hidden()
    expect(page.get_by_role("heading", level=1, name=name)).to_be_in_viewport()
    assert bar_height(page) == height


@pytest.mark.parametrize("size", [*SIZES, pytest.param(TABLET, id="tablet")])
def test_what_can_be_done_with_a_message_is_a_row_below_it_once_it_is_tapped(
    places: list[int], open_page: OpenPage, size: tuple[int, int]
) -> None:
    page = open_page(f"{RUN}?at={places[60]}", size=size, has_touch=True, is_mobile=True)
    wait_for(page, f"{SELECTED} === {places[60]}")
    for seq in (places[60], *places[61:67], places[59]):
        part = shown(page, seq).locator(".said")
        part.scroll_into_view_if_needed()
        before = place_of(shown(page, seq))
        # Not close to a button: a browser takes a finger for it that is.
        part.tap(position={"x": 300, "y": 12})
        wait_for(page, f"{SELECTED} === {seq}")
        expect(page.locator(".toolbar button:visible")).to_have_count(3)
        assert page.evaluate(ROW) == {"small": 0, "covered": 0}
        # What opens and closes above or below it doesn't take it from under the finger.
        assert place_of(shown(page, seq)) == pytest.approx(before, abs=1)
    # A finger that only scrolls leaves it where it is.
    shown(page, places[62]).locator(".said").dispatch_event("pointerover")
    expect(shown(page, places[59]).locator(".toolbar")).to_be_visible()
    page.get_by_role("button", name="Open by itself").tap()
    page.wait_for_url(f"**/message/{places[59]}?*")


@pytest.mark.usefixtures("places")
def test_with_a_mouse_it_is_beside_what_is_pointed_at_and_moves_nothing(open_page: OpenPage) -> None:
    page = open_at_end(open_page, DESK)
    last = page.locator(".msg").last
    before = last.bounding_box()
    last.hover()
    expect(last.get_by_role("button", name="Copy link")).to_be_visible()
    assert last.bounding_box() == before
    last.locator(".said").click(position={"x": 300, "y": 8})
    assert page.evaluate(SELECTED) == 0


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("size", [DESK, TABLET, (780, 900)], ids=["desk", "tablet", "narrow"])
def test_with_a_mouse_it_covers_nothing_that_a_message_says_however_it_is_come_to(
    open_page: OpenPage, size: tuple[int, int]
) -> None:
    page = open_at_end(open_page, size)
    page.keyboard.press("e")
    wait_for(page, f"{SELECTED} > 0")
    expect(page.locator(".msg.selected .outcome")).to_contain_text("exit 1")
    assert page.evaluate(COVERED) == []
    here = page.locator(".msg:has(.outcome)")
    for at in range(-6, 0):
        row = here.nth(at)
        row.hover()
        expect(row.locator(".toolbar")).to_be_visible()
        assert page.evaluate(COVERED) == []
        # It is come to from what it belongs to, and is whole.
        page.mouse.move(*middle(row.get_by_role("button", name="Copy what it says")))
        expect(row.get_by_role("button", name="Open by itself")).to_be_in_viewport(ratio=1)
    assert page.evaluate(OVERFLOW) <= 0


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("size", SIZES)
def test_what_has_the_focus_is_not_behind_the_bar(open_page: OpenPage, size: tuple[int, int]) -> None:
    page = open_at_end(open_page, size)
    page.locator("#words").focus()
    for key in ["Shift+Tab"] * 24 + ["k"] * 6 + ["j"] * 3:
        page.keyboard.press(key)
        wait_for(page, f"{HIDDEN_FOCUS} === null")


@pytest.mark.parametrize("javascript", [True, False], ids=["scripts", "none"])
def test_a_link_to_a_message_opens_it_below_the_bar(
    places: list[int], open_page: OpenPage, *, javascript: bool
) -> None:
    sought = places[60]
    page = open_page(f"{RUN}?at={sought}#m-{sought}", size=PHONE, java_script_enabled=javascript)
    expect(shown(page, sought)).to_be_in_viewport()
    if javascript:
        expect_below_the_bar(page, sought)
    else:
        box = page.locator(".bar").bounding_box()
        assert box is not None
        assert box["y"] == 0
        assert place_of(shown(page, sought)) >= box["height"]


def test_without_scripts_the_bar_stays_finds_and_leads_to_either_end(places: list[int], open_page: OpenPage) -> None:
    page = open_page(f"{RUN}#end", size=PHONE, java_script_enabled=False)
    assert place_of(page.locator(".bar")) == 0
    expect(page.locator(".bar .which")).to_be_visible()
    expect(page.locator("main [data-do]:visible")).to_have_count(0)
    with page.expect_navigation():
        page.get_by_role("link", name="To the beginning").click()
    assert sequence(page)[0] == places[0]
    expect(page.locator("main .turn.earlier")).to_have_count(0)
    with page.expect_navigation():
        page.get_by_role("link", name="To the newest messages", exact=True).first.click()
    assert sequence(page)[-1] == places[-1]
    page.get_by_role("searchbox").fill("shard 11")
    with page.expect_navigation():
        page.get_by_role("button", name="Search", exact=True).click()
    assert "q=shard+11" in page.url


def test_older_messages_come_without_a_jump(places: list[int], open_page: OpenPage) -> None:
    page = open_at_end(open_page, PHONE)
    first = page.evaluate(FIRST)
    assert first > places[0]
    shown(page, first).scroll_into_view_if_needed()
    before = place_of(shown(page, first))
    wait_for(page, f"{FIRST} < {first}")
    assert place_of(shown(page, first)) == pytest.approx(before, abs=2)


@pytest.mark.usefixtures("places")
def test_axe_has_nothing_against_the_bar_and_the_row(open_page: OpenPage) -> None:
    page = open_page(f"{FOUND}&kind=message&agentId=planner", size=PHONE, bypass_csp=True)
    expect_live(page)
    page.locator(".msg .said").last.click()
    expect(page.locator(".toolbar")).to_be_visible()
    page.locator(".more-filters > summary").click()
    page.evaluate(AXE)
    assert page.evaluate(f"{VIOLATIONS}({{}})") == []


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("size", [DESK, TABLET], ids=["desk", "tablet"])
def test_where_there_is_room_the_whole_head_stays(open_page: OpenPage, size: tuple[int, int]) -> None:
    page = open_at_end(open_page, size)
    expect(page.get_by_role("heading", level=1)).to_be_in_viewport()
    expect(page.get_by_role("searchbox")).to_be_in_viewport()
    expect(page.locator(".bar :is(.way, .which):visible")).to_have_count(0)
