"""The long menu: `make chaos`."""

from pathlib import Path

from tests.ingestion import Ingest, assert_whole, publish_many
from tests.servers import StreamHandle


def test_a_hundred_thousand_messages_survive_three_kills_with_the_production_ack_wait(
    stream: StreamHandle, database: str, tmp_path: Path
) -> None:
    publish_many(stream, range(100_000))
    ingest = Ingest(stream, database, tmp_path / "ingest.log")
    try:
        ingest.start()
        for reached in (10_000, 40_000, 70_000):
            ingest.wait_for_rows(reached)
            ingest.kill()
            ingest.start()
        ingest.wait_for_rows(100_000)
        ingest.wait_until_drained()
        assert_whole(ingest, 100_000)
    finally:
        ingest.close()
