"""Flows and backfills of the same runs, side by side, all of them killed at random moments again and again."""

import os
import random
import threading
import time

import pytest

from tests.artifacts import Archive, Row, Stored, live, recover
from tests.backfilling import finish
from tests.backfilling import start as start_backfill
from tests.ingestion import Ingest, Start, assert_runs_agree
from tests.servers import PostgresServer, StreamHandle, fresh_database
from tests.sidecar import talk

KILLS = int(os.environ.get("CHAOS_BACKFILL_KILLS", "12"))
RUNS = 60
LINES = "\n".join(talk(12)).encode()


def said(dsn: str) -> list[Row]:
    """Kind, role, content, tool and key of each message."""
    return sorted(Stored(dsn).rows(), key=lambda row: row[4])


@pytest.mark.timeout(900)
def test_killed_beside_killed_flows_each_message_is_stored_once(
    start: Start,
    stream: StreamHandle,
    database: str,
    stored: Stored,
    postgres_server: PostgresServer,
    archive: Archive,
    seed: int,
) -> None:
    chance = random.Random(seed)
    stream.set_ack_wait(1)
    runs = [f"run-{number:03}" for number in range(RUNS)]
    for run in runs:
        archive.add(run, LINES)
    messages = [message for run in runs for message in live(LINES, run, ends=True)]
    published = [message.origin for message in messages if message.origin and chance.random() < 0.7]
    chance.shuffle(published)
    flow = start()
    ended = threading.Event()

    def publish() -> None:
        for at, each in enumerate(published):
            stream.publish(each.subject, each.data)
            if at % 50 == 0:
                time.sleep(chance.uniform(0, 0.1))

    def kill_flow() -> None:
        while not ended.wait(chance.uniform(0.5, 3)):
            _kill(flow)

    threads = [threading.Thread(target=publish), threading.Thread(target=kill_flow)]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        process = start_backfill(database, archive.folder, "--again", "--processes", str(chance.choice((0, 1, 2))))
        time.sleep(chance.uniform(1, 5))
        process.kill()
        process.communicate()
    threads[0].join()
    ended.set()
    threads[1].join()
    flow.wait_until_drained()
    last = finish(database, archive.folder, "--again")
    assert last.returncode == 0, last.stderr
    assert stored.count() == len(messages)
    assert_runs_agree(database)
    with fresh_database(postgres_server) as other:
        recover(other, archive.folder)
        assert said(database) == said(other)


def _kill(flow: Ingest) -> None:
    flow.kill()
    flow.start()
