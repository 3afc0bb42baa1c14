"""The ingest flow while Postgres, or the way to it, is in trouble: nothing lost, nothing twice, nobody blamed."""

import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

import sql
from connectors.embedded import EmbeddedPostgres
from connectors.store import Store
from flows.redact import Redactor
from flows.storage import SAMPLE_MESSAGE, messages, ready
from tests.disk import disk
from tests.ingestion import (
    Ingest,
    Start,
    administer,
    holding,
    poison_with,
    publish_many,
    set_for,
    settles_whole,
    subject,
)
from tests.proxy import Proxy
from tests.servers import PostgresServer, StreamHandle, fresh_database
from tests.waiting import wait_until
from tests.writers import Writer


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with Proxy(postgres_server.port) as proxy:
        yield proxy


def wait_until_somebody_waits(session: "psycopg.Connection[Any]", for_: str) -> None:
    """Wait until somebody waits for a lock of a kind, as `pg_locks` calls it."""
    waiting = "SELECT FROM pg_locks WHERE locktype = %s AND NOT granted"
    wait_until(lambda: session.execute(waiting, (for_,)).fetchall(), f"somebody who waits for a {for_}")


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
    set_for(database, "statement_timeout = '1s'")
    ingest = start(AGENT_COMMS_MAX_TRIES="1")
    with holding(database, "LOCK TABLE workflow_comms.agent_messages IN SHARE MODE"):
        publish_many(stream, range(1_000))
        ingest.wait_until_said("waits: 55P03: ")
    settles_whole(ingest, 1_000)


def test_a_message_that_runs_into_the_timeout_each_time_becomes_a_dead_letter(
    start: Start, stream: StreamHandle, database: str
) -> None:
    poison_with(database, "PERFORM pg_sleep(3)")
    set_for(database, "statement_timeout = '500ms'")
    publish_many(stream, range(8), poison={5})
    ingest = start(AGENT_COMMS_MAX_TRIES="2")
    settles_whole(ingest, 7, letters=1)
    ((detail,),) = ingest.rows("SELECT detail FROM workflow_comms.dead_letters")
    assert detail.startswith("57014: canceling statement due to statement timeout")


def test_a_deadlock_is_tried_again(ingest: Ingest, stream: StreamHandle, database: str) -> None:
    publish_many(stream, range(10))
    settles_whole(ingest, 10)
    lock, unlock = (sql.query("lock_seq").replace("xact_lock", word) for word in ("lock", "unlock"))
    with holding(database, lock) as other:
        # What waits meanwhile will be one transaction, which touches every run.
        publish_many(stream, range(10, 50))
        other.execute("UPDATE workflow_comms.runs SET pruned = pruned WHERE workflow_uid = 'uid-5'")
        # The flow is to find the deadlock, which it looks for once it has waited for a second, and to give way.
        other.execute("SET deadlock_timeout = '1min'")
        other.execute(unlock.encode())
        wait_until_somebody_waits(other, "transactionid")
        other.execute("UPDATE workflow_comms.runs SET pruned = pruned WHERE workflow_uid <> 'uid-5'")
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


def test_a_writer_that_stands_still_within_a_copy_is_ended_by_those_who_wait(database: str, proxy: Proxy) -> None:
    """No timeout of Postgres' counts while a COPY waits for its client; here others wait for less than in earnest."""
    set_for(database, "lock_timeout = '300ms'")
    with Writer(database) as writer:
        batch = [ready(writer.message("hello", dedupe_key=uuid4().hex)) for _ in range(2_000)]
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
            copying = "SELECT FROM pg_stat_activity WHERE query LIKE 'COPY%' AND wait_event = 'ClientRead'"
            wait_until(lambda: admin.execute(copying).fetchall(), "the COPY to wait for its client")
            wait_until(is_stored, "the other to have its turn")
        standing.join()
        assert [type(error) for error in failed] == [psycopg.errors.AdminShutdown]
        slow.close()
        assert len(slow.store(batch).new) == len(batch) - 1
