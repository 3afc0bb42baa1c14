"""Kills of the flow at random moments, many of them.

CHAOS_SEED draws the same moments again, as far as the machine keeps pace; CHAOS_KILLS is how many.
"""

import os
import random

import pytest

from tests.ingestion import Start, kill_at_random, publish_many, settles_whole
from tests.servers import StreamHandle

KILLS = int(os.environ.get("CHAOS_KILLS", "200"))


@pytest.mark.timeout(1_800)
def test_hundreds_of_kills_at_random_moments_lose_and_double_nothing(
    start: Start, stream: StreamHandle, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\n{KILLS} kills, CHAOS_SEED={seed}")
    stream.set_ack_wait(1)
    ingest = start()
    published = kill_at_random(ingest, random.Random(seed), KILLS)
    settles_whole(ingest, published)


@pytest.mark.timeout(600)
def test_kills_of_one_of_three_flows_lose_and_double_nothing(start: Start, stream: StreamHandle, seed: int) -> None:
    stream.set_ack_wait(1)
    flows = [start(), start(), start()]
    published = kill_at_random(flows[0], random.Random(seed), 20)
    settles_whole(flows[0], published)
    assert all(flow.is_running for flow in flows)


def test_a_hundred_thousand_messages_survive_three_kills_with_the_production_ack_wait(
    start: Start, stream: StreamHandle
) -> None:
    publish_many(stream, range(100_000))
    ingest = start()
    for reached in (10_000, 40_000, 70_000):
        ingest.wait_for_rows(reached)
        ingest.kill()
        ingest.start()
    settles_whole(ingest, 100_000)
