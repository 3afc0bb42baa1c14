"""The web's one connection to NATS.

One, since under gevent all event loops of a process share its only thread, and
a thread runs one loop.
"""

import threading

from connectors.connection import NatsConnection, NatsOptions, NatsUnavailable


class Link:
    """A connection that is opened in the background and kept up.

    Args:
        options: where and as whom.
    """

    def __init__(self, options: NatsOptions) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._connection: NatsConnection | None = None

    def start(self) -> NatsConnection:
        """Begin to connect, once, and return without waiting; after the fork of a worker, never before."""
        with self._lock:
            if self._connection is None:
                self._connection = NatsConnection(self._options)
                threading.Thread(target=self._connection.connect, name="link", daemon=True).start()
            return self._connection

    def ping(self, timeout: float) -> None:
        """Ask the server for a sign of life.

        Args:
            timeout: in seconds.

        Raises:
            NatsUnavailable: it gave none.
        """
        connection = self.start()
        if not connection.is_connected:
            raise NatsUnavailable(connection.last_error or "not connected yet")
        connection.run(connection.client.flush(max(1, round(timeout))), timeout)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
