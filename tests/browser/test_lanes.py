"""A run over time, above what it says."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Locator, expect

from tests.browser import story
from tests.browser.conftest import OpenPage
from tests.browser.rows import insert
from tests.browser.sights import expect_live
from tests.webserver import WebServer

RUN = "/agents/index-the-monorepo"


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    insert(shared_web.database, story.long_run(datetime.now(UTC) - timedelta(minutes=1), 200))
    return shared_web


def end_of(locator: Locator) -> float:
    box = locator.bounding_box()
    assert box is not None
    return box["y"] + box["height"]


def test_what_is_in_sight_is_marked_on_the_lanes_and_not_on_their_table(open_page: OpenPage) -> None:
    page = open_page(RUN)
    expect_live(page)
    sight = page.locator(".sight")
    expect(sight).to_be_visible()
    assert end_of(sight) == pytest.approx(end_of(page.locator(".lane").last), abs=1)
    page.get_by_text("As a table").click()
    expect(page.get_by_role("region", name="Lanes")).to_be_visible()
    assert end_of(sight) == pytest.approx(end_of(page.locator(".lane").last), abs=1)


def test_without_scripts_no_room_is_kept_for_lanes_that_never_come(open_page: OpenPage) -> None:
    page = open_page(RUN, java_script_enabled=False)
    # What is left is the head's own margin.
    assert 0 < end_of(page.locator(".head")) - end_of(page.locator(".bar")) < 20
