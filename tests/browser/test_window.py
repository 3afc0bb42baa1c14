"""A long conversation: what is in the page is a window on it that moves with the reader."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, expect

from flows.message import Message
from tests.browser import story
from tests.browser.conftest import DESK, PHONE, OpenPage, Witness
from tests.browser.rows import insert, message
from tests.browser.sights import (
    AT_THE_END,
    FIRST,
    expect_announced,
    expect_live,
    leaving,
    nodes,
    place_of,
    sequence,
    wait_for,
    wait_until_still,
)
from tests.browser.sights import message as shown
from tests.servers import PostgresServer, fresh_database
from tests.webserver import WebServer

NOW = datetime.now(UTC)
MOST_NODES = 6_000
LAST = "Number([...document.querySelectorAll('[data-seq]')].at(-1).dataset.seq)"
SELECTED = "Number(document.querySelector('.msg.selected')?.dataset.seq ?? 0)"
RUN = "/agents/index-the-monorepo"
# The first message below the head, and where it is.
READ = """(() => {
  const heads = [...document.querySelectorAll(".head, .bar")].map((head) => head.getBoundingClientRect().bottom);
  const isBelow = (one) => one.getBoundingClientRect().bottom > Math.max(0, ...heads);
  const first = [...document.querySelectorAll("[data-seq]")].find(isBelow);
  return { seq: Number(first.dataset.seq), top: first.getBoundingClientRect().top };
})()"""


class Long:
    """A run of 3,000 messages that everything here reads."""

    def __init__(self, web: WebServer, places: list[int]) -> None:
        self.web = web
        self.places = places


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Long]:
    with fresh_database(postgres_server) as dsn:
        places = insert(dsn, story.long_run(NOW, 3_000))
        with WebServer(tmp_path_factory.mktemp("web"), {"DATABASE_URL": dsn}) as web:
            yield Long(web, places)


@pytest.fixture
def web(long: Long) -> WebServer:
    return long.web


def test_reading_upward_loads_and_lets_go_without_a_jump(long: Long, open_page: OpenPage) -> None:
    page = open_page(RUN)
    assert sequence(page)[-60:] == long.places[-60:]
    read = set(sequence(page))
    page.mouse.move(700, 500)
    while page.evaluate(FIRST) > long.places[-700]:
        # Noted before the page is moved, which may have loaded more by the next line.
        number = page.evaluate(FIRST)
        first = shown(page, number)
        first.scroll_into_view_if_needed()
        before = place_of(first)
        wait_for(page, f"{FIRST} < {number}")
        assert place_of(first) == pytest.approx(before, abs=2)
        assert nodes(page) < MOST_NODES
        now = sequence(page)
        assert now == long.places[long.places.index(now[0]) : long.places.index(now[-1]) + 1]
        read.update(now)
    assert read >= set(long.places[-700:])
    # And down again, to where it began.
    while page.locator("main .turn.later").count():
        last = page.evaluate(LAST)
        page.locator("main .turn.later").scroll_into_view_if_needed()
        wait_for(page, f"{LAST} > {last} || !document.querySelector('main .turn.later')")
        now = sequence(page)
        assert now == long.places[long.places.index(now[0]) : long.places.index(now[-1]) + 1]
        assert nodes(page) < MOST_NODES
    assert sequence(page)[-1] == long.places[-1]


def test_a_link_to_a_message_beyond_what_is_loaded_opens_it_among_those_around_it(
    long: Long, open_page: OpenPage
) -> None:
    sought = long.places[700]
    page = open_page(f"{RUN}#m-{sought}")
    expect(shown(page, sought)).to_be_in_viewport()
    assert long.places[690] in sequence(page)
    assert long.places[710] in sequence(page)
    expect_live(page)
    page = open_page(f"{RUN}?at={sought}#m-{sought}")
    expect(shown(page, sought)).to_be_in_viewport()
    page.keyboard.press("Shift+G")
    expect(shown(page, long.places[-1])).to_be_in_viewport()
    wait_for(page, AT_THE_END)


def test_without_scripts_a_link_to_a_message_opens_its_page(long: Long, open_page: OpenPage) -> None:
    sought = long.places[700]
    page = open_page(f"{RUN}?at={sought}", java_script_enabled=False)
    assert sought in sequence(page)
    expect(page.get_by_role("link", name="Earlier messages")).to_be_visible()
    with page.expect_navigation():
        page.get_by_role("link", name="Later messages").click()
    assert sequence(page)[0] == long.places[long.places.index(sought) + 61]


def test_keys_go_to_the_beginning_from_failure_to_failure_and_to_the_end(long: Long, open_page: OpenPage) -> None:
    page = open_page(RUN)
    expect_live(page)
    page.keyboard.press("g")
    expect(shown(page, long.places[0])).to_be_in_viewport()
    wait_for(page, f"{SELECTED} === {long.places[0]}")
    seen = []
    for _ in range(4):
        at = page.evaluate(SELECTED)
        page.keyboard.press("e")
        wait_for(page, f"{SELECTED} > {at}")
        failure = shown(page, page.evaluate(SELECTED))
        expect(failure).to_be_in_viewport()
        assert failure.get_attribute("data-wrong") is not None
        seen.append(page.evaluate(SELECTED))
    assert seen == wrong_ones(long)[:4]
    page.keyboard.press("j")
    wait_for(page, f"{SELECTED} > {seen[-1]}")
    page.keyboard.press("Shift+G")
    expect(shown(page, long.places[-1])).to_be_in_viewport()


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_who_comes_to_more_messages_by_keys_goes_on_with_those(
    long: Long, open_page: OpenPage, size: tuple[int, int]
) -> None:
    page = open_page(RUN, size=size)
    for side, key, edge in (("earlier", "Shift+Tab", FIRST), ("later", "Tab", LAST), ("earlier", "Enter", FIRST)):
        if side == "later":
            page.goto(f"{RUN}?at={long.places[700]}")
        expect_live(page)
        wait_for(page, f"Boolean(document.querySelector('main .turn.{side} a'))")
        before = page.evaluate(edge)
        # As a key leads to it, or as it was clicked before.
        page.locator(f"main .turn.{side} a").focus()
        if key == "Enter":
            page.keyboard.press(key)
        wait_for(page, f"{edge} {'<' if side == 'earlier' else '>'} {before}")
        wait_for(page, "document.activeElement.closest('[data-seq]') !== null")
        focused = int(page.evaluate("document.activeElement.closest('[data-seq]').dataset.seq"))
        assert 0 < (before - focused if side == "earlier" else focused - before) <= 10
        expect(page.locator(":focus")).to_be_in_viewport()
        page.keyboard.press(key)
        wait_for(page, "document.activeElement.closest('[data-seq]') !== null")


def wrong_ones(long: Long) -> list[int]:
    told = story.long_run(NOW, 3_000)
    return [
        place
        for place, said in zip(long.places, told, strict=True)
        if said.kind == "error" or (said.kind == "tool_result" and said.attrs["tool"]["exit_code"])
    ]


def failing_early(run: str, *failures: int) -> list[Message]:
    """Return a run without a single call, of which the results at some places failed."""
    wrong = story.shell("x", exit_code=1)
    return [
        message(NOW + timedelta(seconds=n), "executor", "tool_result", "x", run=run, attrs=wrong)
        if n in failures
        else message(NOW + timedelta(seconds=n), "planner", "message", f"Line {n}.", run=run)
        for n in range(400)
    ]


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_after_the_last_failure_comes_the_first_one_wherever_the_reader_is(
    long: Long, open_page: OpenPage, size: tuple[int, int]
) -> None:
    run = f"failed-early-{size[0]}"
    places = insert(long.web.database, failing_early(run, 20, 30, 200))
    first, second, last = (places[at] for at in (20, 30, 200))
    page = open_page(f"/agents/{run}", size=size)
    expect_live(page)
    button = page.get_by_role("button", name="Next failure")
    for place, words in ((first, "From the start: the first failure"), (second, None), (last, None), (first, "start")):
        button.click()
        wait_for(page, f"{SELECTED} === {place}")
        expect(shown(page, place)).to_be_in_viewport()
        if words:
            expect_announced(page, words)
    page.keyboard.press("p")
    wait_for(page, f"{SELECTED} === {last}")
    expect_announced(page, "From the end: the last failure")
    page.keyboard.press("p")
    wait_for(page, f"{SELECTED} === {second}")


def test_the_only_failure_of_a_run_and_none_are_told(long: Long, open_page: OpenPage, witness: Witness) -> None:
    witness.is_loading_tolerated = True
    places = insert(long.web.database, failing_early("failed-once", 5))
    page = open_page("/agents/failed-once")
    for words in ("From the start: the first failure", "The only failure"):
        page.keyboard.press("e")
        expect_announced(page, words)
        wait_for(page, f"{SELECTED} === {places[5]}")
    insert(long.web.database, failing_early("failed-never"))
    page = open_page("/agents/failed-never")
    for key in ("e", "p"):
        page.keyboard.press(key)
        expect_announced(page, "No failure here")
    page.context.set_offline(True)
    page.keyboard.press("e")
    expect_announced(page, "These messages did not load")


def test_the_lanes_lead_to_a_time(long: Long, open_page: OpenPage) -> None:
    page = open_page(RUN)
    lane = page.locator(".lane svg").first
    expect(lane).to_be_visible()
    expect(page.locator(".lane")).to_have_count(3)
    box = lane.bounding_box()
    assert box is not None
    lane.click(position={"x": box["width"] / 2, "y": 5})
    middle = long.places[1_500]
    wait_for(page, f"Math.abs({FIRST} - {middle}) < 150")
    expect(page.locator(".msg.selected")).to_have_count(1)


def test_the_page_reads_the_whole_run_from_its_beginning(long: Long, open_page: OpenPage) -> None:
    page = open_page(RUN)
    page.keyboard.press("g")
    expect(shown(page, long.places[0])).to_be_in_viewport()
    assert sequence(page)[:60] == long.places[:60]
    expect(page.locator("main .turn.earlier")).to_have_count(0)


def test_a_page_that_follows_for_long_stays_light_and_loses_nothing(long: Long, open_page: OpenPage) -> None:
    run = "followed"
    places = insert(
        long.web.database,
        [message(NOW + timedelta(seconds=n), "planner", "message", f"Line {n}.", run=run) for n in range(100)],
    )
    page = open_page(f"/agents/{run}")
    expect_live(page)
    # The second time so many at once that they aren't drawn one after the other.
    for start, count in ((100, 300), (400, 900)):
        batch = [
            message(NOW + timedelta(seconds=start + n), "executor", "message", f"More {n}.", run=run)
            for n in range(count)
        ]
        places += insert(long.web.database, batch)
        expect(shown(page, places[-1])).to_be_in_viewport()
        assert nodes(page) < MOST_NODES
        assert sequence(page) == places[places.index(sequence(page)[0]) :]
    # Far from the end, what comes is counted and isn't lost.
    page.keyboard.press("g")
    expect(shown(page, places[0])).to_be_in_viewport()
    late = [message(NOW + timedelta(seconds=2_000 + n), "reviewer", "message", f"Late {n}.", run=run) for n in range(7)]
    places += insert(long.web.database, late)
    expect(page.locator(".pill")).to_have_text("7 new")
    while page.locator("main .turn.later").count():
        last = page.evaluate(LAST)
        page.locator("main .turn.later").scroll_into_view_if_needed()
        wait_for(page, f"{LAST} > {last} || !document.querySelector('main .turn.later')")
    assert sequence(page) == places[places.index(sequence(page)[0]) :]


def test_what_comes_has_itself_styled_and_not_the_whole_page(
    long: Long, chromium: Browser, open_page: OpenPage
) -> None:
    run = "styled"
    insert(long.web.database, story.long_run(NOW, 100, run))
    page = open_page(f"/agents/{run}")
    expect_live(page)
    for start in (0, -20):
        # The second time they come between others.
        more = [
            message(NOW + timedelta(seconds=start + n / 100), "executor", "message", "One more.", run=run)
            for n in range(10)
        ]
        chromium.start_tracing(page=page, categories=["devtools.timeline"])
        new = insert(long.web.database, more)
        expect(shown(page, new[-1])).to_be_attached()
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        events = json.loads(chromium.stop_tracing())["traceEvents"]
        styled = [event["args"].get("elementCount", 0) for event in events if event["name"] == "UpdateLayoutTree"]
        assert 0 < max(styled) < 500


def test_what_comes_below_a_reader_who_stays_is_counted_and_not_piled_up(long: Long, open_page: OpenPage) -> None:
    run = "stayed"
    told = [message(NOW + timedelta(seconds=n), "planner", "message", f"Line {n}.", run=run) for n in range(100)]
    places = insert(long.web.database, told)
    page = open_page(f"/agents/{run}")
    expect_live(page)
    page.mouse.move(700, 500)
    page.mouse.wheel(0, -300)
    wait_for(page, f"!({AT_THE_END})")
    wait_until_still(page)
    seen = page.evaluate("scrollY")
    for start in (100, 400):
        batch = [
            message(NOW + timedelta(seconds=start + n), "executor", "message", f"More {n}.", run=run)
            for n in range(300)
        ]
        places += insert(long.web.database, batch)
        expect(page.locator(".pill")).to_have_text(f"{start + 200} new")
    assert nodes(page) < MOST_NODES
    assert page.evaluate("scrollY") == seen
    shown_now = sequence(page)
    assert shown_now == places[places.index(shown_now[0]) : places.index(shown_now[-1]) + 1]
    page.locator(".pill").click()
    expect(shown(page, places[-1])).to_be_in_viewport()
    expect(page.locator(".pill")).to_be_hidden()


FURTHEST = f"Number((localStorage.getItem('agent-comms:seen:agents/{RUN.rpartition('/')[2]}') ?? '').split('/')[0])"


def test_how_far_a_reader_was_never_goes_back_in_whichever_tab_they_read_on(long: Long, open_page: OpenPage) -> None:
    page = open_page(f"{RUN}?at={long.places[700]}")
    expect(shown(page, long.places[700])).to_be_in_viewport()
    expect_live(page)
    page.goto("/agents")
    # What was loaded below it nobody has seen.
    assert long.places[700] <= page.evaluate(FURTHEST) < long.places[730]
    page.goto(RUN)
    expect(shown(page, long.places[-1])).to_be_in_viewport()
    expect_live(page)
    newest = page.evaluate(LAST)
    page.keyboard.press("g")
    expect(shown(page, long.places[0])).to_be_in_viewport()
    page.goto("/agents")
    assert page.evaluate(FURTHEST) == newest
    page.goto(f"{RUN}?at={long.places[700]}")
    expect(shown(page, long.places[700])).to_be_in_viewport()
    page.goto("/agents")
    assert page.evaluate(FURTHEST) == newest


@pytest.mark.parametrize("query", ["", "?at={}"])
def test_who_comes_back_or_reloads_goes_on_where_they_were(long: Long, open_page: OpenPage, query: str) -> None:
    page = open_page(RUN + query.format(long.places[2_500]))
    expect_live(page)
    page.keyboard.press("g")
    expect(shown(page, long.places[0])).to_be_in_viewport()
    page.evaluate("scrollBy(0, 900)")
    wait_for(page, f"({READ}).seq > {long.places[3]}")
    wait_until_still(page)
    read = page.evaluate(READ)
    for back in (page.go_back, page.reload):
        if back == page.go_back:
            page.goto("/agents/general")
        back()
        expect_live(page)
        wait_for(page, f"({READ}).seq === {read['seq']}")
        assert page.evaluate(READ)["top"] == pytest.approx(read["top"], abs=2)
    page.keyboard.press("Shift+G")
    wait_for(page, f"({AT_THE_END}) && !document.querySelector('main .turn.later')")
    wait_until_still(page)
    page.goto("/agents/general")
    with leaving(page):
        page.go_back()
    wait_for(page, f"({AT_THE_END}) && !document.querySelector('main .turn.later')")
    expect(shown(page, page.evaluate(LAST))).to_be_in_viewport()
