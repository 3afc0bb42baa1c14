"""The live cursor, whatever other transactions do: it skips nothing, and nobody holds it up for long."""

import random
import subprocess
import sys
import threading
from collections.abc import Iterator

import psycopg
import pytest

import sql
from tests.waiting import wait_until
from tests.wandering import DISTURBED
from tests.watcher import Follower, Watcher, said
from tests.webserver import ROOT, WebServer
from tests.writers import Writer

WAITING_FOR_THE_LOCK = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event = 'advisory'
"""


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.fixture
def other(web: WebServer) -> Iterator[psycopg.Connection]:
    """A connection of somebody else."""
    with psycopg.connect(web.database) as connection:
        yield connection


def count(web: WebServer, query: str) -> int:
    with psycopg.connect(web.database) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_a_long_transaction_elsewhere_holds_nothing_up(
    web: WebServer, writer: Writer, other: psycopg.Connection
) -> None:
    with Watcher(web.url, runId="run-1") as watcher:
        watcher.take_comments(1)
        other.execute("CREATE TABLE elsewhere AS SELECT 1 AS n")
        # In our own tables too, as long as it is no writer of messages.
        other.execute("INSERT INTO workflow_comms.reconcile_queue VALUES ('n', 'u', 'w', NULL, '{}')")
        other.execute("SELECT txid_current()")
        writer.say("one", "two")
        assert said(watcher.take(2)) == ["one", "two"]
        with Watcher(web.url, runId="run-1", lastEventId=0) as late:
            assert said(late.take(2)) == ["one", "two"]
        other.rollback()
        writer.say("three")
        assert said(watcher.take(1)) == ["three"]


def test_a_writer_that_has_its_places_lets_nobody_pass_before_it_commits(web: WebServer, writer: Writer) -> None:
    """Were it otherwise, a reader that has seen the later ones would never see the earlier ones."""
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with psycopg.connect(web.database) as connection:
            connection.execute(sql.query("lock_seq"))
            with Writer(web.database) as slow:
                # Its places are taken, and it hasn't committed.
                connection.execute("SELECT nextval('workflow_comms.agent_messages_seq_seq')")
                held.set()
                assert let_go.wait(60)
                connection.rollback()
                slow.say("slow")

    slow = threading.Thread(target=hold)
    slow.start()
    assert held.wait(60)
    with Watcher(web.url, runId="run-1") as watcher:
        watcher.take_comments(1)
        quick = threading.Thread(target=writer.say, args=["quick"])
        quick.start()
        wait_until(lambda: count(web, WAITING_FOR_THE_LOCK) == 1)
        let_go.set()
        quick.join()
        slow.join()
        assert sorted(said(watcher.take(2))) == ["quick", "slow"]


def test_many_writers_out_of_order_and_nothing_is_skipped(web: WebServer) -> None:
    """Eight writers take their places in one order and commit after random times, some of them never."""
    seed = random.Random(3)
    with Writer(web.database) as first:
        first.say("first", run="u")
    followers = [
        Follower(web.url, until="last", drop_after=lambda: seed.randint(1, 20), through=DISTURBED, workflowUid="u")
        for _ in range(8)
    ]
    for follower in followers:
        follower.start()
        assert follower.ready.wait(120)

    def speak(name: int) -> None:
        with Writer(web.database, run="u") as writer:
            for turn in range(30):
                if seed.random() < 0.2:
                    give_up(web.database)
                writer.say(*[f"{name}.{turn}.{n}" for n in range(seed.randint(1, 4))], held=seed.random() * 0.004)

    speakers = [threading.Thread(target=speak, args=(name,)) for name in range(8)]
    for speaker in speakers:
        speaker.start()
    for speaker in speakers:
        speaker.join()
    with Writer(web.database) as last:
        last.say("last", run="u")
    with psycopg.connect(web.database) as connection:
        rows = connection.execute("SELECT seq FROM workflow_comms.agent_messages ORDER BY seq").fetchall()
    for follower in followers:
        follower.join(300)
        assert [event.data["seq"] for event in follower.events] == [seq for (seq,) in rows]


def give_up(database: str) -> None:
    """Take places and roll back: holes in the order, which nobody waits for."""
    with psycopg.connect(database) as connection:
        connection.execute(sql.query("lock_seq"))
        connection.execute("SELECT nextval('workflow_comms.agent_messages_seq_seq') FROM generate_series(1, 5)")
        connection.rollback()


def test_who_holds_the_lock_is_bound_to_a_time(web: WebServer, other: psycopg.Connection) -> None:
    """A writer that is stopped within its transaction loses it, and the lock with it; here sooner than in earnest."""
    other.execute(sql.query("lock_seq"))
    bounds = {
        name: other.execute("SELECT setting::int FROM pg_settings WHERE name = %s", [name]).fetchone()
        for name in ("idle_in_transaction_session_timeout", "lock_timeout")
    }
    assert bounds == {"idle_in_transaction_session_timeout": (20_000,), "lock_timeout": (60_000,)}
    other.execute("SET LOCAL idle_in_transaction_session_timeout = '200ms'")
    with Watcher(web.url, runId="run-1") as watcher, Writer(web.database) as writer:
        watcher.take_comments(1)
        # It waits for the lock, and gets it.
        writer.say("after all")
        assert said(watcher.take(1)) == ["after all"]
    with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
        other.execute("SELECT 1")


def test_the_bounds_end_with_the_transaction(other: psycopg.Connection) -> None:
    other.execute(sql.query("lock_seq"))
    other.commit()
    for name in ("idle_in_transaction_session_timeout", "lock_timeout"):
        assert other.execute("SELECT setting::int FROM pg_settings WHERE name = %s", [name]).fetchone() == (0,)


def test_a_writer_whose_process_is_killed_gives_the_lock_back(web: WebServer, writer: Writer) -> None:
    code = (
        "import psycopg, signal, sql, sys; connection = psycopg.connect(sys.argv[1]);"
        " connection.execute(sql.query('lock_seq')); print('held', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code, web.database], cwd=ROOT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    writer.say("goes on")
    with Watcher(web.url, runId="run-1") as watcher:
        assert said(watcher.take(1)) == ["goes on"]
