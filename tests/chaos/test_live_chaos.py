"""The live view over minutes: flows killed, webs restarted, clients wandering, while runs are recovered as well."""

import json
import random
import threading
import time

import pytest

from tests.artifacts import Archive, recover
from tests.ingestion import Ingest, Start, payload
from tests.nginx import StartNginx
from tests.servers import StreamHandle
from tests.wandering import UID, wander
from tests.webserver import StartWeb

SECONDS = 60.0
FLOWS = 3
ATTEMPTS = 12
LINES = 100


@pytest.mark.timeout(600)
def test_wanderers_see_everything_once_whatever_ends_and_begins_again(
    start_web: StartWeb, start_nginx: StartNginx, start: Start, stream: StreamHandle, archive: Archive
) -> None:
    """Three flows store what is published and a backfill what it recovers, beside three other writers.

    Two webs behind one address end in turns, and so do the flows.
    """
    flows = [start() for _ in range(FLOWS)]
    database = flows[0].database
    webs = [start_web(DATABASE_URL=database, NATS_URL=stream.url) for _ in range(2)]
    nginx = start_nginx(*webs)
    seed = random.Random(9)
    number = int(SECONDS * 20)

    def publish() -> None:
        for each in range(number):
            stream.publish(f"workflow.agents.{UID}.{UID}.agent.executor.message", payload(each))
            time.sleep(0.05)

    def backfill() -> None:
        for attempt in range(ATTEMPTS):
            archive.add(UID, _events(attempt), pod=f"pod-{attempt}")
            report = recover(database, archive.folder)[UID].report
            assert report
            assert report.inserted > 0
            time.sleep(SECONDS / ATTEMPTS * seed.uniform(0.5, 1.0))

    def disturb() -> None:
        meanwhile = [threading.Thread(target=publish), threading.Thread(target=backfill)]
        for thread in meanwhile:
            thread.start()
        for turn in range(6):
            time.sleep(SECONDS / 8 * seed.uniform(0.5, 1.0))
            _end_and_begin(flows[turn % FLOWS])
            web = webs[turn % 2]
            # Killed, or told to end.
            (web.kill if turn % 3 == 0 else web.stop)()
            web.start()
        for thread in meanwhile:
            thread.join()
        flows[0].wait_until_drained()

    stream.set_ack_wait(2)
    # What was published and what was recovered, alone.
    assert wander(nginx.url, database, SECONDS, disturb) > number + ATTEMPTS * LINES


def _end_and_begin(flow: Ingest) -> None:
    flow.kill()
    flow.start()


def _events(attempt: int) -> list[str]:
    """Return what one attempt's agent wrote: a thread of its own that says something a line."""
    said = (
        {"type": "agent_message", "id": f"item_{line}", "text": f"attempt {attempt}, {line}"} for line in range(LINES)
    )
    return [
        json.dumps({"type": "thread.started", "thread_id": f"0199a213-81c0-7800-8aa1-bbab2a03{attempt:04x}"}),
        *(json.dumps({"type": "item.completed", "item": item}) for item in said),
    ]
