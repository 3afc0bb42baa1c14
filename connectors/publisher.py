"""Publishes to JetStream and waits for the server's word that a message is stored."""

import asyncio
import itertools
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import quote

import msgspec
from msgspec import Struct
from nats.errors import BadSubjectError, MaxPayloadError
from nats.errors import Error as NatsError

from connectors.client import RawMessage, TolerantClient
from connectors.connection import NatsConnection, NatsOptions
from connectors.puback import NoAnswer, NoStream, NotPermitted, PubAck, PublishError, Refused, read_answer, too_large

PATIENCE_S = 30.0
# Beside the server 100 are as quick, over 20,000 messages a second; 1,000 leave room for one that is 10 ms away.
MAX_IN_FLIGHT = 1000
MAX_BYTES_IN_FLIGHT = 16 * 1024 * 1024
# The first retry of what was not acknowledged; each later one waits twice as long.
RETRY_S = 2.0
# A server that is connected, and answers no message for so long, has stopped storing.
SILENT_S = 5.0
SILENCE = "NATS is connected and acknowledges nothing: see whether its disk is full, and what nats-server logs"
RETRY_REFUSED_S = 0.25
# A stream whose leader is being elected does not answer either. Once it has, it exists.
NO_STREAM_GRACE_S = 1.5
TICK_S = 0.1
FLUSH_S = 2

MESSAGE_ID_HEADER = "Nats-Msg-Id"
# The protocol's first line and the empty one, and what stands around a header's name and value.
_HEADERS_BYTES = len("NATS/1.0\r\n\r\n")
_HEADER_BYTES = len(": \r\n")


class Departure(Protocol):
    """What is told of one message on its way, such as a trace."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Sent with the message."""

    def settle(self, error: BaseException | None) -> None:
        """The message has arrived, or this is why not."""


class _Outgoing(Struct, eq=False):
    """A message that is not acknowledged yet.

    Attributes:
        deadline: when it is given up.
        retry_at: when it is sent once more.
        problem: what the last try met, told when it is given up.
    """

    subject: str
    payload: bytes
    headers: dict[str, str]
    size: int
    future: Future[PubAck]
    first_sent_at: float = 0.0
    deadline: float = 0.0
    retry_at: float = 0.0
    tries: int = 0
    problem: PublishError | None = None


class Publisher:
    """Publishes from any thread; it reconnects by itself and sends again what was not acknowledged.

        with Publisher(options) as publisher:
            publisher.publish("workflow.general.message", b"{}", message_id="1")

    Args:
        options: where and as whom.
        patience: how long a message is tried, in seconds; keep it below the stream's duplicate window,
            or let the reader of the stream tell what comes twice.
        max_in_flight: how many messages may wait for their acknowledgement; `publish_soon` blocks at the limit.
        wait_for_stream: take a missing stream for one that is yet to come.
        on_trouble: called on the connection's thread with each complaint, though the message may yet be stored.
        depart: called with the subject of each message that is published.

    Delivery: at least once. A message whose `PubAck` was returned is in the stream. A
    retry carries the id of the first try, so within the stream's duplicate window the
    server stores it once. After `NoAnswer` it may be in the stream or not, and so may
    what was in flight when the process is killed.
    """

    def __init__(
        self,
        options: NatsOptions,
        *,
        patience: float = PATIENCE_S,
        max_in_flight: int = MAX_IN_FLIGHT,
        wait_for_stream: bool = False,
        on_trouble: Callable[[Exception], None] = lambda _: None,
        depart: Callable[[str], Departure] | None = None,
    ) -> None:
        self._depart = depart
        self._connection = NatsConnection(options, on_reconnect=self._reconnected, on_error=self._complained)
        self._patience = patience
        self._max_in_flight = max_in_flight
        self._wait_for_stream = wait_for_stream
        self._on_trouble = on_trouble
        # The server compares ids over the whole stream: nobody must guess ours, or theirs would swallow our message.
        self._id_prefix = secrets.token_hex(8)
        self._inbox = f"{options.inbox_prefix}.{secrets.token_hex(11)}"
        # Shared with the callers' threads, under the lock of `_room`.
        self._room = threading.Condition()
        self._count = 0
        self._bytes = 0
        self._open = False
        self._new: deque[_Outgoing] = deque()
        # Touched on the loop only.
        self._loop: asyncio.AbstractEventLoop
        self._in_flight: dict[str, _Outgoing] = {}
        self._unsent: deque[str] = deque()
        self._numbers = itertools.count()
        self._wake = asyncio.Event()
        self._subscribed: TolerantClient | None = None
        # The connection that what is in flight was sent on; after a reconnect all of it is sent again, in order.
        self._sent_on: tuple[TolerantClient, int] | None = None
        self._acked_once = False
        self._answered_at = 0.0
        self._deaf = ""
        self._tasks: list[asyncio.Task[None]] = []

    def connect(self, *, wait: bool = False, unless: Callable[[], bool] | None = None) -> Self:
        """Connect.

        Args:
            wait: keep trying until a server answers; otherwise raise at the first failure.
            unless: asked meanwhile; once it says yes, nobody waits for an answer any more.

        Raises:
            GivenUp: `unless` said yes.
            NatsUnavailable: no server answered or let us in (only with `wait=False`).
        """
        self._connection.connect(wait=wait, unless=unless)
        self._connection.run(self._start())
        self._open = True
        return self

    @property
    def is_connected(self) -> bool:
        """Whether the connection is up at this moment."""
        return self._open and self._connection.is_connected

    @property
    def in_flight(self) -> int:
        """How many messages wait for their acknowledgement."""
        return self._count

    @property
    def has_room(self) -> bool:
        """Whether `publish_soon` would take a small message at once."""
        with self._room:
            return self._has_room(0)

    @property
    def max_payload(self) -> int:
        """How many bytes the server takes, headers included, as far as it has said."""
        return self._connection.client.max_payload

    def publish(
        self, subject: str, payload: bytes, *, message_id: str, headers: Mapping[str, str] | None = None
    ) -> PubAck:
        """Publish a message and wait until it is stored.

        Raises:
            PublishError: it was not, as far as is known; the subclass and the text say why.
        """
        return self.publish_soon(subject, payload, message_id=message_id, headers=headers).result()

    def publish_soon(
        self, subject: str, payload: bytes, *, message_id: str, headers: Mapping[str, str] | None = None
    ) -> Future[PubAck]:
        """Publish a message without waiting for its acknowledgement; blocks while too many are in flight.

        Returns:
            A future of the acknowledgement, or of the `PublishError`. Its callbacks run on
            the connection's thread, so they must be short and not publish.
        """
        # An id is its subject's own: the server compares over the whole stream. Quoted, since NATS
        # strips a header's value, and two ids must not become one.
        own = f"{self._id_prefix}-{_short(subject)}-{quote(message_id, safe='-_.:~')}"
        departure = self._depart(subject) if self._depart else None
        sent = {**(headers or {}), **(departure.headers if departure else {}), MESSAGE_ID_HEADER: own}
        size = len(payload) + _HEADERS_BYTES + sum(len(k) + len(v.encode()) + _HEADER_BYTES for k, v in sent.items())
        message = _Outgoing(subject, payload, sent, size, Future())
        if departure:
            message.future.add_done_callback(lambda done: departure.settle(done.exception()))
        limit = self._connection.client.max_payload
        if size > limit:
            # The server would end the connection over it.
            message.future.set_exception(too_large(size, limit))
            return message.future
        with self._room:
            self._room.wait_for(lambda: not self._open or self._has_room(size))
            if not self._open:
                text = "the publisher is not connected"
                raise PublishError(text)
            self._count += 1
            self._bytes += size
            self._new.append(message)
            first = len(self._new) == 1
        if first:
            self._loop.call_soon_threadsafe(self._wake.set)
        return message.future

    def _has_room(self, size: int) -> bool:
        return self._count == 0 or (self._count < self._max_in_flight and self._bytes + size <= MAX_BYTES_IN_FLIGHT)

    def flush(self) -> None:
        """Wait until nothing is in flight; what each message came to, its future says."""
        with self._room:
            self._room.wait_for(lambda: self._count == 0)

    def close(self, *, flush: bool = True) -> None:
        """Close the connection.

        Args:
            flush: wait for what is in flight first; otherwise it fails.
        """
        if not self._open:
            return
        if flush:
            self.flush()
        with self._room:
            self._open = False
            self._room.notify_all()
        self._connection.run(self._stop())
        self._connection.close()

    # What follows runs on the loop.

    async def _start(self) -> None:
        await self._subscribe()
        self._sent_on = self._connected_as()
        self._loop = asyncio.get_running_loop()
        self._tasks = [self._loop.create_task(self._send_new()), self._loop.create_task(self._watch())]

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        text = "the publisher was closed before the server acknowledged"
        self._take_new()
        for inbox in list(self._in_flight):
            self._settle(inbox, NoAnswer(text))

    async def _subscribe(self) -> None:
        client = self._connection.client
        self._deaf = ""
        await client.subscribe_raw(f"{self._inbox}.*", self._answered)
        self._subscribed = client
        # A complaint about the inbox has arrived by then: nothing is published that would go unacknowledged.
        with suppress(NatsError):
            await client.flush(FLUSH_S)

    async def _reconnected(self) -> None:
        if self._subscribed is not self._connection.client:
            await self._subscribe()
        self._answered_at = time.monotonic()
        self._unsent = deque(self._in_flight)
        self._sent_on = self._connected_as()
        self._wake.set()

    def _connected_as(self) -> tuple[TolerantClient, int]:
        client = self._connection.client
        return client, client.stats["reconnects"]

    @property
    def _may_send(self) -> bool:
        # Connected again, and not told of it yet: what is in flight comes first.
        return self._connection.is_connected and self._sent_on == self._connected_as()

    def _take_new(self) -> None:
        with self._room:
            taken, self._new = self._new, deque()
        now = time.monotonic()
        for message in taken:
            message.deadline = message.retry_at = now + self._patience
            inbox = f"{self._inbox}.{next(self._numbers)}"
            self._in_flight[inbox] = message
            self._unsent.append(inbox)

    async def _send_new(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._take_new()
            # What is left over for want of a connection is sent after the reconnect.
            while self._unsent and self._may_send:
                await self._send(self._unsent.popleft())

    async def _send(self, inbox: str) -> None:
        message = self._in_flight.get(inbox)
        if message is None:
            return
        if self._deaf:
            self._settle(inbox, NotPermitted(self._deaf))
            return
        now = time.monotonic()
        message.first_sent_at = message.first_sent_at or now
        message.retry_at = now + RETRY_S * 2**message.tries
        message.tries += 1
        client = self._connection.client
        try:
            await client.publish(message.subject, message.payload, reply=inbox, headers=message.headers)
        except MaxPayloadError:
            self._settle(inbox, too_large(message.size, client.max_payload))
        except BadSubjectError:
            text = f"{message.subject!r} is no subject"
            self._settle(inbox, Refused(text))
        except (NatsError, OSError) as error:
            # The connection broke just now: it is sent again after the reconnect.
            message.problem = NoAnswer(str(error))

    def _answered(self, answers: Sequence[RawMessage]) -> None:
        for inbox, _, data, _ in answers:
            self._take_answer(inbox, data)

    def _take_answer(self, inbox: str, data: bytes) -> None:
        message = self._in_flight.get(inbox)
        if message is None:
            return
        outcome, again = read_answer(data, message.subject)
        self._answered_at = now = time.monotonic()
        if isinstance(outcome, PubAck):
            self._acked_once = True
            if message.tries > 1:
                outcome = msgspec.structs.replace(outcome, retried=True)
        elif isinstance(outcome, NoStream):
            is_new = now - message.first_sent_at < NO_STREAM_GRACE_S
            again = is_new or self._acked_once or self._wait_for_stream
            if not is_new:
                self._on_trouble(outcome)
        if isinstance(outcome, PublishError) and again:
            message.problem = outcome
            if not isinstance(outcome, NoStream):
                self._on_trouble(outcome)
            message.retry_at = now + RETRY_REFUSED_S
        else:
            self._settle(inbox, outcome)

    def _complained(self, error: Exception) -> None:
        """Take the server's complaint that something is not permitted: it answers no message with it."""
        text = str(error)
        if "permissions violation" not in text.lower():
            self._on_trouble(error)
            return
        # nats-py has put it in small letters.
        for inbox, message in list(self._in_flight.items()):
            if f'publish to "{message.subject.lower()}"' in text.lower():
                self._settle(inbox, NotPermitted(f"this user may not publish on {message.subject}"))
        if f'subscription to "{self._inbox.lower()}.*"' in text.lower():
            self._deaf = f"this user may not listen for acknowledgements on {self._inbox}.*"
            for inbox in list(self._in_flight):
                self._settle(inbox, NotPermitted(self._deaf))

    async def _watch(self) -> None:
        """Send again what was not acknowledged, and give up what was tried for too long."""
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            self._mind_silence(now)
            for inbox, message in list(self._in_flight.items()):
                if now >= message.deadline:
                    self._settle(inbox, self._gave_up(message))
                elif now >= message.retry_at and self._may_send and not self._unsent:
                    await self._send(inbox)

    def _mind_silence(self, now: float) -> None:
        """Complain where a server that is connected acknowledges nothing, as one whose disk is full."""
        oldest = next(iter(self._in_flight.values()), None)
        if oldest is None or not oldest.first_sent_at or not self._may_send:
            return
        if now - max(oldest.first_sent_at, self._answered_at) > SILENT_S:
            self._on_trouble(NoAnswer(SILENCE))

    def _gave_up(self, message: _Outgoing) -> PublishError:
        if not self._connection.is_connected:
            text = (
                f"NATS could not be reached for {self._patience:g} s: {self._connection.last_error or 'disconnected'}"
            )
            return NoAnswer(text)
        if message.problem:
            return message.problem
        text = f"no acknowledgement for {self._patience:g} s on {message.subject}"
        return NoAnswer(text)

    def _settle(self, inbox: str, outcome: PubAck | PublishError) -> None:
        message = self._in_flight.pop(inbox, None)
        if message is None:
            return
        with self._room:
            self._count -= 1
            self._bytes -= message.size
            self._room.notify_all()
        with suppress(InvalidStateError):
            if isinstance(outcome, PubAck):
                message.future.set_result(outcome)
            else:
                message.future.set_exception(outcome)

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(flush=kind is None)


@lru_cache(maxsize=1_024)
def _short(subject: str) -> str:
    return blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
