"""The ingest flow while Postgres, or the way to it, is in trouble: nothing lost, nothing twice, nobody blamed."""

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import sql
from connectors.embedded import EmbeddedPostgres
from connectors.loopback import HOST, free_port
from connectors.migrations import Migrator
from connectors.store import FEW, Store
from flows.redact import Redactor
from flows.storage import SAMPLE_MESSAGE, messages, ready
from tests.disk import disk
from tests.ingestion import (
    Ingest,
    Start,
    administer,
    holding,
    payload,
    poison_with,
    publish_many,
    set_for,
    settles_whole,
    subject,
)
from tests.processes import freeze
from tests.proxy import Proxy
from tests.scrape import metric, readiness
from tests.servers import PostgresServer, StreamHandle, fresh_database
from tests.waiting import wait_until
from tests.writers import Writer


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with Proxy(postgres_server.port) as proxy:
        yield proxy


def wait_until_waiting(session: "psycopg.Connection[Any]", for_: str, number: int) -> None:
    """Wait until so many wait for a lock of a kind, as `pg_locks` calls it."""
    waiting = "SELECT FROM pg_locks WHERE locktype = %s AND NOT granted"
    wait_until(lambda: len(session.execute(waiting, (for_,)).fetchall()) == number, f"{number} who wait for a {for_}")


def test_postgres_stopped_at_once_in_the_midst_of_a_catch_up_loses_and_doubles_nothing(
    stream: StreamHandle, own_postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    publish_many(stream, range(30_000))
    with (
        fresh_database(own_postgres_server) as database,
        Ingest(stream, database, tmp_path / "ingest.log") as ingest,
    ):
        ingest.wait_for_rows(5_000)
        own_postgres_server.stop_signal = signal.SIGQUIT  # as `pg_ctl stop -m immediate` does
        own_postgres_server.restart()
        settles_whole(ingest, 30_000)


@pytest.fixture
def stranger(database: str) -> Iterator[str]:
    """Whoever Postgres doesn't let in."""
    name = f"stranger_{uuid4().hex}"
    administer(database, f"CREATE ROLE {name} SUPERUSER LOGIN")
    yield name
    administer(database, f"DROP ROLE {name}")


def test_who_is_not_let_in_says_so_before_any_message_comes_and_leaves_them_to_others(
    start: Start, stream: StreamHandle, database: str, stranger: str
) -> None:
    port = free_port()
    outside = start(
        DATABASE_URL=make_conninfo(database, user=stranger, password="x"), AGENT_COMMS_METRICS_PORT=str(port)
    )
    outside.wait_until_said("postgres: not let in, so nothing is taken: ")
    outside.wait_until_said("pulling from consumer")
    assert metric(port, "agent_comms_connected/postgres") == 0
    assert readiness(port) == (503, "waiting for Postgres to let it in\n")
    inside = start()
    publish_many(stream, range(1_000))
    settles_whole(inside, 1_000)
    assert metric(port, "agent_comms_messages_received_total") == 0
    assert metric(port, "agent_comms_connected/postgres") == 0
    assert outside.said.count("level=warning") == 1
    assert inside.stop() == 0
    publish_many(stream, range(1_000, 2_000))
    administer(database, f"ALTER ROLE {stranger} PASSWORD 'x'")
    settles_whole(outside, 2_000)
    outside.wait_until_said("postgres: let in after ")
    assert metric(port, "agent_comms_connected/postgres") == 1
    wait_until(lambda: readiness(port) == (200, "ready\n"), "it to be ready")
    outside.close()


@pytest.fixture
def behind(postgres_server: PostgresServer) -> Iterator[str]:
    """A database that nobody has migrated yet."""
    name = f"behind_{uuid4().hex}"
    administer(postgres_server.dsn(), f"CREATE DATABASE {name}")
    yield postgres_server.dsn(name)
    administer(postgres_server.dsn(), f"DROP DATABASE {name} WITH (FORCE)")


def test_a_flow_takes_nothing_before_the_schema_is_its_own_and_then_goes_on(
    stream: StreamHandle, behind: str, tmp_path: Path
) -> None:
    for path in sql.MIGRATIONS.glob("*.sql"):
        if path.name < "0014":
            shutil.copy(path, tmp_path)
    port = free_port()
    with Ingest(stream, behind, tmp_path / "ingest.log", AGENT_COMMS_METRICS_PORT=str(port)) as ingest:
        files = Migrator(sql.MIGRATIONS, sql.SCHEMA).files()
        lacks = f"the schema is {len(files)} migrations behind: run `agent-comms migrate`"
        ingest.wait_until_said(f"postgres: nothing is taken: {lacks}")
        ingest.wait_until_said("pulling from consumer")
        assert readiness(port) == (503, f"waiting for Postgres, since {lacks}\n")
        Migrator(tmp_path, sql.SCHEMA).migrate(behind)
        lacks = f"the schema is {len(files) - 13} migrations behind"
        wait_until(lambda: lacks in readiness(port)[1], "it to see what is left")
        # The schema of before refused it.
        stream.publish(subject(kind="status"), payload(1, content="unknown", attrs={"status": "unknown"}))
        assert stream.info().state.messages == 1
        Migrator(sql.MIGRATIONS, sql.SCHEMA).migrate(behind)
        ingest.wait_for_rows(1)
        settles_whole(ingest, 1)
        wait_until(lambda: readiness(port) == (200, "ready\n"), "it to be ready")
        assert ingest.said.count("level=warning") == 1


def test_a_flow_works_with_a_newer_schema(start: Start, stream: StreamHandle, database: str) -> None:
    administer(database, "INSERT INTO workflow_comms.migrations VALUES (9999, '9999_of_the_next_release', 'x')")
    ingest = start()
    publish_many(stream, range(3))
    settles_whole(ingest, 3)


def test_a_postgres_that_is_frozen_is_told_once_and_shows_until_it_goes_on(
    own_postgres_server: EmbeddedPostgres, stream: StreamHandle, tmp_path: Path
) -> None:
    port = free_port()
    with (
        fresh_database(own_postgres_server) as database,
        Ingest(stream, database, tmp_path / "ingest.log", AGENT_COMMS_METRICS_PORT=str(port)) as ingest,
    ):
        publish_many(stream, range(100))
        settles_whole(ingest, 100)
        frozen = freeze(own_postgres_server.pid)
        try:
            publish_many(stream, range(100, 200))
            ingest.wait_until_said("has had no answer for ")
            assert metric(port, "agent_comms_store_waits/unanswered") == 1
            assert metric(port, "agent_comms_connected/postgres") == 0
        finally:
            for pid in frozen:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        settles_whole(ingest, 200)
        ingest.wait_until_said("postgres: answers again; ")
        assert ingest.said.count("has had no answer for ") == 1
        assert " s: nobody else gets one (ConnectionTimeout: " in ingest.said
        wait_until(lambda: metric(port, "agent_comms_connected/postgres") == 1, "it to be well")
        assert metric(port, "agent_comms_store_waits/unanswered") == 0


def test_a_flow_that_waits_to_be_let_in_ends_when_it_is_asked_to(start: Start) -> None:
    ingest = start(DATABASE_URL=f"postgresql://{HOST}:{free_port()}/nowhere")
    ingest.wait_until_said("not let in")
    assert ingest.stop() == 0


def test_a_full_disk_is_waited_for(stream: StreamHandle, tmp_path: Path) -> None:
    publish_many(stream, range(5_000))
    with disk(tmp_path) as (database, filled), closing(Ingest(stream, database, tmp_path / "ingest.log")) as ingest:
        with filled():
            ingest.start()
            ingest.wait_until_said("waits: 53100: could not extend file")
            assert "No space left on device" in ingest.said
            assert ingest.count() == 0
        settles_whole(ingest, 5_000)


def test_a_timeout_blames_nobody_who_waits_for_a_lock(start: Start, stream: StreamHandle, database: str) -> None:
    set_for(database, "statement_timeout = '3s'")
    ingest = start(AGENT_COMMS_MAX_TRIES="1")
    with holding(database, "LOCK TABLE workflow_comms.agent_messages IN SHARE MODE"):
        publish_many(stream, range(1_000))
        ingest.wait_until_said("waits: 55P03: ")
    settles_whole(ingest, 1_000)


def test_a_message_that_runs_into_the_timeout_each_time_becomes_a_dead_letter(
    start: Start, stream: StreamHandle, database: str
) -> None:
    poison_with(database, "PERFORM pg_sleep(10)")
    # What is well takes a hundredth of it.
    set_for(database, "statement_timeout = '1500ms'")
    publish_many(stream, range(4), poison={2})
    ingest = start(AGENT_COMMS_MAX_TRIES="2")
    settles_whole(ingest, 3, letters=1)
    ((detail,),) = ingest.rows("SELECT detail FROM workflow_comms.dead_letters")
    assert detail.startswith("57014: canceling statement due to statement timeout")


def test_a_deadlock_is_tried_again(ingest: Ingest, stream: StreamHandle, database: str) -> None:
    publish_many(stream, range(10))
    settles_whole(ingest, 10)
    lock, unlock = (sql.query("lock_seq").replace("xact_lock", word) for word in ("lock", "unlock"))
    touch_run = b"UPDATE workflow_comms.runs SET pruned = pruned WHERE workflow_uid = %s"
    with holding(database, lock) as gate, holding(database, "SET deadlock_timeout = '1min'") as other:
        # What waits meanwhile will be one transaction, which touches every run in the order of their uids.
        publish_many(stream, range(10, 50))
        gate.execute(touch_run, ["uid-5"])
        other.execute(touch_run, ["uid-7"])
        gate.execute(unlock.encode())
        wait_until_waiting(gate, "transactionid", 1)
        # The other waits for the flow before the flow comes to wait for it: who looks for a deadlock looks once,
        # a second after it began to wait, and it is the flow that is to find it and to give way.
        waiting = threading.Thread(target=other.execute, args=(touch_run, ["uid-0"]))
        waiting.start()
        wait_until_waiting(gate, "transactionid", 2)
        gate.rollback()
        waiting.join()
    ingest.wait_until_said("waits: 40P01: deadlock detected")
    settles_whole(ingest, 50)


def test_a_connection_cut_in_the_midst_of_a_copy_stores_each_once(
    start: Start, stream: StreamHandle, database: str, proxy: Proxy
) -> None:
    publish_many(stream, range(5_000))
    cut = proxy.cut_at(b"COPY", from_client=True, after=100_000, times=2)
    ingest = start(DATABASE_URL=proxy.instead(database))
    settles_whole(ingest, 5_000)
    assert cut.done == 2


def test_a_commit_whose_answer_is_lost_counts_once(
    start: Start, stream: StreamHandle, database: str, proxy: Proxy
) -> None:
    publish_many(stream, range(5_000))
    cut = proxy.cut_at(b"COMMIT\0", from_client=False, times=2)
    ingest = start(DATABASE_URL=proxy.instead(database))
    settles_whole(ingest, 5_000)
    assert cut.done == 2


def test_a_poison_message_among_a_thousand_becomes_a_dead_letter_after_its_tries(
    start: Start, stream: StreamHandle, database: str
) -> None:
    poison_with(database, "RAISE EXCEPTION 'no poison, please'")
    publish_many(stream, range(1_000), poison={333})
    ingest = start(AGENT_COMMS_MAX_TRIES="3")
    settles_whole(ingest, 999, letters=1)
    ((reason, detail),) = ingest.rows("SELECT reason, detail FROM workflow_comms.dead_letters")
    assert reason == "refused_by_postgres"
    assert detail.startswith("P0001: no poison, please ")
    assert detail.endswith(" (tried 3 times)")


def test_a_set_up_that_takes_nothing_is_waited_for(ingest: Ingest, stream: StreamHandle, database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("ALTER TABLE workflow_comms.runs RENAME TO away")
        publish_many(stream, range(100))
        ingest.wait_until_said("waits: 42P01: ")
        connection.execute("ALTER TABLE workflow_comms.away RENAME TO runs")
    settles_whole(ingest, 100)


def test_a_dead_letter_that_can_not_be_kept_stays_unacked_and_delays_no_other(
    start: Start, stream: StreamHandle, database: str
) -> None:
    refuse = (
        "CREATE TRIGGER refuse BEFORE INSERT ON workflow_comms.dead_letters FOR EACH ROW WHEN (NEW.payload = 'bad')"
    )
    poison_with(database, "RAISE EXCEPTION 'no poison, please'")
    administer(database, f"{refuse} EXECUTE FUNCTION poison()")
    ingest = start(AGENT_COMMS_MAX_TRIES="1")
    stream.publish(subject(), b"bad")
    stream.publish(subject(), b"also no JSON")
    publish_many(stream, range(100))
    ingest.wait_for_rows(100)
    wait_until(lambda: stream.consumer().num_ack_pending == 1, "all acks but one")
    assert ingest.rows("SELECT payload FROM workflow_comms.dead_letters") == [(b"also no JSON",)]
    administer(database, "DROP TRIGGER refuse ON workflow_comms.dead_letters")
    settles_whole(ingest, 100, letters=2)


# It has the lock of all writers, and is at work.
WAITS_FOR_ITS_CLIENT = """
    SELECT FROM pg_locks AS held JOIN pg_stat_activity AS writer USING (pid)
    WHERE held.locktype = 'advisory' AND held.granted AND writer.state = 'active' AND wait_event = 'ClientRead'
"""


@pytest.mark.parametrize(
    ("number", "said"), [(2_000, "hello"), (FEW, "hello " * 20_000)], ids=["by COPY", "by a statement each"]
)
def test_a_writer_that_stands_still_midway_is_ended_by_those_who_wait(
    number: int, said: str, database: str, proxy: Proxy
) -> None:
    """No timeout of Postgres' counts while it waits for a row's rest; here others wait for less than in earnest."""
    set_for(database, "lock_timeout = '300ms'")
    with Writer(database) as writer:
        batch = [ready(writer.message(said, dedupe_key=uuid4().hex)) for _ in range(number + 1)]
    slow, other = (Store(messages(dsn, Redactor())) for dsn in (proxy.instead(database), database))
    slow.store(batch[:1])
    failed: list[BaseException] = []

    def stand_still() -> None:
        try:
            slow.store(batch[1:])
        except psycopg.OperationalError as error:
            failed.append(error)

    def is_stored() -> bool:
        try:
            return len(other.store([ready(SAMPLE_MESSAGE)]).new) == 1
        except psycopg.errors.LockNotAvailable:
            other.close()
            return False

    with closing(slow), closing(other), psycopg.connect(database, autocommit=True) as admin:
        with proxy.slow(10_000):
            standing = threading.Thread(target=stand_still)
            standing.start()
            wait_until(lambda: admin.execute(WAITS_FOR_ITS_CLIENT).fetchall(), "Postgres to wait for the rest")
            wait_until(is_stored, "the other to have its turn")
        standing.join()
        assert len(failed) == 1
        slow.close()
        assert len(slow.store(batch).new) == len(batch) - 1
