"""What is past the retention goes, a little at a time, and nobody waits for it."""

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

import sql
from connectors.store import Store
from flows.redact import Redactor
from flows.retention import AIM_S, LEAST, Pace, prunable, prune
from flows.storage import messages, ready
from tests import forks
from tests.ingestion import holding
from tests.waiting import wait_until
from tests.writers import Writer, store

AGES = """
    INSERT INTO workflow_comms.agent_messages
        (id, workflow_uid, workflow_name, workflow_namespace, agent_id, role, kind, "timestamp", channel, content,
         dedupe_key, created_at)
    SELECT gen_random_uuid(), 'uid-' || n % 49, 'run', 'agents', 'planner', 'assistant', 'message', now(),
        CASE WHEN n % 10 = 0 THEN 'general' ELSE 'run' END, repeat('x', 300), n::text,
        now() - CASE WHEN n <= {old} THEN interval '91 days' ELSE interval '1 day' END
    FROM generate_series(1, {all}) AS n;
    INSERT INTO workflow_comms.runs (workflow_namespace, workflow_uid, workflow_name, messages)
    SELECT workflow_namespace, workflow_uid, 'run', count(*) FROM workflow_comms.agent_messages
    WHERE channel = 'run' GROUP BY 1, 2;
"""
LETTERS = """
    INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key, first_seen_at)
    VALUES ('s', '', 'not_json', '', 'old', now() - interval '91 days'), ('s', '', 'not_json', '', 'new', now())
"""
DEEDS = """
    INSERT INTO workflow_comms.audit_log (how, action, at)
    SELECT 'token', 'said', now() - days * interval '1 day' FROM unnest(ARRAY[0, 91, 399, 401, 500]) AS days
"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
CHANNELS = ("run", "general")
PRUNED = "SELECT sum(messages)::int, sum(pruned)::int FROM workflow_comms.runs"


@pytest.fixture
def admin(database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


def fill(admin: psycopg.Connection, old: int, young: int) -> datetime:
    """Store messages of two ages; returns the time between."""
    admin.execute(AGES.format(old=old, all=old + young).encode())
    admin.execute("ANALYZE workflow_comms.agent_messages")
    return datetime.now(UTC) - timedelta(days=90)


def count(admin: psycopg.Connection) -> int:
    row = admin.execute("SELECT count(*) FROM workflow_comms.agent_messages").fetchone()
    return row[0] if row else 0


def run(database: str, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "web.cli", "prune", *words]
    settings = {**os.environ, "DATABASE_URL": database}
    return forks.run_text(command, env=settings)


def test_what_is_old_goes_in_batches_and_its_runs_say_so(database: str, admin: psycopg.Connection) -> None:
    before = fill(admin, old=700, young=300)
    admin.execute(LETTERS)
    gone = prunable(database, before)
    assert (gone.messages, gone.dead_letters) == (700, 1)
    assert count(admin) == 1_000
    steps = [0]
    pruned = prune(database, before, batch=100, rest=0, note=lambda so_far: steps.append(so_far.messages))
    assert (pruned.messages, pruned.dead_letters) == (700, 1)
    assert max(later - earlier for earlier, later in itertools.pairwise(steps)) <= 100
    left = admin.execute("SELECT min(dedupe_key::int), count(*) FROM workflow_comms.agent_messages").fetchone()
    assert left == (701, 300)
    assert admin.execute("SELECT dedupe_key FROM workflow_comms.dead_letters").fetchall() == [("new",)]
    assert admin.execute(PRUNED).fetchone() == (900, 630)
    assert prune(database, before).messages == 0


def test_the_command_says_what_would_go_and_then_what_went(database: str, admin: psycopg.Connection) -> None:
    fill(admin, old=20, young=5)
    admin.execute(DEEDS)
    rest = "0 dead letters and {} entries of the audit log"
    assert run(database, "--dry-run").stdout == f"20 messages, {rest.format(2)} would go\n"
    done = run(database, "--rest", "0")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"20 messages, {rest.format(2)} deleted\n", "")
    assert run(database, "--days", "1").stdout == f"5 messages, {rest.format(0)} deleted\n"
    assert run(database, "--rest", "-1").returncode == 2


def test_what_people_did_is_kept_longer_and_goes_in_batches_too(database: str, admin: psycopg.Connection) -> None:
    admin.execute(
        "INSERT INTO workflow_comms.audit_log (how, action, at)"
        " SELECT 'token', 'said', now() - n * interval '1 day' FROM generate_series(1, 700) AS n"
    )
    now = datetime.now(UTC)
    assert prune(database, now - timedelta(days=90)).deeds == 0
    deeds_before = now - timedelta(days=400)
    assert prunable(database, now, deeds_before=deeds_before).deeds == 301
    steps = [0]
    gone = prune(
        database, now, batch=100, rest=0, note=lambda so_far: steps.append(so_far.deeds), deeds_before=deeds_before
    )
    assert gone.deeds == 301
    assert max(later - earlier for earlier, later in itertools.pairwise(steps)) <= 100
    left = admin.execute("SELECT count(*), min(at) > now() - interval '401 days' FROM workflow_comms.audit_log")
    assert left.fetchone() == (399, True)


def test_a_batch_takes_fewer_rows_after_a_long_one_and_more_after_a_short_one() -> None:
    pace = Pace(5_000)
    for _ in range(20):
        pace.took(AIM_S * 2)
    assert pace.rows == LEAST
    for _ in range(20):
        pace.took(AIM_S / 100)
    assert pace.rows == 5_000
    pace.took(AIM_S / 2)
    assert pace.rows == 5_000
    small = Pace(3)
    small.took(AIM_S * 2)
    assert small.rows <= 3


@pytest.mark.parametrize(("old", "young"), [(0, 30_000), (20_000, 10_000)])
def test_a_batch_is_found_by_its_place_however_many_messages_are_young(
    old: int, young: int, admin: psycopg.Connection
) -> None:
    before = fill(admin, old, young)
    arguments = {"channel": "run", "before": before, "after": 0, "batch": 500}
    query = b"EXPLAIN (ANALYZE, FORMAT JSON) " + sql.query("prune_messages").encode()
    with admin.transaction(force_rollback=True):
        row = admin.execute(query, arguments).fetchone()
    assert row is not None
    scans = [node for node in nodes(row[0][0]["Plan"]) if node.get("Relation Name") == "agent_messages"]
    by_type = {node["Node Type"]: node for node in scans}
    assert set(by_type) == {"Index Scan", "Tid Scan", "ModifyTable"}
    assert by_type["Index Scan"]["Index Name"] == "agent_messages_tail"
    assert by_type["Index Scan"]["Actual Rows"] == 500
    assert by_type["Tid Scan"]["Actual Rows"] == min(old, 500)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


def test_the_next_prune_begins_where_the_last_one_ended(database: str, admin: psycopg.Connection) -> None:
    before = fill(admin, old=700, young=300)
    prune(database, before, batch=100, rest=0)
    start = {channel: admin.execute(sql.query("prune_start"), {"channel": channel}).fetchone() for channel in CHANNELS}
    # Everything up to the first young message of the channel is gone.
    assert start == {"run": (700,), "general": (709,)}
    # What somebody brings back before that is seen when it is asked for.
    admin.execute("UPDATE workflow_comms.agent_messages SET seq = 5, created_at = '2020-01-01' WHERE seq = 701")
    assert prune(database, before).messages == 0
    assert prunable(database, before, from_start=True).messages == 1
    assert run(database, "--from-start").stdout == "1 messages, 0 dead letters and 0 entries of the audit log deleted\n"


def test_a_young_message_among_old_ones_is_kept_until_it_is_old(database: str, admin: psycopg.Connection) -> None:
    """Two flows that wait for each other store in another order than they began in."""
    before = fill(admin, old=100, young=10)
    admin.execute("UPDATE workflow_comms.agent_messages SET created_at = now() WHERE seq IN (32, 77)")
    assert prune(database, before, batch=20, rest=0).messages == 98
    assert admin.execute(sql.query("prune_start"), {"channel": "run"}).fetchone() == (31,)
    admin.execute("UPDATE workflow_comms.agent_messages SET created_at = '2020-01-01' WHERE seq = 32")
    assert prune(database, before, batch=20, rest=0).messages == 1
    # The first that is left is 77: nothing lies between.
    assert admin.execute(sql.query("prune_start"), {"channel": "run"}).fetchone() == (76,)
    assert count(admin) == 11


def test_it_never_takes_the_lock_of_those_who_write(database: str, admin: psycopg.Connection) -> None:
    before = fill(admin, old=300, young=10)
    with holding(database, sql.query("lock_seq")):
        assert prune(database, before, batch=100, rest=0).messages == 300


def test_while_it_waits_for_one_run_the_others_are_written(database: str, admin: psycopg.Connection) -> None:
    before = fill(admin, old=300, young=10)
    with ThreadPoolExecutor(1) as pool, Writer(database) as writer:
        with holding(database, "SELECT FROM workflow_comms.runs WHERE workflow_uid = 'uid-7' FOR UPDATE"):
            pruning = pool.submit(prune, database, before, rest=0)
            wait_until(lambda: admin.execute(WAITING).fetchone() == (1,), "the prune to wait for the run")
            # A run that has no old messages: the prune holds nothing of it.
            writer.say("hello", run="uid-new")
            # Nor is a run held that comes later in the order of keys.
            writer.say("hello", run="uid-8")
        assert pruning.result(300).messages == 300


def test_a_letter_that_is_just_being_replayed_is_left_alone(database: str, admin: psycopg.Connection) -> None:
    admin.execute(LETTERS)
    with holding(database, "SELECT FROM workflow_comms.dead_letters FOR UPDATE"):
        assert prune(database, datetime.now(UTC) - timedelta(days=90)).dead_letters == 0
    assert prune(database, datetime.now(UTC) - timedelta(days=90)).dead_letters == 1


def test_it_and_a_writer_of_the_same_runs_never_wait_for_each_other_in_a_circle(
    database: str, admin: psycopg.Connection
) -> None:
    """The writer has the first run and is about to take all others; whoever held one of those would be in a circle."""
    before = fill(admin, old=400, young=10)
    with psycopg.connect(database) as ingest, Writer(database) as writer, ThreadPoolExecutor(1) as pool:
        with ingest.transaction():
            store(ingest, [writer.message("first", run="uid-0")])
            pruning = pool.submit(prune, database, before, batch=4_000, rest=0)
            wait_until(lambda: admin.execute(WAITING).fetchone() == (1,), "the prune to wait for the first run")
            store(ingest, [writer.message("then", run=f"uid-{number}") for number in range(1, 49)])
        assert pruning.result(300).messages == 400
    assert admin.execute(PRUNED).fetchone() == (369 + 49, 360)


def test_two_prunes_and_three_writers_of_the_same_runs_lose_and_double_nothing(
    database: str, admin: psycopg.Connection
) -> None:
    before = fill(admin, old=20_000, young=100)
    done = threading.Event()
    with ThreadPoolExecutor(5) as pool:
        writing = [pool.submit(write, database, number, done) for number in range(3)]
        pruning = [pool.submit(prune, database, before, batch=200, rest=0) for _ in range(2)]
        assert sum(each.result(300).messages for each in pruning) == 20_000
        done.set()
        written = sum(each.result(300) for each in writing)
    in_runs = 18_000 + 90 + written
    assert admin.execute(PRUNED).fetchone() == (in_runs, 18_000)
    assert count(admin) == 100 + written


def write(database: str, number: int, done: threading.Event) -> int:
    """Store batches as the flow does until it is done; returns how many messages those were."""
    written = 0
    with closing(Store(messages(database, Redactor()))) as into, Writer(database) as writer:
        while not done.is_set() or written == 0:
            batch = [
                ready(writer.message("hello", run=f"uid-{(number * 7 + step) % 49}", dedupe_key=uuid4().hex))
                for step in range(50)
            ]
            written += len(into.store(batch).new)
    return written
