"""Making the rows of runs anew: what it repairs, what it leaves alone, and that nobody notices it at work."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

import sql
from connectors.migrations import Migrator
from flows.completion import Completion, complete
from flows.rebuild import PAGE, Key, rebuild
from flows.retention import prune
from tests import forks
from tests.ingestion import assert_runs_agree
from tests.waiting import wait_until
from tests.writers import Writer, store

ROWS = "SELECT to_jsonb(runs) FROM workflow_comms.runs ORDER BY workflow_namespace, workflow_uid"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
def writer(database: str) -> Iterator[Writer]:
    with Writer(database) as writer:
        yield writer


@pytest.fixture
def admin(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def run(database: str, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "web.cli", "runs", "rebuild", *words]
    environment = {**os.environ, "DATABASE_URL": database}
    return forks.run_text(command, env=environment)


def test_rows_that_differ_are_named_and_then_repaired(database: str, writer: Writer, admin: psycopg.Connection) -> None:
    for number in range(4):
        writer.say("started", "working", run=f"run-{number}", kind="status")
    writer.say("elsewhere", run="run-1", workflow_namespace="b")
    rows = admin.execute(ROWS).fetchall()
    admin.execute("UPDATE workflow_comms.runs SET messages = 7, agents = '{nobody}' WHERE workflow_uid = 'run-1'")
    admin.execute("DELETE FROM workflow_comms.runs WHERE workflow_uid = 'run-2'")

    looked = run(database, "--dry-run")
    assert (looked.returncode, looked.stdout.splitlines()) == (1, ["agents/run-1", "agents/run-2", "b/run-1"])
    assert "3 of 5 runs differ from their messages" in looked.stderr
    assert len(admin.execute(ROWS).fetchall()) == 4

    assert run(database, "--namespace", "b").stdout == "b/run-1\n"
    assert run(database, "--run", "agents/run-1").stdout == "agents/run-1\n"
    done = run(database)
    assert (done.returncode, done.stdout) == (0, "agents/run-2\n")
    # Where it takes a while, it has said how far it is before.
    assert done.stderr.endswith("1 of 5 runs made anew\n")
    assert admin.execute(ROWS).fetchall() == rows
    assert run(database, "--dry-run").returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "line"),
    [
        (["--run", "run-1"], 2, "it takes a namespace and a uid such as agents/0d9a1c0e, but got 'run-1'"),
        (["--run", "agents/nobody"], 1, "no run has the uid nobody in the namespace agents"),
        (["--run", "agents/run-1", "--namespace", "agents"], 2, "exclude each other"),
    ],
)
def test_a_run_that_cannot_be_meant_is_one_line(database: str, words: list[str], code: int, line: str) -> None:
    done = run(database, *words)
    assert done.returncode == code
    assert line in done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_general_channel_claims_makes_no_run(database: str, writer: Writer, admin: psycopg.Connection) -> None:
    writer.say("hello", channel="general", run="run-1")
    assert rebuild(database).runs == 0
    assert admin.execute(ROWS).fetchall() == []


def test_the_controllers_word_and_runs_whose_messages_are_gone_are_left_alone(
    database: str, writer: Writer, admin: psycopg.Connection
) -> None:
    now = datetime.now(UTC)
    writer.say("started", run="over", kind="status", timestamp=now - timedelta(hours=1))
    complete(admin, Completion("agents", "over", "fix-login", "run-7", "Failed", None, now, now))
    complete(admin, Completion("agents", "mute", "fix-logout", None, "Succeeded", None, now, now))
    writer.say("old", "older", "young", run="pruned")
    admin.execute(
        "UPDATE workflow_comms.agent_messages SET created_at = now() - interval '9 days' WHERE content LIKE 'old%'"
    )
    prune(database, now - timedelta(days=2))
    rows = admin.execute(ROWS).fetchall()
    done = rebuild(database)
    assert (done.runs, done.changed, done.kept) == (3, [], 1)
    assert admin.execute(ROWS).fetchall() == rows
    state = "SELECT state, workflow_name, run_id FROM workflow_comms.runs WHERE workflow_uid = 'over'"
    assert admin.execute(state).fetchone() == ("failed", "fix-login", "run-7")


def test_more_runs_than_a_page_holds_are_all_looked_at(
    database: str, writer: Writer, admin: psycopg.Connection
) -> None:
    store(admin, [writer.message("hello", run=f"run-{number:04}") for number in range(PAGE + 3)])
    assert rebuild(database, "agents", dry_run=True).runs == PAGE + 3
    assert rebuild(database, "b").runs == 0


def test_a_message_that_is_just_being_added_is_waited_for_and_counted_once(
    database: str, writer: Writer, admin: psycopg.Connection
) -> None:
    writer.say("there for long", run="run-1")
    admin.execute("UPDATE workflow_comms.runs SET messages = 7")
    with psycopg.connect(database) as ingest, ThreadPoolExecutor(1) as pool:
        with ingest.transaction():
            store(ingest, [writer.message("on its way", run="run-1")])
            done = pool.submit(rebuild, database)
            wait_until(lambda: admin.execute(WAITING).fetchone() == (1,), "the rebuild to wait for the run")
        assert done.result(300).changed == [("agents", "run-1")]
    assert admin.execute("SELECT messages FROM workflow_comms.runs").fetchall() == [(2,)]


def test_rebuilding_beside_three_writers_loses_no_message(database: str) -> None:
    stop = threading.Event()
    changed: set[Key] = set()

    def write(number: int) -> None:
        with Writer(database) as writer:
            for step in range(60):
                writer.say(*(f"{number} {step}" for _ in range(5)), run=f"run-{step % 4}", agent_id=f"agent-{number}")

    def remake() -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            is_last = False
            while not is_last:
                is_last = stop.is_set()
                # One that has to be written, whatever is being added to it.
                connection.execute("UPDATE workflow_comms.runs SET messages = 0 WHERE workflow_uid = 'run-0'")
                changed.update(rebuild(database).changed)

    with ThreadPoolExecutor(4) as pool:
        remaking = pool.submit(remake)
        for writing in [pool.submit(write, number) for number in range(3)]:
            writing.result(300)
        stop.set()
        remaking.result(300)
    # Where a message were seen and added, or neither, a run would have differed for a moment.
    assert changed == {("agents", "run-0")}
    assert_runs_agree(database)


BEFORE = """
    INSERT INTO workflow_comms.runs
        (workflow_namespace, workflow_uid, workflow_name, run_id, runtime, state, state_at, messages, first_at, last_at,
         started_at, finished_at)
    VALUES
        ('agents', 'a', 'over', 'run-a', 'argo', 'failed', '2026-11-24T11:00Z', 2, '2026-11-24T10:00Z',
         '2026-11-24T11:00Z', '2026-11-24T10:00Z', '2026-11-24T11:00Z'),
        ('agents', 'b', 'again', NULL, 'native', 'running', '2026-11-24T12:00Z', 3, '2026-11-24T10:00Z',
         '2026-11-24T12:00Z', '2026-11-24T10:00Z', '2026-11-24T11:00Z'),
        ('agents', 'c', 'c', NULL, 'native', 'running', NULL, 1, '2026-11-24T10:00Z', '2026-11-24T10:00Z', NULL, NULL)
"""


def test_rows_of_the_first_version_keep_what_they_say(database: str, admin: psycopg.Connection, tmp_path: Path) -> None:
    admin.execute("DROP SCHEMA workflow_comms CASCADE")
    shutil.copy(sql.MIGRATIONS / "0001_messages.sql", tmp_path)
    Migrator(tmp_path, sql.SCHEMA).migrate(database)
    admin.execute(BEFORE)
    Migrator(sql.MIGRATIONS, sql.SCHEMA).migrate(database)
    ten, eleven, twelve = (datetime(2026, 11, 24, hour, tzinfo=UTC) for hour in (10, 11, 12))
    shown = "SELECT state, started_at, finished_at, said_at, named_at, run_id_at, runtime_at FROM workflow_comms.runs"
    assert admin.execute(f"{shown} ORDER BY workflow_uid".encode()).fetchall() == [
        ("failed", ten, eleven, eleven, ten, ten, ten),
        # It runs again: that it ended once is no end.
        ("running", ten, None, twelve, ten, None, None),
        ("running", None, None, None, None, None, None),
    ]
