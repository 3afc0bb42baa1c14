"""What goes over the wire to live clients: server-sent events, encoded once however many watch."""

import logging
import random
from collections.abc import Callable, Hashable, Iterable, Iterator
from datetime import datetime
from typing import Protocol

import msgspec

from flows.message import Event
from web.queries import RunRow
from web.render import message_html, run_html
from web.usage import without_sum

log = logging.getLogger(__name__)

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

    __slots__ = ("_frames", "_html", "born", "data", "seq")

    def __init__(self, seq: int, data: bytes, html: Callable[[], str], born: datetime | None = None) -> None:
        self.seq = seq
        self.data = data
        self.born = born
        self._html = html
        self._frames: dict[Hashable, bytes] = {}

    def frame(self, form: "Form") -> bytes:
        """Return what is written of it; empty where it cannot be made."""
        if form.shared is None:
            return form.item(self)
        if form.shared not in self._frames:
            self._frames[form.shared] = form.item(self)
        return self._frames[form.shared]

    def html(self) -> bytes:
        """Return its fragment of the page as JSON text; empty where it cannot be made."""
        try:
            return _encode(self._html())
        except Exception:
            # One message that cannot be shown must not end the view of all the others, again at each reconnect.
            todo = "report it with this line; the others are shown"
            log.exception("message %s cannot be rendered", self.seq, extra={"seq": self.seq, "todo": todo})
            return b""


def message_item(event: Event) -> Item:
    """Encode a message."""
    return Item(event.seq, _encode(event), lambda: message_html(event), event.created_at)


def run_item(run: RunRow, seq: int) -> Item:
    """Encode a run as it is at a cursor."""
    return Item(seq, _encode({"run": without_sum(run)}), lambda: run_html(run))


class Form(Protocol):
    """How a connection writes what it has to say.

    Attributes:
        shared: connections whose forms have the same write the same bytes; None where nobody else's form is alike.
    """

    shared: Hashable

    def item(self, item: Item) -> bytes:
        """Return an event or run; empty where it cannot be written."""

    def control(self, name: str, cursor: int | None, data: object) -> bytes:
        """Return word of the stream itself, which repeats its cursor."""

    def caught_up(self, cursor: int | None) -> bytes:
        """Say that all that was stored is sent, and what follows is live; empty where the client doesn't ask."""

    def beat(self) -> bytes:
        """Return a sign of life; empty where the connection has another."""

    def retry(self, least: float, most: float) -> bytes:
        """Tell the client when to come again, in seconds; empty where it has to know."""


class ServerSentEvents:
    """Server-sent events.

    Args:
        with_html: the data holds each item's fragment of the page too.
    """

    def __init__(self, *, with_html: bool) -> None:
        self.shared: Hashable = ("sse", with_html)
        self._with_html = with_html

    def item(self, item: Item) -> bytes:
        """Return an event."""
        if not self._with_html:
            return _event(item.seq, item.data)
        html = item.html()
        return html and _event(item.seq, item.data[:-1] + b',"html":' + html + b"}")

    def control(self, name: str, cursor: int | None, data: object) -> bytes:
        """Return an event with a name."""
        # Without a cursor there is no id: an empty one would have the client forget its own.
        head = f"event: {name}\n".encode()
        return b"%bdata: %b\n\n" % (head, _encode(data)) if cursor is None else _event(cursor, _encode(data), head)

    def caught_up(self, cursor: int | None) -> bytes:
        """Tell a page, which counts what it has missed."""
        return self.control("caught-up", cursor, {}) if self._with_html else b""

    def beat(self) -> bytes:
        """Return a comment, and for a page, which sees no comment, an event."""
        return b":\n\nevent: alive\ndata: {}\n\n" if self._with_html else b":\n\n"

    def retry(self, least: float, most: float) -> bytes:
        """Have the client wait a random while before it comes again, so that not all come at once."""
        return b"retry: %d\n\n" % random.randint(int(least * 1000), int(most * 1000))  # noqa: S311  # no secret


SSE = ServerSentEvents(with_html=False)
SSE_WITH_HTML = ServerSentEvents(with_html=True)


class Chunk:
    """Items that go to a client together, shared by all clients that watch the same.

    Attributes:
        items: in commit order, at least one.
        size: bytes of JSON.
    """

    __slots__ = ("_pieces", "_wire", "items", "size")

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self.size = sum(len(item.data) for item in items)
        self._pieces: dict[Hashable, list[bytes]] = {}
        self._wire: dict[Hashable, bytes] = {}

    def later_than(self, cursor: int) -> "Chunk | None":
        """Return what of it comes after a cursor; None where nothing does."""
        if self.items[0].seq > cursor:
            return self
        later = [item for item in self.items if item.seq > cursor]
        return Chunk(later) if later else None

    def pieces(self, form: Form) -> list[bytes]:
        """Return the bytes to write, joined to pieces of a good size."""
        if form.shared is None:
            return list(_join(item.frame(form) for item in self.items))
        if form.shared not in self._pieces:
            self._pieces[form.shared] = list(_join(item.frame(form) for item in self.items))
        return self._pieces[form.shared]

    def wire(self, form: Form, encode: Callable[[bytes], bytes]) -> bytes:
        """Return all of it as it stands on the wire.

        Args:
            form: one that is shared.
            encode: the transfer coding of a piece.
        """
        key = form.shared, encode
        if key not in self._wire:
            self._wire[key] = b"".join(map(encode, self.pieces(form)))
        return self._wire[key]


def _event(cursor: int, data: bytes, head: bytes = b"") -> bytes:
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
