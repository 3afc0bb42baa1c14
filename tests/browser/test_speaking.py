"""A person speaks, in a run and in the general channel: by way of NATS and the flow, as everybody else."""

from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.rows import insert, message
from tests.browser.sights import expect_live
from tests.ingestion import Ingest
from tests.webserver import StartWeb, WebServer

NOW = datetime.now(UTC)


@pytest.fixture
def web(start_web: StartWeb, ingest: Ingest) -> WebServer:
    """A web on a stream with the flow behind it."""
    return start_web(DATABASE_URL=ingest.database, NATS_URL=ingest.stream.url)


def test_what_is_said_is_shown_as_sent_and_then_where_everybody_sees_it(database: str, open_page: OpenPage) -> None:
    insert(database, [message(NOW, "planner", "message", "Hello.")])
    for path in ("/agents/run-1", "/agents/general"):
        page = open_page(path)
        expect_live(page)
        page.get_by_label("Say something").fill("I am a **person**.")
        page.keyboard.press("Control+Enter")
        shown = page.locator("[data-agent=person]")
        expect(shown).to_have_count(1)
        expect(shown.locator("strong")).to_have_text("person")
        expect(page.get_by_test_id("outgoing")).to_have_count(0)
        expect(page.get_by_label("Say something")).to_have_value("")


def test_a_draft_survives_a_reload(database: str, open_page: OpenPage) -> None:
    insert(database, [message(NOW, "planner", "message", "Hello.")])
    page = open_page("/agents/general")
    page.get_by_label("Say something").fill("Half a thought")
    page.reload()
    expect(page.get_by_label("Say something")).to_have_value("Half a thought")
    page.goto("/agents/run-1")
    expect(page.get_by_label("Say something")).to_have_value("")
