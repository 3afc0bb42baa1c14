"""What goes over a socket: whole text frames, written by many, made once however many watch."""

import threading
from collections.abc import Callable, Hashable
from typing import Any, cast

import msgspec

from web.frame import Item
from web.peer import Peer

# So many frames of a client may wait to be looked at; then nothing more is read of it.
MOST_WAITING = 16
GLANCE_S = 1.0
# A client that takes nothing for so long is cut loose.
STUCK_S = 40.0

_encode = msgspec.json.Encoder().encode


class Wire:
    """A client's socket, written by many, a whole frame at a time.

    Args:
        connection: the server's.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._peer = Peer({"gunicorn.socket": connection})
        self._writing = threading.Lock()
        self._room = threading.Event()
        self.waiting: Callable[[], int] = lambda: 0
        self._closed = False
        self._peer.bound()
        connection.settimeout(STUCK_S)

    def send(self, data: bytes) -> int:
        """Write all of it; waits for the client."""
        with self._writing:
            self._connection.sendall(data)
        return len(data)

    def recv(self, size: int) -> bytes:
        """Read what there is, once what was read before was looked at."""
        while self.waiting() >= MOST_WAITING and not self._closed:
            self._room.clear()
            self._room.wait(GLANCE_S)
        while True:
            try:
                return cast("bytes", self._connection.recv(size))
            except TimeoutError:
                # Who has nothing to say is pinged, and need not speak.
                continue

    def make_room(self) -> None:
        """Note that a frame was looked at."""
        self._room.set()

    def fileno(self) -> int:
        """Return the descriptor."""
        return cast("int", self._connection.fileno())

    def close(self) -> None:
        """Close the connection."""
        self._closed = True
        self._room.set()
        self._connection.close()

    def cut(self) -> None:
        """End the connection at once, whoever is writing."""
        self._closed = True
        self._room.set()
        self._peer.cut()


class Frames:
    """Text frames.

    Args:
        subscription: the client's name for it, which each object then carries.
    """

    def __init__(self, subscription: str | None) -> None:
        self.shared: Hashable = ("frames",) if subscription is None else None
        self._subscription = subscription
        self._tail = b"" if subscription is None else b',"subscription":' + _encode(subscription) + b"}"

    def item(self, item: Item) -> bytes:
        """Return a message."""
        return text_frame(item.data[:-1] + self._tail if self._tail else item.data)

    def control(self, name: str, cursor: int | None, data: object) -> bytes:
        """Return word of the stream itself."""
        more = data if isinstance(data, dict) else {}
        return object_frame(name, subscription=self._subscription, id=None if cursor is None else str(cursor), **more)

    def caught_up(self, cursor: int | None) -> bytes:  # noqa: ARG002  # as its like
        """Return nothing: what is sent is as it was."""
        return b""

    def beat(self) -> bytes:
        """Return nothing: the socket is pinged."""
        return b""

    def retry(self, least: float, most: float) -> bytes:  # noqa: ARG002  # as its like
        """Return nothing: the socket's end says enough."""
        return b""


class Line(Peer):
    """A subscription's part of a socket."""

    def __init__(self, wire: Wire) -> None:
        super().__init__({})
        self._wire = wire

    def cut(self) -> None:
        """End the whole socket at once."""
        self._wire.cut()


def object_frame(op: str | None, **fields: object) -> bytes:
    """Return an object that is no message; a field that is None is left out, save in errors."""
    kept = {name: value for name, value in fields.items() if value is not None or "error" in fields}
    return text_frame(_encode({"op": op, **kept}))


def text_frame(data: bytes) -> bytes:
    """Return a whole text frame as a server sends it."""
    size = len(data)
    if size < 126:
        return b"%c%c%b" % (0x81, size, data)
    if size < 1 << 16:
        return b"%c%c%b%b" % (0x81, 126, size.to_bytes(2), data)
    return b"%c%c%b%b" % (0x81, 127, size.to_bytes(8), data)
