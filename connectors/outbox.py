"""Publishes what it is given sooner or later, and never makes the giver wait.

Everything is put into a spool first and sent from there, so that what NATS takes late, or
not at all, is still there for the next process.
"""

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from connectors.connection import NatsOptions
from connectors.parcel import Parcel, Ticket
from connectors.puback import NoAnswer, PubAck, PublishError, Refused, TooLarge
from connectors.publisher import Departure, Publisher
from connectors.spool import Spool

# Nothing acknowledged for so long, with messages on their way: NATS is as good as away.
STALLED_S = 2.0
RETRY_CONNECT_S = 1.0
# A reader of files that can wait does so while more than this is on its way.
ENOUGH_BYTES = 8 * 1024 * 1024
CHECKPOINT_S = 0.25


class Outbox:
    """A spool and the publisher that empties it.

    Args:
        options: where and as whom.
        spool: used by nobody else. What an earlier process left in it is sent first.
        waiting: how many lines wait in the spool already.
        shrink: makes a payload fit into a number of bytes.
        on_trouble: called with each complaint of NATS; from any thread, and the same one again and again.
        on_left: called with a parcel that will never be sent, and why.
        depart: as of `Publisher`.

    Delivery: at least once, in the order of `add`, for what `add` has taken. The process may be
    killed: what was not acknowledged is sent by the next one that opens the spool. What the stream
    refuses for good, and what there is no room for, is reported and left out.
    """

    def __init__(
        self,
        options: NatsOptions,
        spool: Spool,
        *,
        waiting: int = 0,
        shrink: Callable[[bytes, int], bytes | None] = lambda _payload, _limit: None,
        on_trouble: Callable[[Exception], None] = lambda _: None,
        on_left: Callable[[Parcel, PublishError], None] = lambda _parcel, _error: None,
        depart: Callable[[str], Departure] | None = None,
    ) -> None:
        self._depart = depart
        self._options = options
        self._spool = spool
        self._shrink = shrink
        self._on_trouble = on_trouble
        self._on_left = on_left
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._publisher: Publisher | None = None
        self._numbers = itertools.count()
        # To be sent once more, made smaller: before anything else.
        self._again: deque[tuple[Ticket, Parcel]] = deque()
        self._settled_at = time.monotonic()
        self.published = 0
        self.waiting = waiting
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        """Connect, sooner or later, and send."""
        self._thread.start()

    def add(self, parcel: Parcel) -> bool:
        """Take a parcel; returns whether there was room for it. Never waits."""
        with self._changed:
            if not self._spool.append(parcel):
                return False
            self.waiting += parcel.counts
            self._changed.notify_all()
        return True

    @property
    def size(self) -> int:
        """How many bytes wait in the spool."""
        with self._changed:
            return self._spool.size

    @property
    def is_away(self) -> bool:
        """Whether NATS takes nothing just now."""
        publisher = self._publisher
        if publisher is None or not publisher.is_connected:
            return True
        return publisher.in_flight > 0 and time.monotonic() - self._settled_at > STALLED_S

    @property
    def has_enough(self) -> bool:
        """Whether who can wait should: more is on its way than helps, and it gets less."""
        return self._spool.size > ENOUGH_BYTES and not self.is_away

    @property
    def is_empty(self) -> bool:
        """Whether everything is acknowledged or given up."""
        with self._changed:
            return self._spool.is_empty

    def drain(self, deadline: float, *, unless: Callable[[], bool] = lambda: False) -> bool:
        """Wait until everything is acknowledged or given up.

        Args:
            deadline: on the monotonic clock, in seconds.
            unless: asked now and then; nobody waits any longer once it says so.

        Returns:
            Whether nothing is left.
        """
        with self._changed:
            while not self._spool.is_empty and not unless():
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(min(left, 0.2))
            return self._spool.is_empty

    def checkpoint(self) -> None:
        """Keep in mind what is acknowledged, should the process be killed."""
        with self._changed:
            self._spool.checkpoint()

    def close(self) -> None:
        """Stop sending; what is not acknowledged stays in the spool."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        publisher = self._publisher
        if publisher is not None:
            publisher.close(flush=False)
        if self._thread.is_alive():
            self._thread.join()
        with self._changed:
            self._spool.close()

    # What follows runs on the outbox's own thread.

    def _run(self) -> None:
        publisher = self._connect()
        while publisher is not None and not self._closing.is_set():
            try:
                if entry := self._next(publisher):
                    self._send(publisher, *entry)
            except Exception as error:
                # Whatever it is, what else waits is sent.
                text = f"a message that waited can't be sent: {type(error).__name__}: {error}"
                self._on_trouble(PublishError(text))
                self._closing.wait(RETRY_CONNECT_S)

    def _connect(self) -> Publisher | None:
        while not self._closing.is_set():
            publisher = Publisher(
                self._options,
                patience=math.inf,
                wait_for_stream=True,
                on_trouble=self._on_trouble,
                depart=self._depart,
            )
            try:
                publisher.connect(wait=True, unless=self._closing.is_set)
            except OSError as error:
                if not self._closing.is_set():
                    self._on_trouble(error)
                    self._closing.wait(RETRY_CONNECT_S)
            else:
                self._settled_at = time.monotonic()
                self._publisher = publisher
                return publisher
        return None

    def _next(self, publisher: Publisher) -> tuple[Ticket, Parcel] | None:
        """Wait for the next parcel; None once the outbox is closed."""
        with self._changed:
            while not self._closing.is_set():
                if publisher.has_room:
                    if self._again:
                        return self._again.popleft()
                    if entry := self._spool.take():
                        return entry
                self._changed.wait()
            return None

    def _send(self, publisher: Publisher, ticket: Ticket, parcel: Parcel) -> None:
        if publisher.in_flight == 0:
            self._settled_at = time.monotonic()
        # The server compares these over all that this process sends, and a message's own id may be in both channels.
        number = str(next(self._numbers))
        with suppress(PublishError):
            # Otherwise closed meanwhile: it stays in the spool.
            future = publisher.publish_soon(parcel.subject, parcel.payload, message_id=number)
            future.add_done_callback(lambda done: self._settled(publisher, ticket, parcel, done))

    # And this on the connection's.

    def _settled(self, publisher: Publisher, ticket: Ticket, parcel: Parcel, future: Future[PubAck]) -> None:
        error = future.exception()
        if isinstance(error, NoAnswer):
            # Closed before an answer came: it stays in the spool.
            return
        smaller = self._shrunk(publisher, parcel) if isinstance(error, TooLarge) else None
        with self._changed:
            self._settled_at = time.monotonic()
            if smaller is not None:
                self._again.append((ticket, smaller))
            else:
                self._spool.done(ticket)
                self.waiting -= parcel.counts
                self.published += parcel.counts and error is None
            self._changed.notify_all()
        if smaller is not None:
            return
        if isinstance(error, PublishError):
            self._on_left(parcel, error)
        elif error is None and (ack := future.result()).duplicate and not ack.retried:
            text = f"message id conflict: the stream took {parcel.message_id} for a message that it has already"
            self._on_trouble(Refused(text))

    def _shrunk(self, publisher: Publisher, parcel: Parcel) -> Parcel | None:
        payload = self._shrink(parcel.payload, publisher.max_payload)
        if payload is None or len(payload) >= len(parcel.payload):
            return None
        return Parcel(parcel.subject, payload, parcel.message_id, parcel.origin, parcel.line, parcel.counts)
