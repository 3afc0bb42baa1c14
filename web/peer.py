"""The other end of a live connection."""

import socket
import ssl
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

    Attributes:
        encode: the transfer coding that the server gives each piece of this answer.
        is_prompt: whether `send_now` may be used.
    """

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._socket: socket.socket | None = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        # Under gevent the one that never waits lies inside the one that does.
        self._raw: socket.socket | None = getattr(self._socket, "_sock", self._socket)
        self.encode: Callable[[bytes], bytes] = _chunk if environ.get("SERVER_PROTOCOL") == "HTTP/1.1" else _plain
        # Whether another server would give the answer this coding is not known here.
        self.is_prompt = "gunicorn.socket" in environ and not isinstance(self._socket, ssl.SSLSocket)

    @property
    def has_left(self) -> bool:
        """Whether the client says no more: one that watches says so by leaving."""
        if self._raw is None or isinstance(self._raw, ssl.SSLSocket):
            return False
        try:
            return not self._raw.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def stream(self, frames: Callable[["Peer"], Iterator[bytes]]) -> Iterator[bytes]:
        """Yield a stream's bytes; the connection ends with it."""
        self.bound()
        yield from frames(self)
        # Nothing more is read, or the server would wait for a next request and its end for that.
        self._shut(socket.SHUT_RD)

    def send_now(self, data: bytes) -> memoryview | None:
        """Send what the kernel takes at once, while the stream writes nothing; return what is left, if anything is.

        It goes past the server, so `data` has the transfer coding of `encode`.

        Raises:
            OSError: the client is gone.
        """
        if self._raw is None:
            return memoryview(data)
        try:
            sent = self._raw.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        return None if sent == len(data) else memoryview(data)[sent:]

    def send_rest(self, rest: memoryview) -> None:
        """Send what `send_now` has left; waits for the client."""
        if self._socket is not None:
            self._socket.sendall(rest)

    def cut(self) -> None:
        """End the connection at once."""
        self._shut(socket.SHUT_RDWR)

    def bound(self) -> None:
        """Bound what the kernel holds for a client, and how long it waits for one that is gone."""
        if self._socket is not None:
            # A Unix socket has neither.
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS)

    def _shut(self, how: int) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(how)


def _chunk(piece: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def _plain(piece: bytes) -> bytes:
    return piece
