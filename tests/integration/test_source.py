"""What the source hands to the dataflow, without one."""

import time

import pytest

from connectors.connection import NatsOptions
from connectors.delivery import JetStreamMessage
from connectors.jetstream import JetStreamSource
from tests.ingestion import payload, subject
from tests.servers import StreamHandle
from tests.waiting import wait_until

LARGE = 500_000
BATCH_BYTES = 1_000_000


@pytest.fixture
def source(stream: StreamHandle) -> JetStreamSource:
    return JetStreamSource(NatsOptions((stream.url,)), stream.name, stream.durable, batch_bytes=BATCH_BYTES)


def test_what_is_handed_on_at_once_is_bound_by_its_bytes(stream: StreamHandle, source: JetStreamSource) -> None:
    """A thousand messages of 1 MB, each several times over, would be more memory than there is."""
    for _ in range(10):
        stream.publish(subject(), bytes(LARGE))
    partition = source.build("read", 0, 1)
    try:
        # All of them wait here, so that nothing but the bound parts them.
        wait_until(lambda: partition._messages_in == 10, "all of them to come")
        sizes: list[int] = []
        while sum(sizes) < 10 * LARGE:
            sizes.append(sum(len(message.data) for message in partition.next_batch()))
    finally:
        partition.close()
    assert max(sizes) <= BATCH_BYTES + LARGE, sizes


def test_what_waits_for_the_dataflow_is_delivered_to_nobody_else(stream: StreamHandle) -> None:
    """The first batch is handed on and its holder asks for no more; the others wait here, three ack waits long."""
    stream.set_ack_wait(1)
    for number in range(50):
        stream.publish(subject(), payload(number))
    options = NatsOptions((stream.url,))
    source = JetStreamSource(options, stream.name, stream.durable, batch=5, in_progress_every_s=0.25)
    partition = source.build("read", 0, 1)
    other: list[JetStreamMessage] = []
    try:
        wait_until(lambda: partition._messages_in == 50, "all of them to come")
        handed = partition.next_batch()
        asks = JetStreamSource(options, stream.name, stream.durable, in_progress_every_s=0.25).build("read", 0, 1)
        try:
            until = time.monotonic() + 3
            while time.monotonic() < until:
                other += asks.next_batch()
        finally:
            asks.close()
        while len(handed) < 50:
            handed += partition.next_batch()
    finally:
        partition.close()
    assert other == []
    assert [message.delivery().deliveries for message in handed] == [1] * 50
