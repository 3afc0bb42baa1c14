"""A Postgres that lets the flow wait: for long, or for every byte."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.connection import NatsOptions
from connectors.embedded import EmbeddedNats, EmbeddedPostgres
from connectors.publisher import Publisher
from tests.ingestion import Ingest, Start, holding, payload, publish_many, settles_whole, subject
from tests.proxy import Proxy
from tests.servers import PostgresServer, StreamHandle, fresh_database, fresh_stream
from tests.waiting import wait_until

MESSAGES = "LOCK TABLE workflow_comms.agent_messages IN SHARE MODE"
# As the manifest of the consumer says.
ACK_WAIT_S = 30
IN_ORDER = """
    SELECT count(*) FROM (
        SELECT substr(attrs->>'message_id', 3)::int AS number,
            lag(substr(attrs->>'message_id', 3)::int) OVER (PARTITION BY workflow_uid ORDER BY seq) AS before
        FROM workflow_comms.agent_messages) AS told
    WHERE number < before
"""


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with Proxy(postgres_server.port) as proxy:
        yield proxy


@pytest.fixture
def behind(start: Start, stream: StreamHandle, database: str, proxy: Proxy) -> Ingest:
    """Start a flow that reaches Postgres by way of the proxy, and has stored 1,000 messages."""
    ingest = start(DATABASE_URL=proxy.instead(database))
    publish_many(stream, range(1_000))
    settles_whole(ingest, 1_000)
    return ingest


def wait_longer_than_the_ack_wait() -> None:
    end = time.monotonic() + 1.5 * ACK_WAIT_S
    wait_until(lambda: time.monotonic() > end, "the ack wait to pass")


def test_what_waits_for_a_lock_longer_than_the_ack_wait_is_delivered_to_nobody_else(
    ingest: Ingest, stream: StreamHandle, database: str
) -> None:
    with holding(database, MESSAGES):
        publish_many(stream, range(2_000))
        wait_longer_than_the_ack_wait()
        assert stream.consumer().num_ack_pending == 2_000
        assert stream.redeliveries() == 0
    settles_whole(ingest, 2_000)
    assert stream.redeliveries() == 0


def test_what_postgres_is_away_for_longer_than_the_ack_wait_is_delivered_to_nobody_else(
    behind: Ingest, proxy: Proxy, stream: StreamHandle
) -> None:
    with proxy.away():
        publish_many(stream, range(1_000, 3_000))
        wait_longer_than_the_ack_wait()
    settles_whole(behind, 3_000)
    assert stream.redeliveries() == 0


def test_asked_to_end_while_postgres_is_away_a_full_flow_ends_in_its_time_and_loses_nothing(
    behind: Ingest, proxy: Proxy, stream: StreamHandle
) -> None:
    with proxy.away():
        publish_many(stream, range(1_000, 60_000))
        # What waits to be written is full, and what was pulled since waits for room.
        wait_until(lambda: (stream.consumer().num_ack_pending or 0) > 12_000, "more than the writer takes")
        # In less than the minute that the manifest gives it.
        assert behind.stop() == 0
        behind.wait_until_said("messages not stored; they will be delivered again")
    behind.start()
    settles_whole(behind, 60_000)


def test_a_long_wait_with_a_backlog_takes_no_more_memory_and_ends_in_order(
    ingest: Ingest, stream: StreamHandle, database: str
) -> None:
    publish_many(stream, range(5_000))
    settles_whole(ingest, 5_000)
    with holding(database, MESSAGES):
        publish_many(stream, range(5_000, 100_000))
        for number in range(100_000, 100_200):
            stream.publish(subject(number % 10), payload(number, content=f"message {number} {'x' * 1_000_000}"))
        wait_longer_than_the_ack_wait()
        assert 5_000 < (stream.consumer().num_ack_pending or 0) <= 20_000
        assert ingest.count() == 5_000
    settles_whole(ingest, 100_200)
    assert ingest.rows(IN_ORDER) == [(0,)]
    assert ingest.peak_mib() < 250


def test_a_postgres_that_takes_a_trickle_gets_everything_in_order(
    start: Start, stream: StreamHandle, database: str, proxy: Proxy
) -> None:
    stream.set_ack_wait(2)
    ingest = start(DATABASE_URL=proxy.instead(database))
    with proxy.slow(100_000):
        publish_many(stream, range(30_000))
        ingest.wait_for_rows(2_000)
        assert ingest.count() < 30_000
    settles_whole(ingest, 30_000)
    assert ingest.rows(IN_ORDER) == [(0,)]
    assert ingest.peak_mib() < 250


def test_a_postgres_that_falls_silent_is_waited_for(behind: Ingest, proxy: Proxy, stream: StreamHandle) -> None:
    with proxy.stalled():
        publish_many(stream, range(1_000, 3_000))
        wait_longer_than_the_ack_wait()
        assert behind.is_running
    settles_whole(behind, 3_000)
    assert stream.redeliveries() == 0


def test_postgres_away_for_20_seconds_and_nats_restarted_meanwhile_lose_and_double_nothing(
    own_nats_server: EmbeddedNats, own_postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with (
        fresh_stream(own_nats_server) as stream,
        fresh_database(own_postgres_server) as database,
        Ingest(stream, database, tmp_path / "ingest.log") as ingest,
    ):
        with Publisher(NatsOptions((stream.url,)), patience=120) as publisher:
            sent = [publisher.publish_soon(subject(), payload(n), message_id=str(n)) for n in range(1_000)]
            ingest.wait_for_rows(1_000)
            own_postgres_server.kill()
            back_at = time.monotonic() + 20
            for number in range(1_000, 3_000):
                sent.append(publisher.publish_soon(subject(), payload(number), message_id=str(number)))
                if number == 2_000:
                    own_nats_server.restart()
            wait_until(lambda: time.monotonic() > back_at, "20 s without Postgres")
            assert ingest.is_running
            own_postgres_server.start()
            for future in sent:
                future.result(120)
        settles_whole(ingest, 3_000)
