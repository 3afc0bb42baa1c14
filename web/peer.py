"""The other end of a live connection."""

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

# A client that is gone without a word is noticed after so long, and a slow one holds no more than so much.
UNACKNOWLEDGED_MS = 30_000
SEND_BUFFER_BYTES = 256 * 1024


class Peer:
    """The client's socket, where the server shows it.

    Args:
        environ: the WSGI request's.
    """

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._socket: socket.socket | None = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")

    def stream(self, frames: Callable[[Callable[[], None]], Iterator[bytes]]) -> Iterator[bytes]:
        """Yield a stream's bytes; the connection ends with it.

        Args:
            frames: is given what ends the connection, though it is stuck in a write.
        """
        self._bound()
        yield from frames(self.cut)
        # Nothing more is read, or the server would wait for a next request and its end for that.
        self._shut(socket.SHUT_RD)

    def cut(self) -> None:
        """End the connection at once."""
        self._shut(socket.SHUT_RDWR)

    def _bound(self) -> None:
        if self._socket is not None:
            # A Unix socket has neither.
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)

    def _shut(self, how: int) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(how)
