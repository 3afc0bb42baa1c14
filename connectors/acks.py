"""Acks by subject: whoever holds a message's reply can ack it, in whatever process."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress

from nats.errors import Error as NatsError

from connectors.connection import NatsConnection, NatsOptions

log = logging.getLogger(__name__)

ACK = b"+ACK"
IN_PROGRESS = b"+WPI"
FLUSH_TIMEOUT_S = 5.0


class JetStreamAcks:
    """Publishes acks over one connection, however many sinks share it.

    An ack that is lost on the way costs a redelivery, never a message.

    Args:
        options: how to reach NATS.
    """

    def __init__(self, options: NatsOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._users = 0
        self._connection: NatsConnection | None = None

    def open(self) -> None:
        """Connect, where no other user has; each `open` is owed a `close`."""
        with self._lock:
            if self._connection is None:
                self._connection = NatsConnection(self._options).connect()
            self._users += 1

    def ack(self, replies: Sequence[str]) -> None:
        """Tell the server that these messages are safe; returns at once."""
        self._send(replies, ACK)

    def in_progress(self, replies: Sequence[str]) -> None:
        """Tell the server that these messages are still being worked on; returns at once.

        Said while there is a connection only: what waits for one would pile up with each repetition.
        """
        if self._connection is not None and self._connection.is_connected:
            self._send(replies, IN_PROGRESS)

    def close(self) -> None:
        """Let the last user wait until the server has every ack, then disconnect."""
        with self._lock:
            self._users -= 1
            if self._users or self._connection is None:
                return
            connection, self._connection = self._connection, None
        with suppress(NatsError, TimeoutError, OSError):
            connection.run(connection.client.flush(), timeout=FLUSH_TIMEOUT_S)
        connection.close()

    def _send(self, replies: Sequence[str], word: bytes) -> None:
        if not replies:
            return
        if self._connection is None:
            message = "acks are sent between open() and close()"
            raise RuntimeError(message)
        sent = self._connection.submit(self._connection.client.publish_each(replies, word))
        sent.add_done_callback(_note_failure)


def _note_failure(done: "Future[None]") -> None:
    error = done.exception()
    if error is not None:
        todo = "see to NATS; what comes again is known, and stored once"
        log.warning("acks: not sent, so these messages will come again: %s", error, extra={"todo": todo})
