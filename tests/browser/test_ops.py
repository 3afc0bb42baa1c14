"""The page for whoever runs all this, and how fresh every page says it is."""

import re
from datetime import UTC, datetime

import psycopg
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import PHONE, OpenPage, Witness
from tests.browser.rows import insert, message
from tests.browser.sights import OVERFLOW, expect_live
from tests.browser.test_every_page import QUEUED
from tests.webserver import WebServer

PULSE = """
    INSERT INTO workflow_comms.pulses
        (flow, said_at, started_at, pending, unacked, received, stored, stored_at, oldest_s)
    VALUES ('host/1', now() - %s * interval '1 s', now(), %s, 0, 10, 10, now() - interval '3 s', %s)
    ON CONFLICT ON CONSTRAINT pulses_pkey DO UPDATE
    SET said_at = excluded.said_at, pending = excluded.pending, oldest_s = excluded.oldest_s
"""
TOLD = """
    INSERT INTO workflow_comms.pulses (flow, started_at, pending, unacked, received, stored, duplicates, dead_letters)
    VALUES ('host/1', now(), 0, 0, %s, %s, %s, %s)
"""
LETTER = """
    INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key, stored_at, stream_seq)
    VALUES (%s, %s, %s, 'Why it is one.', %s, 1700000000000000000, %s) RETURNING id::text
"""
SUBJECT = "workflow.agents.run-1.run-1.agent.planner.message"
# Said in an hour, so that it stays fresh however long a test takes.
FRESH = -3_600.0
# A tab that is seen again asks at once how fresh it is, else in its own time.
SEEN_AGAIN = "document.dispatchEvent(new Event('visibilitychange'))"
# At once: elements are made anew every few seconds.
COLOURS = "(places) => places.map((place) => getComputedStyle(document.querySelector(place)).color)"
# The clock on the wall goes on at a word.
CLOCK = "globalThis.later = 0; Date.now = ((now) => () => now() + later)(Date.now);"
FITS = b'{"message_id": "m-1", "content": "It fits by now."}'
HOSTILE = b"<script>window.hurt=1</script>{"


def pulse(database: str, ago: float, pending: int = 0, oldest: float = 0.0) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(PULSE, [ago, pending, oldest])


def letter(database: str, payload: bytes, key: str, reason: str = "not_json") -> str:
    with psycopg.connect(database) as connection:
        row = connection.execute(LETTER, [SUBJECT, payload, reason, key, int(key)]).fetchone()
    assert row is not None
    return str(row[0])


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.fixture
def database(web: WebServer) -> str:
    return web.database


def test_the_badge_says_how_fresh_the_page_is_and_turns_when_the_ingest_is_down(
    database: str, open_page: OpenPage
) -> None:
    insert(database, [message(datetime.now(UTC), "planner", "message", "Hello.")])
    pulse(database, FRESH)
    page = open_page("/agents/run-1")
    expect_live(page)
    expect(page.locator(".badge")).to_contain_text("last stored")
    expect(page.locator(".badge")).to_contain_text("0 behind")
    pulse(database, FRESH, 12_410, 240)
    page.evaluate(SEEN_AGAIN)
    expect(page.locator(".badge")).to_have_attribute("data-state", "stale")
    expect(page.locator(".badge")).to_have_text("4 min behind: 12,410 messages to store")
    pulse(database, 60)
    page.evaluate(SEEN_AGAIN)
    expect(page.locator(".badge")).to_contain_text("nothing is being stored: the ingest stopped")
    pulse(database, FRESH)
    page.evaluate(SEEN_AGAIN)
    expect_live(page)


def test_what_is_wrong_is_said_in_plain_words(database: str, open_page: OpenPage) -> None:
    page = open_page("/agents/ops")
    expect(page.locator(".trouble .what")).to_have_text("No flow has ever said how far it is.")
    pulse(database, FRESH)
    page.reload()
    expect(page.get_by_text("Everything that was said is stored, and nothing waits.")).to_be_visible()
    pulse(database, 300)
    with psycopg.connect(database) as connection:
        connection.execute(QUEUED)
    page.reload()
    expect(page.locator(".trouble .what")).to_have_text(
        [
            re.compile(r"^Nothing is being stored: no flow has said anything for \d min( \d+ s)?\.$"),
            "1 run could not be reconciled with its artifacts.",
        ]
    )
    expect(page.locator(".why")).to_have_text("log.tgz: it is damaged")


def test_what_may_be_so_no_more_is_called_old_and_stands_in_no_green(
    database: str, open_page: OpenPage, witness: Witness
) -> None:
    witness.is_loading_tolerated = True
    pulse(database, FRESH)
    page = open_page("/agents/ops", before=CLOCK)
    badge, title = page.locator(".badge"), page.locator("#now-title")
    fine = page.get_by_text("Everything that was said is stored, and nothing waits.")
    green, grey = page.evaluate(COLOURS, [".fine", ".figures dt"])
    assert green != grey
    for answer, words in (
        (lambda route: route.fulfill(status=503), "the server can't say how it is now; trying again"),
        (lambda route: route.abort(), "the server doesn't answer; trying again"),
        (lambda _: None, "the server hasn't answered since"),
    ):
        expect(title).to_have_text("Now")
        page.route("**/ops/parts", answer)
        page.evaluate("globalThis.later += 60_000")
        page.evaluate(SEEN_AGAIN)
        expect(badge).to_have_text(re.compile(rf"^as of \d\d:\d\d:\d\d: {words}$"))
        expect(badge).not_to_have_attribute("data-state", "live")
        expect(title).to_have_text(re.compile(r"^At \d\d:\d\d:\d\d$"))
        expect(fine).to_have_css("color", grey)
        page.unroute("**/ops/parts", answer)
        page.evaluate(SEEN_AGAIN)
        expect(badge).to_have_attribute("data-state", "live")
        expect(fine).to_have_css("color", green)
    # What somebody uses stays, and isn't called live.
    page.get_by_role("region", name="Each flow").focus()
    page.evaluate("globalThis.later += 60_000")
    page.evaluate(SEEN_AGAIN)
    expect(badge).to_contain_text("it stays while it is in use")
    expect(title).not_to_have_text("Now")


def test_what_a_flow_has_received_is_shown_to_the_last_message(database: str, open_page: OpenPage) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(TOLD, [484, 413, 60, 8])
    page = open_page("/agents/ops")
    flows = page.get_by_role("region", name="Each flow")
    columns = flows.locator("th").all_text_contents()
    values = flows.locator("tbody td").all_text_contents()
    assert dict(zip(columns[2:], values[2:], strict=True)) == {
        "Received": "484",
        "Stored": "413",
        "Stored already": "60",
        "Dead letters": "8",
        "In hand": "3",
    }
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE workflow_comms.pulses SET duplicates = NULL, dead_letters = NULL")
    page.reload()
    assert flows.locator("tbody td").all_text_contents()[4:] == ["unknown"] * 3


def test_on_a_phone_a_flows_name_is_no_column_of_letters(database: str, open_page: OpenPage) -> None:
    pulse(database, FRESH)
    page = open_page("/agents/ops", size=PHONE)
    box = page.get_by_role("region", name="Each flow").locator("tbody td").first.bounding_box()
    assert box is not None
    assert box["width"] > 80
    assert page.evaluate(OVERFLOW) <= 0


def test_a_dead_letter_is_shown_with_its_bytes_and_replayed(
    database: str, open_page: OpenPage, witness: Witness
) -> None:
    fits = letter(database, FITS, "1")
    unfit = letter(database, HOSTILE, "2")
    page = open_page("/agents/ops")
    row = page.locator(f'[data-letter="{unfit}"]')
    expect(row).to_contain_text("it is no JSON")
    expect(row).to_contain_text("Why it is one.")
    row.locator("summary").click()
    expect(row.locator("pre")).to_have_text(HOSTILE.decode())
    with page.expect_download() as download:
        row.get_by_role("link", name="All its bytes").click()
    assert download.value.path().read_bytes() == HOSTILE
    row.get_by_role("button", name="Replay").click()
    expect(row.locator(".fate")).to_have_text("still can't be stored")
    page.locator(f'[data-letter="{fits}"]').get_by_role("button", name="Replay").click()
    expect(page.locator(f'[data-letter="{fits}"] .fate')).to_have_text("stored")
    with psycopg.connect(database) as connection:
        stored = connection.execute("SELECT content FROM workflow_comms.agent_messages").fetchall()
    assert stored == [("It fits by now.",)]
    assert page.evaluate("window.hurt") is None
    page.reload()
    expect(page.locator("[data-letter]")).to_have_count(1)
    witness.is_loading_tolerated = True
    # What somebody is about to do isn't taken away from them.
    page.get_by_role("button", name="Replay").focus()
    with psycopg.connect(database) as connection:
        connection.execute("TRUNCATE workflow_comms.dead_letters")
    page.get_by_role("button", name="Replay").click()
    expect(page.locator(".fate")).to_contain_text("not replayed: No dead letter with this id waits")
