"""A run that is recovered while somebody looks at it."""

from pathlib import Path

import psycopg
from playwright.sync_api import expect

from tests.artifacts import Archive, Stored, live, recover, store
from tests.browser.conftest import OpenPage
from tests.browser.sights import expect_live, sequence
from tests.sidecar import talk

LINES = "\n".join(talk(3)).encode()


def test_what_is_recovered_appears_in_its_place(database: str, open_page: OpenPage, tmp_path: Path) -> None:
    archive, stored = Archive(tmp_path / "artifacts"), Stored(database)
    archive.add("run-1", LINES)
    made = live(LINES, "run-1", ends=True)
    store(database, made[::3])
    page = open_page("/agents/run-1")
    expect_live(page)
    page.evaluate("window.untouched = true")
    recover(database, archive.folder)
    expect(page.locator("[data-seq]")).to_have_count(len(made))
    places = stored.ask("SELECT seq FROM workflow_comms.agent_messages ORDER BY timestamp, seq")
    assert sequence(page) == [place for (place,) in places]
    assert stored.contents("run-1") == [message.content for message in made]
    expect(page.locator(".head .facts")).to_contain_text("partly recovered from artifacts")
    assert page.evaluate("window.untouched")


def test_what_is_told_of_a_run_after_its_last_message_is_shown(database: str, open_page: OpenPage) -> None:
    made = live(LINES, "run-1")
    store(database, made[:-1])
    page = open_page("/agents/run-1")
    expect_live(page)
    store(database, made[-1:])
    facts = page.locator(".head .facts")
    expect(facts).to_contain_text(f"{len(made)} messages")
    with psycopg.connect(database) as connection:
        # As a backfill does that is still at work when its last message is stored.
        connection.execute(
            "UPDATE workflow_comms.runs SET attrs = attrs"
            """ || '{"backfill": {"recovered": 1, "live_percent": 90}}'"""
        )
    expect(facts).to_contain_text("partly recovered from artifacts")
