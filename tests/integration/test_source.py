"""What the source hands to the dataflow, without one."""

import pytest

from connectors.connection import NatsOptions
from connectors.jetstream import JetStreamSource
from tests.ingestion import subject
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
