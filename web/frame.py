"""What goes over the wire to live clients: server-sent events, encoded once however many watch."""

import logging
import random
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

import msgspec

from flows.message import Event
from web.queries import RunRow
from web.render import message_html, run_html

log = logging.getLogger(__name__)

COMMENT = b":\n\n"
# What is written at once: enough to be cheap, little enough to see that a client still reads.
PIECE_BYTES = 64 * 1024

_encode = msgspec.json.Encoder().encode


class Item:
    """One event or run, encoded.

    Attributes:
        seq: the live cursor that it moves a client to.
        data: its JSON object.
        born: when it was stored; None for a run.
    """

    __slots__ = ("_frame", "_frame_with_html", "_html", "born", "data", "seq")

    def __init__(self, seq: int, data: bytes, html: Callable[[], str], born: datetime | None = None) -> None:
        self.seq = seq
        self.data = data
        self.born = born
        self._html = html
        self._frame: bytes | None = None
        self._frame_with_html: bytes | None = None

    def frame(self, *, with_html: bool) -> bytes:
        """Return the server-sent event, with the key `html` in its data where that is asked for.

        Empty where the fragment cannot be made.
        """
        if with_html:
            if self._frame_with_html is None:
                html = self._rendered()
                self._frame_with_html = html and _frame(self.seq, self.data[:-1] + b',"html":' + html + b"}")
            return self._frame_with_html
        if self._frame is None:
            self._frame = _frame(self.seq, self.data)
        return self._frame

    def _rendered(self) -> bytes:
        try:
            return _encode(self._html())
        except Exception:
            # One message that cannot be shown must not end the view of all the others, again at each reconnect.
            log.exception("message %s cannot be rendered", self.seq)
            return b""


def message_item(event: Event) -> Item:
    """Encode a message."""
    return Item(event.seq, _encode(event), lambda: message_html(event), event.created_at)


def run_item(run: RunRow, seq: int) -> Item:
    """Encode a run as it is at a cursor."""
    return Item(seq, _encode({"run": run}), lambda: run_html(run))


class Chunk:
    """Items that go to a client together, shared by all clients that watch the same.

    Attributes:
        items: in commit order, at least one.
        size: bytes of JSON.
    """

    __slots__ = ("_pieces", "items", "size")

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self.size = sum(len(item.data) for item in items)
        self._pieces: dict[bool, list[bytes]] = {}

    def later_than(self, cursor: int) -> "Chunk | None":
        """Return what of it comes after a cursor; None where nothing does."""
        if self.items[0].seq > cursor:
            return self
        later = [item for item in self.items if item.seq > cursor]
        return Chunk(later) if later else None

    def pieces(self, *, with_html: bool) -> list[bytes]:
        """Return the bytes to write, joined to pieces of a good size."""
        if with_html not in self._pieces:
            self._pieces[with_html] = list(_join(item.frame(with_html=with_html) for item in self.items))
        return self._pieces[with_html]


def control(name: str, cursor: int | None, data: object) -> bytes:
    """Return a control event, which repeats the stream's cursor."""
    # Without a cursor there is no id: an empty one would have the client forget its own.
    head = f"event: {name}\n".encode()
    return b"%bdata: %b\n\n" % (head, _encode(data)) if cursor is None else _frame(cursor, _encode(data), head)


def retry(least: float, most: float) -> bytes:
    """Tell the client to wait a random time in seconds before it comes again, so that not all come at once."""
    return b"retry: %d\n\n" % random.randint(int(least * 1000), int(most * 1000))  # noqa: S311  # no secret


def _frame(cursor: int, data: bytes, head: bytes = b"") -> bytes:
    return b"%bid: %b\ndata: %b\n\n" % (head, str(cursor).encode(), data)


def _join(frames: Iterable[bytes]) -> Iterator[bytes]:
    # No empty piece: in a chunked answer that would be the end.
    piece: list[bytes] = []
    size = 0
    for frame in filter(None, frames):
        if piece and size + len(frame) > PIECE_BYTES:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(frame)
        size += len(frame)
    if piece:
        yield b"".join(piece)
