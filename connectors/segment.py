"""A file of a queue: parcels one after the other, what of them is done with, and what still waits."""

import os
import zlib
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from connectors.parcel import Parcel, Ticket
from connectors.ranges import Ranges

# Before each parcel: its length and its checksum, four bytes each.
_HEAD_BYTES = 8
_READ_BYTES = 128 * 1024
# Of more ranges, the first ones are kept in mind.
_MAX_RANGES = 1_000
_CLOSED = -1


class Kept(Struct, array_like=True):
    """What is known of a segment beside it.

    Attributes:
        done: its bytes that are done with.
        lines: those that wait in it, by what they were read from.
        others: how many parcels that count, and stand for no line, wait in it.
    """

    done: list[tuple[int, int]]
    lines: dict[str, list[tuple[int, int]]]
    others: int


class Segment:
    """A file of the queue.

    Args:
        file: open to read and write; the segment closes it.
        done: its bytes that are done with already.

    Attributes:
        length: of what was written whole.
        done: the bytes that are done with.
        lines: those that wait in it, by what they were read from.
        others: how many parcels that count, and stand for no line, wait in it.
    """

    def __init__(self, file: int, done: Iterable[tuple[int, int]] = ()) -> None:
        self._file = file
        self.length = os.fstat(file).st_size
        self.done = Ranges(done)
        self.lines: dict[str, Ranges] = {}
        self.others = 0
        # What was read already, and where it begins.
        self._ahead, self._ahead_at = b"", 0
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Parcel).decode

    @property
    def is_done(self) -> bool:
        """Whether nothing waits in it."""
        return self.done.end_of(0) >= self.length

    def frame(self, parcel: Parcel) -> bytes:
        """Return a parcel as it is written."""
        body = self._encode(parcel)
        return len(body).to_bytes(4) + zlib.crc32(body).to_bytes(4) + body

    def append(self, frame: bytes, parcel: Parcel) -> bool:
        """Write a parcel at the end; returns whether it could be, raises `OSError` where the disk doesn't take it."""
        if os.pwrite(self._file, frame, self.length) < len(frame):
            return False
        self.length += len(frame)
        self.wait(parcel)
        return True

    def read(self, offset: int) -> tuple[Parcel, int]:
        """Return the parcel at a place, and where it ends.

        Raises:
            ValueError: it is not as it was written.
            OSError: the disk doesn't give it.
        """
        if offset != self._ahead_at:
            self._ahead, self._ahead_at = b"", offset
        self._read_ahead(_HEAD_BYTES)
        size = int.from_bytes(self._ahead[:4])
        end = _HEAD_BYTES + size
        self._read_ahead(end)
        body = self._ahead[_HEAD_BYTES:end]
        if not size or len(body) < size or zlib.crc32(body) != int.from_bytes(self._ahead[4:_HEAD_BYTES]):
            message = "a parcel was not written to its end"
            raise ValueError(message)
        parcel = self._decode(body)
        self._ahead, self._ahead_at = self._ahead[end:], offset + end
        return parcel, offset + end

    def _read_ahead(self, size: int) -> None:
        """Have so many bytes at hand, where there are so many."""
        have = len(self._ahead)
        left = self.length - self._ahead_at - have
        if have < size and left > 0:
            wanted = min(max(size - have, _READ_BYTES), left)
            self._ahead += os.pread(self._file, wanted, self._ahead_at + have)

    def forget_ahead(self) -> None:
        """Read anew what is asked for next."""
        self._ahead, self._ahead_at = b"", 0

    def wait(self, parcel: Parcel | Ticket) -> None:
        """Note that a parcel waits in it."""
        if parcel.counts and parcel.line:
            self.lines.setdefault(parcel.origin, Ranges()).add(parcel.line, parcel.line + 1)
        elif parcel.counts:
            self.others += 1

    def finish(self, ticket: Ticket) -> None:
        """Note that a parcel is done with."""
        self.done.add(ticket.begin, ticket.end)
        if ticket.counts and ticket.line:
            if lines := self.lines.get(ticket.origin):
                lines.remove(ticket.line, ticket.line + 1)
        elif ticket.counts:
            self.others -= 1

    def recover(self) -> Iterable[Parcel]:
        """Yield and note what waits in it, and cut off what was not written to its end."""
        self._cut(self.length)
        offset = self.done.end_of(0)
        while offset < self.length:
            try:
                parcel, end = self.read(offset)
            except ValueError:
                self._cut(offset)
                os.ftruncate(self._file, offset)
                break
            self.wait(parcel)
            yield parcel
            offset = self.done.end_of(end)

    def _cut(self, length: int) -> None:
        """Forget what comes after so many bytes."""
        self.length = length
        self.done = Ranges((begin, min(end, length)) for begin, end in self.done)
        self.forget_ahead()

    def give_up(self, offset: int, taken: Iterable[Ticket]) -> Kept:
        """Be done with all from a place on, save for the lines of what was taken; returns what waited before."""
        waited = self.kept()
        self.lines, self.others = {}, 0
        for ticket in taken:
            self.wait(ticket)
        self.done.add(offset, self.length)
        return waited

    def kept(self) -> Kept:
        """Return what is to be known of it beside it."""
        lines = {origin: list(ranges)[:_MAX_RANGES] for origin, ranges in self.lines.items() if ranges}
        return Kept(list(self.done)[:_MAX_RANGES], lines, self.others)

    def missing(self, known: Kept) -> Iterable[tuple[str, int, int]]:
        """Yield what waited in it once and doesn't any more: an origin, and a first and a last line of it.

        Where the origin is empty, how many other parcels, as the last line.
        """
        for origin, lines in known.lines.items():
            missing = Ranges(lines)
            for begin, end in self.lines.get(origin, ()):
                missing.remove(begin, end)
            for begin, end in missing:
                yield origin, begin, end - 1
        if known.others > self.others:
            yield "", 1, known.others - self.others

    def close(self) -> None:
        """Close its file, once."""
        if self._file != _CLOSED:
            os.close(self._file)
            self._file = _CLOSED
