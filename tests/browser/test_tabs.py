"""Many tabs of one browser share one connection."""

import re
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Request, expect

from tests.browser.conftest import OpenPage, Witness
from tests.browser.rows import insert, message
from tests.browser.sights import KEEP_WORDS, expect_live, sequence, wait_for
from tests.browser.sights import message as shown
from tests.webserver import WebServer

TABS = 8
WITHOUT_LOCKS = "delete Navigator.prototype.locks"


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.fixture
def database(shared_web: WebServer) -> str:
    return shared_web.database


def say(database: str, run: str, content: str = "x", **more: Any) -> int:
    return insert(database, [message(datetime.now(UTC), "planner", "message", content, run=run, **more)])[0]


class Streams:
    """The event streams of a browser that are open."""

    def __init__(self, context: BrowserContext) -> None:
        self.open: set[Request] = set()
        context.on("request", self._opened)
        context.on("requestfinished", self._closed)
        context.on("requestfailed", self._closed)

    def _closed(self, request: Request) -> None:
        self.open.discard(request)

    def _opened(self, request: Request) -> None:
        if request.resource_type == "eventsource":
            self.open.add(request)


@pytest.fixture
def tabs(database: str, open_page: OpenPage, witness: Witness) -> tuple[list[Page], Streams]:
    """As many tabs as runs, more than a browser lets have connections to one host."""
    for number in range(TABS):
        say(database, f"run-{number}")
    first = open_page("/agents", before=KEEP_WORDS)
    expect_live(first)
    streams = Streams(first.context)
    pages = [first]
    for number in range(TABS):
        page = first.context.new_page()
        witness.watch(page)
        page.goto(f"/agents/run-{number}")
        pages.append(page)
    return pages, streams


def test_all_tabs_are_live_over_one_connection(database: str, tabs: tuple[list[Page], Streams]) -> None:
    pages, streams = tabs
    for page in pages:
        expect_live(page)
    for number, page in enumerate(pages[1:]):
        new = say(database, f"run-{number}", "Live.")
        expect(shown(page, new)).to_be_attached()
    expect(pages[0].locator("[data-run=run-3] .words")).to_have_text("planner Live.")
    assert len(streams.open) <= 1


def test_the_others_go_on_when_the_tab_with_the_connection_is_closed(
    database: str, tabs: tuple[list[Page], Streams]
) -> None:
    pages, _ = tabs
    for page in pages:
        expect_live(page)
    pages[0].close()
    meanwhile = [say(database, f"run-{number}", "Meanwhile.") for number in range(TABS)]
    for number, page in enumerate(pages[1:]):
        expect(shown(page, meanwhile[number])).to_be_attached()
        new = say(database, f"run-{number}", "After.")
        expect(shown(page, new)).to_be_attached()
        assert sequence(page)[-2:] == [meanwhile[number], new]


def test_a_browser_that_cannot_share_has_a_connection_a_tab(database: str, open_page: OpenPage) -> None:
    say(database, "run-1")
    page = open_page("/agents", before=WITHOUT_LOCKS)
    page.locator("[data-run=run-1] a.name").click()
    expect_live(page)
    new = say(database, "run-1", "Live.")
    expect(shown(page, new)).to_be_attached()


def test_after_the_server_was_away_every_tab_catches_up(
    database: str, web: WebServer, tabs: tuple[list[Page], Streams], witness: Witness
) -> None:
    witness.is_loading_tolerated = True
    pages, _ = tabs
    for page in pages:
        expect_live(page)
    web.kill()
    # After a while they call it by another name.
    for page in pages:
        expect(page.locator(".badge")).to_contain_text(re.compile("reconnecting|offline"))
    meanwhile = [say(database, f"run-{number}", "Meanwhile.") for number in range(TABS)]
    web.start()
    for number, page in enumerate(pages[1:]):
        expect(shown(page, meanwhile[number])).to_be_attached()
        expect_live(page)
        wait_for(page, "said.some((one) => one.includes('caught up, 1 message'))")
    wait_for(pages[0], f"said.some((one) => one.includes('caught up, {TABS} runs'))")
