"""A Bytewax source over a durable JetStream pull consumer."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime

from bytewax.inputs import DynamicSource, StatelessSourcePartition
from nats.errors import Error as NatsError

from connectors.acks import IN_PROGRESS
from connectors.awake import LONG_AGO
from connectors.connection import GivenUp, NatsConnection, NatsOptions
from connectors.delivery import JetStreamMessage
from connectors.pull import MIB, ConsumerState, Puller

log = logging.getLogger(__name__)

# A worker alone may sleep on the queue and wakes with the message; one that also has
# to serve its neighbours' exchanges must not sleep long.
IDLE_WAIT_ALONE_S = 0.05
IDLE_WAIT_SHARED_S = 0.002
STOP_TIMEOUT_S = 5.0
# A third of JetStream's default ack wait of 30 s.
IN_PROGRESS_EVERY_S = 10.0


class JetStreamSource(DynamicSource[JetStreamMessage]):
    """Yields the messages of a durable pull consumer; each carries its ack.

    Every worker pulls for itself from the one durable, so the server shares the
    messages out. The source never acks: whoever has made a message safe publishes
    `+ACK` to its `reply`, in any process (`connectors.acks`). The server's
    `max_ack_pending` is the bound on what is under way, `queue_messages` and
    `queue_bytes` bound what waits in this process. A server restart, a lost
    consumer leader or a pull that has gone silent is noticed, and the pull rebuilt.

    Args:
        options: how to reach NATS, and as whom.
        stream: the stream's name.
        durable: the consumer's name. It must exist sooner or later: until it does,
            the source waits and says so.
        batch: about how many messages are handed to the dataflow at once, at most.
        batch_bytes: the same in bytes of payload; what becomes of them on the way takes several times as much.
        queue_messages: messages that may wait for the dataflow before pulls pause.
        queue_bytes: the same in bytes of payload.
        in_progress_every_s: how often the server is told what waits; under half its ack wait.
        may_pull: asked before each pull; as long as it says no, the messages stay for others who share the durable.

    Delivery guarantee: at least once. A message that is not acked within the
    consumer's ack wait is delivered again, to this worker or another one; one that
    was acked is not. No recovery store is needed, the consumer is the position.
    """

    def __init__(
        self,
        options: NatsOptions,
        stream: str,
        durable: str,
        *,
        batch: int = 1_000,
        batch_bytes: int = 2 * MIB,
        queue_messages: int = 4_000,
        queue_bytes: int = 8 * MIB,
        in_progress_every_s: float = IN_PROGRESS_EVERY_S,
        may_pull: Callable[[], bool] = lambda: True,
    ) -> None:
        if min(batch, batch_bytes, queue_messages, queue_bytes) < 1:
            message = "batch, batch_bytes, queue_messages and queue_bytes must be at least 1"
            raise ValueError(message)
        self.options = options
        self.stream = stream
        self.durable = durable
        self.batch = batch
        self.batch_bytes = batch_bytes
        self.queue_messages = queue_messages
        self.queue_bytes = queue_bytes
        self.in_progress_every_s = in_progress_every_s
        self.may_pull = may_pull
        # Plain: a handler of signals sets it, in the midst of whatever its thread holds locked.
        self._stopping = False
        self._partitions: list[_Partition] = []

    def stop(self) -> None:
        """Pull no more, and end the input once what was pulled has been handed on."""
        self._stopping = True

    def consumer_state(self) -> ConsumerState | None:
        """Return what the server last said of the consumer; None where nothing is known."""
        return next((state for partition in self._partitions if (state := partition.consumer_state)), None)

    @property
    def is_connected(self) -> bool:
        """Whether every worker of this process is connected at this moment."""
        return bool(self._partitions) and all(partition.is_connected for partition in self._partitions)

    @property
    def server_certificate(self) -> bytes | None:
        """The certificate that the server has shown, DER; None where there is none."""
        return next((shown for partition in self._partitions if (shown := partition.server_certificate)), None)

    @property
    def stopping(self) -> bool:
        """Whether `stop` has been called."""
        return self._stopping

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_Partition":  # noqa: ARG002
        """Connect this worker."""
        partition = _Partition(self, IDLE_WAIT_ALONE_S if worker_count == 1 else IDLE_WAIT_SHARED_S)
        self._partitions.append(partition)
        return partition


class _Partition(StatelessSourcePartition[JetStreamMessage]):
    def __init__(self, source: JetStreamSource, idle_wait: float) -> None:
        self._source = source
        self._idle_wait = idle_wait
        # What came at once stays together on its way.
        self._queue: deque[list[JetStreamMessage]] = deque()
        # No `queue.SimpleQueue`: until Python 3.13, one that is interrupted as its time runs out waits for ever,
        # and a quiet flow that is asked to end would not.
        self._came = threading.Event()
        # The same, with when it came, and what was handed on last: the dataflow asks for more once that is on its way.
        self._held: deque[tuple[float, list[JetStreamMessage]]] = deque()
        self._handed = 0
        self._keeping: Future[None] | None = None
        # Each is written by one thread only: what came in by the loop, what went out by the dataflow.
        self._messages_in = self._messages_out = 0
        self._bytes_in = self._bytes_out = 0
        self._waiting_for_room = False
        self._pulling = False
        self._connection = NatsConnection(source.options, on_reconnect=self._reconnected)
        self._puller = Puller(self._connection, source.stream, source.durable, self._take_in, self._has_room)
        try:
            self._connection.connect(unless=lambda: source.stopping)
        except GivenUp:
            return  # asked to stop while no server answered: there is nothing to hand on
        self._connection.run(self._puller.start())
        self._keeping = self._connection.submit(self._keep_in_progress())
        self._pulling = True
        log.info("source: pulling from consumer %s of stream %s", source.durable, source.stream)

    @property
    def consumer_state(self) -> ConsumerState | None:
        return self._puller.state

    @property
    def is_connected(self) -> bool:
        return self._connection.is_connected

    @property
    def server_certificate(self) -> bytes | None:
        return self._connection.server_certificate

    async def _reconnected(self) -> None:
        if self._pulling:
            await self._puller.restart()

    def _take_in(self, messages: list[JetStreamMessage]) -> None:
        self._messages_in += len(messages)
        self._bytes_in += _size(messages)
        self._held.append((time.monotonic(), messages))
        self._queue.append(messages)
        self._came.set()

    def _has_room(self) -> bool:
        messages, size = self._messages_in - self._messages_out, self._bytes_in - self._bytes_out
        room = messages < self._source.queue_messages and size < self._source.queue_bytes and self._source.may_pull()
        self._waiting_for_room = not room
        return room

    async def _keep_in_progress(self) -> None:
        every = self._source.in_progress_every_s
        while True:
            await asyncio.sleep(every)
            long_ago = time.monotonic() - every / 2
            replies = [message.reply for came_at, held in self._held.copy() if came_at < long_ago for message in held]
            if replies and self._connection.is_connected:
                try:
                    await self._connection.client.publish_each(replies, IN_PROGRESS)
                except NatsError as error:
                    log.debug("source: not said to be in progress: %s", error)

    def next_batch(self) -> list[JetStreamMessage]:
        for _ in range(self._handed):
            self._held.popleft()
        self._handed = 0
        if self._source.stopping:
            self._stop_pulling()
        batch = self._drain_queue()
        if self._waiting_for_room and self._pulling and self._has_room():
            self._connection.submit(self._puller.request())
        if not batch and not self._pulling and not self._queue:
            raise StopIteration
        return batch

    def next_awake(self) -> datetime:
        return LONG_AGO

    def _drain_queue(self) -> list[JetStreamMessage]:
        if self._pulling and not self._queue:
            self._came.wait(self._idle_wait)
        # What comes from here on is seen below, or ends the next wait at once.
        self._came.clear()
        batch: list[JetStreamMessage] = []
        size = 0
        while self._queue and len(batch) < self._source.batch and size < self._source.batch_bytes:
            came = self._queue.popleft()
            self._handed += 1
            batch += came
            size += _size(came)
        self._messages_out += len(batch)
        self._bytes_out += size
        return batch

    def _stop_pulling(self) -> None:
        if not self._pulling:
            return
        self._pulling = False
        log.info("source: no more is pulled; what was taken is handed on")
        try:
            self._connection.run(self._puller.stop(), timeout=STOP_TIMEOUT_S)
        except (TimeoutError, NatsError) as error:
            todo = "nothing; what was under way is delivered again"
            log.warning("source: left without a farewell to the server: %s", error, extra={"todo": todo})

    def close(self) -> None:
        self._stop_pulling()
        if self._keeping:
            self._keeping.cancel()
        self._connection.close()


def _size(messages: list[JetStreamMessage]) -> int:
    return sum([len(message.data) for message in messages])
