"""A way to the server that is dead and tells nobody: nothing comes, and no connection ends."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import OpenPage, Witness
from tests.browser.rows import insert, message
from tests.browser.sights import KEEP_WORDS, expect_live, wait_for
from tests.browser.sights import message as shown
from tests.browser.test_ops import CLOCK, FRESH, pulse
from tests.browser.test_tabs import WITHOUT_LOCKS
from tests.proxy import Proxy
from tests.waiting import wait_until
from tests.webserver import WebServer

STOPWATCH = "globalThis.later = 0; performance.now = ((now) => () => now() + later)(performance.now.bind(performance));"
# As it does for a machine that sleeps.
LATER = "globalThis.later += 60_000"
AWAY = re.compile(r"^(reconnecting: connection lost at|offline, as of) \d\d:\d\d:\d\d$")


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.fixture
def database(shared_web: WebServer) -> str:
    return shared_web.database


@pytest.fixture
def way(web: WebServer) -> Iterator[Proxy]:
    with Proxy(web.port) as proxy:
        yield proxy


@pytest.fixture
def address(web: WebServer, way: Proxy) -> str:
    return way.instead(web.url)


def say(database: str, content: str, kind: str = "message") -> int:
    return insert(database, [message(datetime.now(UTC), "planner", kind, content)])[0]


@pytest.fixture
def pages(database: str, open_page: OpenPage, witness: Witness) -> list[Page]:
    """The tab that has the connection, one that shares it, and one of a browser that can't."""
    # What it closes itself is one of those that did not load.
    witness.is_loading_tolerated = True
    say(database, "Hello.")
    first = open_page("/agents/run-1", before=CLOCK + KEEP_WORDS)
    expect_live(first)
    second = first.context.new_page()
    witness.watch(second)
    second.goto("/agents/run-1")
    alone = open_page("/agents/run-1", before=f"{WITHOUT_LOCKS}; {CLOCK} {KEEP_WORDS}")
    for page in (second, alone):
        expect_live(page)
    return [first, second, alone]


def test_a_connection_of_which_nothing_is_heard_is_said_to_be_lost_and_opened_anew(
    database: str, way: Proxy, pages: list[Page]
) -> None:
    with ExitStack() as stalled:
        stalled.enter_context(way.stalled())
        missed = [say(database, f"Meanwhile {n}.") for n in range(2)]
        missed.append(say(database, "It broke.", kind="error"))
        for page in pages:
            page.evaluate(LATER)
        for page in pages:
            expect(page.locator(".badge .word")).to_have_text(AWAY)
            expect(page.locator(".badge")).to_have_attribute("data-state", "offline")
            assert shown(page, missed[0]).count() == 0
    for page in pages:
        expect(shown(page, missed[-1])).to_be_visible()
        expect_live(page)
        wait_for(page, "said.some((one) => one.includes('caught up, 3 messages'))")
        # However long it took to be told anything.
        expect(page.locator(".head .facts")).to_contain_text("1 error")
    new = say(database, "After.")
    for page in pages:
        expect(shown(page, new)).to_be_visible()


def test_a_connection_that_alone_is_dead_is_opened_anew_at_once(database: str, way: Proxy, pages: list[Page]) -> None:
    # Who asks anew comes through; those that stand are never told of anything.
    way.forsake()
    missed = say(database, "Meanwhile.")
    for page in pages:
        page.evaluate(LATER)
    for page in pages:
        expect(shown(page, missed)).to_be_visible()
        expect_live(page)
        wait_for(page, "said.some((one) => one.includes('caught up, 1 message'))")


def test_the_age_of_what_is_stored_goes_on_without_an_answer(
    database: str, way: Proxy, open_page: OpenPage, witness: Witness
) -> None:
    witness.is_loading_tolerated = True
    pulse(database, FRESH)
    say(database, "Hello.")
    page = open_page("/agents/run-1", before=CLOCK + KEEP_WORDS)
    expect_live(page)
    expect(page.locator(".badge")).to_contain_text("0 behind")
    with way.stalled():
        page.evaluate("globalThis.said = []")
        # One may be about an answer that was on its way.
        wait_for(page, "new Set(said.filter((one) => one.includes('last stored'))).size > 3")
        # How many wait by now nobody knows, a while before the connection is given up.
        page.evaluate("globalThis.later += 15_000")
        wait_for(page, "said.some((one) => one.startsWith('live') && !one.includes('behind'))")


def test_the_head_is_right_again_soon_after_an_answer_that_took_long(database: str, open_page: OpenPage) -> None:
    say(database, "Hello.")
    page = open_page("/agents/run-1", before=STOPWATCH)
    expect_live(page)
    held: list[Route] = []

    def hold_first(route: Route) -> None:
        if held:
            route.continue_()
        held.append(route)

    page.route("**/parts?*", hold_first)
    say(database, "It broke.", kind="error")
    # What is asked here lets the page's questions come through.
    wait_until(lambda: page.evaluate("1") and held, "a question for the head")
    page.evaluate("globalThis.later += 600_000")
    held[0].continue_()
    facts = page.locator(".head .facts")
    expect(facts).to_contain_text("1 error")
    say(database, "It broke again.", kind="error")
    expect(facts).to_contain_text("2 errors")
