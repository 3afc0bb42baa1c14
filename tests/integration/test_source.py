"""What the source hands to the dataflow, without one."""

import signal
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from bytewax.inputs import StatelessSourcePartition

from connectors.connection import NatsOptions
from connectors.delivery import JetStreamMessage
from connectors.jetstream import IDLE_WAIT_ALONE_S, JetStreamSource
from connectors.pull import ConsumerState
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
    """The first batch is handed on and its holder asks for no more; the others wait here, for two ack waits."""
    stream.set_ack_wait(3)
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
            until = time.monotonic() + 7

            def is_over() -> bool:
                other.extend(asks.next_batch())
                return time.monotonic() > until

            wait_until(is_over, "two ack waits to be over")
        finally:
            asks.close()
        while len(handed) < 50:
            handed += partition.next_batch()
    finally:
        partition.close()
    assert other == []
    assert [message.delivery().deliveries for message in handed] == [1] * 50


def test_what_may_not_be_pulled_yet_stays_for_others(stream: StreamHandle) -> None:
    stream.publish(subject(), payload(1))
    options = NatsOptions((stream.url,))
    allowed = threading.Event()
    partition = JetStreamSource(options, stream.name, stream.durable, may_pull=allowed.is_set).build("read", 0, 1)
    taken: list[JetStreamMessage] = []

    def has_taken(from_: StatelessSourcePartition[JetStreamMessage]) -> bool:
        taken.extend(from_.next_batch())
        return bool(taken)

    try:
        other = JetStreamSource(options, stream.name, stream.durable).build("read", 0, 1)
        try:
            wait_until(lambda: has_taken(other), "the other one to get it")
        finally:
            other.close()
        assert partition.next_batch() == []
        stream.publish(subject(), payload(2))
        assert stream.consumer().num_waiting == 0
        taken.clear()
        allowed.set()
        wait_until(lambda: has_taken(partition), "the next message")
    finally:
        partition.close()
    assert taken[0].data == payload(2)


def test_what_is_known_of_the_consumer_is_known_while_it_is_asked_anew(
    source: JetStreamSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads between a question and its answer must not take the stream for lost."""
    # It is asked again sooner, so that whoever looks all the while does it for a shorter time.
    monkeypatch.setattr("connectors.pull.TICK_S", 0.05)
    partition = source.build("read", 0, 1)
    seen: list[ConsumerState | None] = []

    def sees_another() -> bool:
        state = partition.consumer_state
        if not seen or state is not seen[-1]:
            seen.append(state)
        return len(seen) >= 3

    try:
        wait_until(lambda: partition.consumer_state, "the first answer")
        end = time.monotonic() + 60
        while not sees_another():
            assert time.monotonic() < end, "waited 60 s in vain for two more answers"
    finally:
        partition.close()
    assert None not in seen


def test_a_signal_that_outlasts_a_wait_does_not_make_it_one_for_ever(
    stream: StreamHandle, source: JetStreamSource
) -> None:
    """It would be one until the next message: a quiet flow that is asked to end would go on."""
    partition = source.build("read", 0, 1)
    handled: list[int] = []

    def take_long(number: int, _frame: object) -> None:
        time.sleep(2 * IDLE_WAIT_ALONE_S)
        handled.append(number)

    before = signal.signal(signal.SIGALRM, take_long)
    late = threading.Timer(10, stream.publish, [subject(), payload(1)])
    late.start()
    try:
        while not handled:
            signal.setitimer(signal.ITIMER_REAL, IDLE_WAIT_ALONE_S / 5)
            assert partition.next_batch() == []
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        late.cancel()
        signal.signal(signal.SIGALRM, before)
        partition.close()


def test_when_it_is_asked_again_is_up_to_no_clock_on_the_wall(source: JetStreamSource) -> None:
    """Set back by an hour, it would stop the flow for an hour."""
    partition = source.build("read", 0, 1)
    try:
        assert partition.next_batch() == []
        due = partition.next_awake()
    finally:
        partition.close()
    assert due is not None
    assert datetime.now(UTC) - due > timedelta(days=365)
