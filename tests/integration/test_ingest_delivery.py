"""The ingest flow while deliveries, or the way to NATS, are in trouble: nothing lost, nothing twice."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.embedded import EmbeddedNats
from tests.ingestion import Ingest, Start, holding, kill_at_random, publish_copies, publish_many, settles_whole
from tests.proxy import Proxy
from tests.servers import NatsServer, StreamHandle, fresh_stream
from tests.waiting import wait_until

MESSAGES = "LOCK TABLE workflow_comms.agent_messages IN SHARE MODE"


@pytest.fixture
def proxy(nats_server: NatsServer) -> Iterator[Proxy]:
    with Proxy(nats_server.port) as proxy:
        yield proxy


def test_a_flow_opens_and_closes_without_a_message_or_a_complaint(start: Start, stream: StreamHandle) -> None:
    ingest = start()
    ingest.wait_until_said("pulling from consumer")
    assert ingest.stop() == 0
    assert "level=warning" not in ingest.said
    stream.publish("workflow.agents.run-0.uid-0.agent.executor.message", b'{"content": "later"}')
    assert stream.consumer().num_ack_pending == 0


def test_a_message_delivered_again_before_its_ack_is_one_row(
    ingest: Ingest, stream: StreamHandle, database: str
) -> None:
    stream.set_ack_wait(0.5)
    with holding(database, MESSAGES):
        publish_many(stream, range(100))
        wait_until(lambda: stream.consumer().num_redelivered == 100, "all of them to be delivered again")
    settles_whole(ingest, 100)


@pytest.mark.parametrize("flags", [[("-w", "2")], [(), (), ()]], ids=["two workers", "three flows"])
def test_a_message_published_again_and_again_is_one_row(
    flags: list[tuple[str, ...]], start: Start, stream: StreamHandle
) -> None:
    publish_many(stream, range(0, 2_000, 2))
    earlier = start()
    settles_whole(earlier, 1_000)
    earlier.kill()  # what it remembered is gone: half of what comes now is known to the table alone
    publish_copies(stream, 2_000, copies=3)
    flows = [start(*words) for words in flags]
    settles_whole(flows[0], 2_000)
    assert all(flow.is_running for flow in flows)


def test_a_consumer_that_is_made_anew_delivers_everything_again_and_no_row_comes_twice(
    ingest: Ingest, stream: StreamHandle
) -> None:
    publish_many(stream, range(5_000))
    settles_whole(ingest, 5_000)
    stream.create_consumer_anew()
    publish_many(stream, range(5_000, 6_000))
    settles_whole(ingest, 6_000)
    assert stream.redeliveries() == 0  # of the new one: it began at the first message


@pytest.mark.parametrize("lost", ["consumer", "stream"])
def test_a_nats_server_that_was_killed_and_has_lost_its_state_is_gone_on_with(
    lost: str, own_nats_server: EmbeddedNats, database: str, tmp_path: Path
) -> None:
    with fresh_stream(own_nats_server) as stream, Ingest(stream, database, tmp_path / "ingest.log") as ingest:
        publish_many(stream, range(1_000))
        settles_whole(ingest, 1_000)
        own_nats_server.kill()
        (state,) = own_nats_server.folder.glob("jetstream/**/obs" if lost == "consumer" else "jetstream")
        shutil.rmtree(state)
        own_nats_server.start()
        stream.wait_until_reached()
        stream.create() if lost == "stream" else stream.create_consumer()
        publish_many(stream, range(1_000, 1_500))
        settles_whole(ingest, 1_500)


def test_a_cut_connection_to_nats_is_made_anew(start: Start, stream: StreamHandle, proxy: Proxy) -> None:
    ingest = start(NATS_URL=proxy.instead(stream.url))
    stream.set_ack_wait(2)
    for number in range(5):
        publish_many(stream, range(number * 2_000, (number + 1) * 2_000))
        # One pulls, one acks.
        wait_until(lambda: proxy.connections == 2, "both of the flow's connections")
        proxy.cut()
    settles_whole(ingest, 10_000)


def test_acks_that_are_lost_behind_the_commit_cost_a_redelivery(
    start: Start, stream: StreamHandle, proxy: Proxy
) -> None:
    stream.set_ack_wait(1)
    cut = proxy.cut_at(b"+ACK", from_client=True, times=3)
    ingest = start(NATS_URL=proxy.instead(stream.url))
    publish_many(stream, range(5_000))
    settles_whole(ingest, 5_000)
    assert cut.done == 3
    assert stream.redeliveries() > 0


def test_the_flow_killed_on_the_way_loses_and_doubles_nothing(start: Start, stream: StreamHandle, seed: int) -> None:
    stream.set_ack_wait(1)
    ingest = start()
    published = kill_at_random(ingest, random.Random(seed), times=5)
    settles_whole(ingest, published)
