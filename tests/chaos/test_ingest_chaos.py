"""The long menu: `make chaos`."""

import time
from pathlib import Path

from connectors.connection import NatsOptions
from connectors.embedded import EmbeddedNats, EmbeddedPostgres
from connectors.publisher import Publisher
from tests.ingestion import Ingest, assert_whole, payload, publish_many, subject
from tests.servers import StreamHandle, fresh_database, fresh_stream
from tests.waiting import wait_until


def test_a_hundred_thousand_messages_survive_three_kills_with_the_production_ack_wait(
    stream: StreamHandle, database: str, tmp_path: Path
) -> None:
    publish_many(stream, range(100_000))
    with Ingest(stream, database, tmp_path / "ingest.log") as ingest:
        for reached in (10_000, 40_000, 70_000):
            ingest.wait_for_rows(reached)
            ingest.kill()
            ingest.start()
        ingest.wait_for_rows(100_000)
        ingest.wait_until_drained()
        assert_whole(ingest, 100_000)


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
        ingest.wait_for_rows(3_000)
        ingest.wait_until_drained()
        assert_whole(ingest, 3_000)
