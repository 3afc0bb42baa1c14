"""The web's one connection to NATS.

One, since under gevent all event loops of a process share its only thread, and
a thread runs one loop.
"""

import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NoResult
from contextlib import suppress
from urllib.parse import quote

from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, NoRespondersError

from connectors.connection import NatsConnection, NatsOptions, NatsUnavailable
from connectors.puback import NoAnswer, NoStream, PublishError, read_answer, too_large
from connectors.publisher import MESSAGE_ID_HEADER, Departure

# How long the stream may take to store a message.
PUBLISH_S = 3.0


class Link:
    """A connection that is opened in the background and kept up.

    Args:
        options: where and as whom.
    """

    def __init__(self, options: NatsOptions) -> None:
        self._options = options
        # Called with the subject of each message that is published; what it returns is told how that ended.
        self.depart: Callable[[str], Departure] | None = None
        self._lock = threading.Lock()
        self._connection: NatsConnection | None = None
        # The server compares ids over the whole stream: ours begin with what nobody can guess.
        self._nonce = secrets.token_urlsafe(16)

    def start(self) -> NatsConnection:
        """Begin to connect, once, and return without waiting; after the fork of a worker, never before."""
        with self._lock:
            if self._connection is None:
                self._connection = NatsConnection(self._options)
                threading.Thread(target=_connect, args=[self._connection], name="link", daemon=True).start()
            return self._connection

    @property
    def is_connected(self) -> bool:
        """Whether the connection is up at this moment."""
        return self._connection is not None and self._connection.is_connected

    @property
    def server_certificate(self) -> bytes | None:
        """The certificate that the server has shown, DER; None where there is none."""
        return self._connection.server_certificate if self._connection else None

    def ping(self, timeout: float) -> None:
        """Ask the server for a sign of life.

        Args:
            timeout: in seconds.

        Raises:
            NatsUnavailable: it gave none.
        """
        connection = self._connected()
        connection.run(connection.client.flush(max(1, round(timeout))), timeout)

    def publish(self, subject: str, payload: bytes, message_id: str) -> None:
        """Publish a message and wait until the stream has stored it.

        Args:
            subject: where to.
            payload: what.
            message_id: by which the server knows a repetition of it on this subject.

        Raises:
            NatsUnavailable: there is no connection; nothing was sent.
            PublishError: the message was not stored, as far as is known.
        """
        connection = self._connected()
        # A header's value is one line of ASCII.
        headers = {MESSAGE_ID_HEADER: f"{self._nonce}:{subject}:{quote(message_id)}"}
        if self.depart is None:
            self._publish(connection, subject, payload, headers)
            return
        departure = self.depart(subject)
        try:
            self._publish(connection, subject, payload, {**departure.headers, **headers})
        except BaseException as error:
            departure.settle(error)
            raise
        departure.settle(None)

    def _publish(self, connection: NatsConnection, subject: str, payload: bytes, headers: Mapping[str, str]) -> None:
        try:
            answer = connection.run(self._ask(connection, subject, payload, headers), 2 * PUBLISH_S)
        except MaxPayloadError:
            raise too_large(len(payload), connection.client.max_payload) from None
        except NoRespondersError:
            message = f"no stream takes {subject}"
            raise NoStream(message) from None
        except (NatsError, OSError, NoResult) as error:
            message = "NATS did not say in time that the message is stored"
            raise NoAnswer(message) from error
        outcome, _ = read_answer(answer.data, subject)
        if isinstance(outcome, PublishError):
            raise outcome

    async def _ask(self, connection: NatsConnection, subject: str, payload: bytes, headers: Mapping[str, str]) -> Msg:
        return await connection.client.request(subject, payload, timeout=PUBLISH_S, headers=dict(headers))

    def _connected(self) -> NatsConnection:
        connection = self.start()
        if not connection.is_connected:
            raise NatsUnavailable(connection.last_error or "not connected yet")
        return connection

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()


def _connect(connection: NatsConnection) -> None:
    # It may be closed before a server has answered.
    with suppress(CancelledError):
        connection.connect()
