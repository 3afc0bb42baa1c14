import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.letters import Choice, Letters
from flows.redact import Redactor
from tests import forks
from tests.ingestion import Ingest, assert_runs_agree, payload, subject
from tests.servers import StreamHandle

LIMIT = 2_000
SECRET = "ghp_" + "a1B2" * 9


@pytest.fixture
def small(stream: StreamHandle, database: str, tmp_path: Path) -> Ingest:
    """A flow that takes small messages only, and has refused three."""
    ingest = Ingest(stream, database, tmp_path / "ingest.log", AGENT_COMMS_MAX_MESSAGE_BYTES=str(LIMIT))
    ingest.start()
    stream.publish(subject(), payload(1))
    stream.publish(subject(), payload(2, content="x" * LIMIT))
    stream.publish(subject(), json.dumps({"content": "y" * LIMIT}).encode(), headers={"X-Token": SECRET})
    stream.publish(subject(), b"not JSON, with " + SECRET.encode())
    ingest.wait_for_rows(1)
    ingest.wait_until_drained()
    assert ingest.stop() == 0
    return ingest


@pytest.fixture
def letters(small: Ingest) -> Iterator[Letters]:
    letters = Letters(small.database)
    yield letters
    letters.close()


def run(database: str, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "web.cli", *words]
    settings = {**os.environ, "DATABASE_URL": database, **environment}
    return forks.run_text(command, env=settings)


def test_letters_are_listed_newest_first_and_by_filter(letters: Letters) -> None:
    assert [letter.reason for letter in letters.find(Choice())] == ["not_json", "too_large", "too_large"]
    assert [letter.reason for letter in letters.find(Choice(reason="not_json"))] == ["not_json"]
    assert list(letters.find(Choice(subject="workflow.other"))) == []
    assert list(letters.find(Choice(since=datetime.now(UTC) + timedelta(hours=1)))) == []
    assert len(list(letters.find(Choice(), limit=2))) == 2


def test_no_letter_holds_a_credential(small: Ingest) -> None:
    shown = run(small.database, "dead-letters", "list", "--json").stdout
    assert len(shown.splitlines()) == 3
    assert SECRET not in shown
    assert "[redacted:github-token]" in shown


def test_a_letter_that_fits_by_now_becomes_its_row_once(small: Ingest, stream: StreamHandle) -> None:
    done = run(small.database, "dead-letters", "replay", "--reason", "too_large")
    assert (done.returncode, done.stdout) == (0, "2 stored, 0 known already, 0 still unfit\n")
    assert small.count() == 3
    assert_runs_agree(small.database)
    again = run(small.database, "dead-letters", "replay", "--reason", "too_large")
    assert again.stdout == "0 stored, 0 known already, 0 still unfit\n"
    # The stream gives all of them again to a new consumer: they are known, id or no id.
    stream.create_consumer_anew()
    with Ingest(stream, small.database, small.log) as larger:
        larger.wait_until_drained()
        assert larger.count() == 3


def test_a_letter_that_still_does_not_fit_stays_with_its_reason(small: Ingest) -> None:
    done = run(small.database, "dead-letters", "replay", "--all")
    assert done.returncode == 1
    assert "still unfit: 1 not_json" in done.stderr
    assert small.rows("SELECT reason FROM workflow_comms.dead_letters WHERE replayed_at IS NULL") == [("not_json",)]


def test_a_dry_run_changes_nothing(small: Ingest) -> None:
    assert run(small.database, "dead-letters", "replay", "--all", "--dry-run").stdout.endswith("3 would be tried\n")
    assert run(small.database, "dead-letters", "discard", "--all", "--dry-run").stdout.endswith("3 would go\n")
    assert small.count() == 1
    assert small.rows("SELECT count(*) FROM workflow_comms.dead_letters WHERE replayed_at IS NULL") == [(3,)]


def test_letters_are_shown_whole_and_discarded_for_good(small: Ingest) -> None:
    ((found,),) = small.rows("SELECT id::text FROM workflow_comms.dead_letters WHERE reason = 'not_json'")
    shown = run(small.database, "dead-letters", "show", found).stdout
    assert "not_json: The payload is not JSON" in shown
    assert "not JSON, with [redacted:github-token]" in shown
    assert run(small.database, "dead-letters", "discard", found, "--yes").stdout == "1 discarded\n"
    gone = run(small.database, "dead-letters", "show", found)
    assert (gone.returncode, gone.stderr) == (1, f"agent-comms: no dead letter has the id {found}\n")


def test_all_letters_are_meant_only_when_asked_for(small: Ingest) -> None:
    done = run(small.database, "dead-letters", "discard", "--yes")
    assert done.returncode == 2
    assert "by ID, by a filter, or --all" in done.stderr


def test_two_who_replay_the_same_letters_store_each_once(letters: Letters) -> None:
    chosen = list(letters.find(Choice(reason="too_large")))
    first = letters.replay(chosen, LIMIT * 2, Redactor())
    second = letters.replay(chosen, LIMIT * 2, Redactor())
    assert (first.stored, second.stored, second.known) == (2, 0, 2)
