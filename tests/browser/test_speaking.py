"""A person speaks, in a run and in the general channel: by way of NATS and the flow, as everybody else."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from playwright.sync_api import expect

from tests.browser import story
from tests.browser.conftest import OpenPage, Witness
from tests.browser.rows import insert, message
from tests.browser.sights import expect_announced, expect_live
from tests.ingestion import Ingest
from tests.waiting import wait_until
from tests.webserver import StartWeb, WebServer

NOW = datetime.now(UTC)


@pytest.fixture
def web(start_web: StartWeb, ingest: Ingest) -> WebServer:
    """A web on a stream with the flow behind it."""
    web = start_web(DATABASE_URL=ingest.database, NATS_URL=ingest.stream.url)
    wait_until(web.is_linked, "the web's connection to NATS")
    return web


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


def test_what_was_not_sent_survives_a_reload_and_is_sent_once(
    database: str, open_page: OpenPage, witness: Witness
) -> None:
    witness.is_loading_tolerated = True
    insert(database, [message(NOW, "planner", "message", "Hello.", channel="general")])
    page = open_page("/agents/general")
    expect_live(page)
    page.route("**/api/agents/messages", lambda route: route.abort())
    page.get_by_label("Say something").fill("Are you there?")
    page.keyboard.press("Control+Enter")
    outgoing = page.get_by_test_id("outgoing")
    expect(outgoing).to_have_attribute("data-state", "failed")
    page.unroute("**/api/agents/messages")
    page.reload()
    expect_live(page)
    expect(outgoing).to_contain_text("Are you there?")
    outgoing.get_by_role("button", name="Try again").click()
    expect(page.locator("[data-agent=person]")).to_have_count(1)
    expect(outgoing).to_have_count(0)
    page.reload()
    expect_live(page)
    expect(page.locator("[data-agent=person]")).to_have_count(1)
    expect(outgoing).to_have_count(0)


def test_what_the_filters_hide_is_not_said_to_wait(database: str, open_page: OpenPage) -> None:
    insert(database, [message(NOW, "planner", "message", "Hello.")])
    for query in ("kind=message", "kind=status", "q=Hello", "until=2020-01-01"):
        page = open_page(f"/agents/run-1?{query}")
        page.get_by_label("Say something").fill("I am here.")
        page.keyboard.press("Control+Enter")
        if query == "kind=message":
            expect(page.locator("[data-agent=person]")).to_have_count(1)
            expect(page.get_by_test_id("outgoing")).to_have_count(0)
        else:
            expect(page.get_by_test_id("outgoing")).to_contain_text("sent; the filters may hide it here")


def test_who_speaks_far_from_the_end_is_taken_there(database: str, open_page: OpenPage) -> None:
    places = insert(database, story.long_run(NOW - timedelta(hours=1), 200, run="run-1"))
    page = open_page("/agents/run-1")
    expect_live(page)
    page.keyboard.press("g")
    expect(page.locator(".selected")).to_have_attribute("data-seq", str(places[0]))
    expect(page.locator("main .turn.later a")).to_be_attached()
    page.get_by_label("Say something").fill("I am here.")
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-agent=person]")).to_be_in_viewport()
    expect(page.locator("main .turn.later a")).to_have_count(0)


@pytest.mark.parametrize("path", ["/agents/run-1", "/agents/general"])
def test_what_is_longer_than_a_message_may_be_is_kept_whole_and_not_sent(
    path: str, database: str, open_page: OpenPage
) -> None:
    insert(database, [message(NOW, "planner", "message", "Hello.")])
    page = open_page(path)
    expect_live(page)
    field, note = page.get_by_label("Say something"), page.locator(".too-long")
    expect(note).to_be_hidden()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.method))
    field.fill("é" * 600_000)
    words = "Too long to send: 600,000 characters take 1,200,000 bytes, and a message may have 1,048,576."
    expect(note).to_have_text(words)
    expect(field).to_have_attribute("aria-invalid", "true")
    page.keyboard.press("Control+Enter")
    expect_announced(page, words)
    expect(page.get_by_test_id("outgoing")).to_have_count(0)
    assert "POST" not in asked
    page.reload()
    expect(note).to_have_text(words)
    assert field.evaluate("field => field.value.length") == 600_000
    field.fill("Shorter.")
    expect(note).to_be_hidden()
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-agent=person]")).to_have_count(1)


def test_a_long_message_is_sent_to_its_end(database: str, open_page: OpenPage) -> None:
    insert(database, [message(NOW, "planner", "message", "Hello.")])
    page = open_page("/agents/run-1")
    expect_live(page)
    page.get_by_label("Say something").focus()
    # As somebody pastes it: what a script fills in is cut by nothing.
    page.keyboard.insert_text(f"{'word ' * 40_000}end")
    page.keyboard.press("Control+Enter")
    expect(page.locator("[data-agent=person]")).to_have_count(1)
    with psycopg.connect(database) as connection:
        said = connection.execute(
            "SELECT content FROM workflow_comms.agent_messages WHERE agent_id = 'person'"
        ).fetchone()
    assert said == (f"{'word ' * 40_000}end",)


def test_what_has_no_room_beside_its_names_is_told_by_the_server_and_kept(
    database: str, open_page: OpenPage, witness: Witness
) -> None:
    witness.is_loading_tolerated = True
    insert(database, [message(NOW, "planner", "message", "Hello.")])
    page = open_page("/agents/run-1")
    expect_live(page)
    page.get_by_label("Say something").fill("x" * 1_048_570)
    page.keyboard.press("Control+Enter")
    fate = page.get_by_test_id("outgoing").locator(".fate")
    expect(fate).to_contain_text("not sent: content: the message may have 1,048,576 bytes, but has 1,048,")
    fate.get_by_text("Edit").click()
    assert page.get_by_label("Say something").evaluate("field => field.value.length") == 1_048_570
