"""A long conversation: what is in the page is a window on it that moves with the reader."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from tests.browser import story
from tests.browser.conftest import OpenPage
from tests.browser.rows import insert, message
from tests.browser.sights import AT_THE_END, FIRST, expect_live, nodes, place_of, sequence, wait_for
from tests.browser.sights import message as shown
from tests.servers import PostgresServer, fresh_database
from tests.webserver import WebServer

NOW = datetime.now(UTC)
MOST_NODES = 6_000
LAST = "Number([...document.querySelectorAll('[data-seq]')].at(-1).dataset.seq)"
RUN = "/agents/index-the-monorepo"


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
    assert sequence(page)[-120:] == long.places[-120:]
    read = set(sequence(page))
    page.mouse.move(700, 500)
    while page.evaluate(FIRST) > long.places[-1_200]:
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
    assert read >= set(long.places[-1_200:])
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
    page.get_by_role("link", name="Later messages").click()
    assert sequence(page)[0] == long.places[long.places.index(sought) + 61]


def test_keys_go_to_the_beginning_from_failure_to_failure_and_to_the_end(long: Long, open_page: OpenPage) -> None:
    page = open_page(RUN)
    expect_live(page)
    page.keyboard.press("g")
    expect(shown(page, long.places[0])).to_be_in_viewport()
    selected = "Number(document.querySelector('.msg.selected')?.dataset.seq ?? 0)"
    wait_for(page, f"{selected} === {long.places[0]}")
    seen = []
    for _ in range(4):
        at = page.evaluate(selected)
        page.keyboard.press("e")
        wait_for(page, f"{selected} > {at}")
        failure = shown(page, page.evaluate(selected))
        expect(failure).to_be_in_viewport()
        assert failure.get_attribute("data-wrong") is not None
        seen.append(page.evaluate(selected))
    assert seen == wrong_ones(long)[:4]
    page.keyboard.press("j")
    wait_for(page, f"{selected} > {seen[-1]}")
    page.keyboard.press("Shift+G")
    expect(shown(page, long.places[-1])).to_be_in_viewport()


def wrong_ones(long: Long) -> list[int]:
    told = story.long_run(NOW, 3_000)
    return [
        place
        for place, said in zip(long.places, told, strict=True)
        if said.kind == "error" or (said.kind == "tool_result" and said.attrs["tool"]["exit_code"])
    ]


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
    assert page.locator(".msg.selected").count() == 1


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
    for start in range(100, 1_000, 300):
        batch = [
            message(NOW + timedelta(seconds=start + n), "executor", "message", f"More {n}.", run=run)
            for n in range(300)
        ]
        places += insert(long.web.database, batch)
        expect(shown(page, places[-1])).to_be_in_viewport()
        assert nodes(page) < MOST_NODES
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
