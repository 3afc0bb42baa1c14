"""The page for whoever runs all this, and how fresh every page says it is."""

import psycopg
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage, Witness
from tests.browser.rows import insert, message
from tests.browser.sights import expect_live
from tests.browser.test_every_page import NOW, QUEUED
from tests.webserver import WebServer

PULSE = """
    INSERT INTO workflow_comms.pulses
        (flow, said_at, started_at, pending, unacked, received, stored, stored_at, oldest_s)
    VALUES ('host/1', now() - %s * interval '1 s', now(), %s, 0, 10, 10, now() - interval '3 s', %s)
    ON CONFLICT ON CONSTRAINT pulses_pkey DO UPDATE
    SET said_at = excluded.said_at, pending = excluded.pending, oldest_s = excluded.oldest_s
"""
LETTER = """
    INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key, stored_at, stream_seq)
    VALUES (%s, %s, %s, 'Why it is one.', %s, 1700000000000000000, %s) RETURNING id::text
"""
SUBJECT = "workflow.agents.run-1.run-1.agent.planner.message"
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
    with psycopg.connect(shared_web.database) as connection:
        connection.execute(
            "TRUNCATE workflow_comms.dead_letters, workflow_comms.pulses, workflow_comms.reconcile_queue"
        )
    return shared_web


@pytest.fixture
def database(web: WebServer) -> str:
    return web.database


def test_the_badge_says_how_fresh_the_page_is_and_turns_when_the_ingest_is_down(
    database: str, open_page: OpenPage
) -> None:
    insert(database, [message(NOW, "planner", "message", "Hello.")])
    pulse(database, 1)
    page = open_page("/agents/run-1")
    expect_live(page)
    expect(page.locator(".badge")).to_contain_text("last stored")
    expect(page.locator(".badge")).to_contain_text("0 behind")
    pulse(database, 1, 12_410, 240)
    expect(page.locator(".badge")).to_have_attribute("data-state", "stale")
    expect(page.locator(".badge")).to_have_text("4 min behind: 12,410 messages to store")
    pulse(database, 60)
    expect(page.locator(".badge")).to_contain_text("nothing is being stored: the ingest stopped")
    pulse(database, 1)
    expect_live(page)


def test_what_is_wrong_is_said_in_plain_words(database: str, open_page: OpenPage) -> None:
    page = open_page("/agents/ops")
    expect(page.locator(".trouble .what")).to_have_text("No flow has ever said how far it is.")
    pulse(database, 1)
    page.reload()
    expect(page.get_by_text("Everything that was said is stored, and nothing waits.")).to_be_visible()
    pulse(database, 300)
    with psycopg.connect(database) as connection:
        connection.execute(QUEUED)
    page.reload()
    said = page.locator(".trouble .what").all_inner_texts()
    assert said == [
        "Nothing is being stored: no flow has said anything for 5 min.",
        "1 run could not be reconciled with its artifacts.",
    ]
    expect(page.locator(".why")).to_have_text("log.tgz: it is damaged")


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
    with psycopg.connect(database) as connection:
        connection.execute("TRUNCATE workflow_comms.dead_letters")
    page.get_by_role("button", name="Replay").click()
    expect(page.locator(".fate")).to_contain_text("not replayed: No dead letter with this id waits")
