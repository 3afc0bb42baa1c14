"""A queue of messages on disk, in order, bounded: what is to be published and not acknowledged yet."""

import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from connectors.ranges import Ranges

# The queue is cut into so many files, and each is deleted once it is done with.
SEGMENTS = 16
_HEAD = "head"
_FRAME_BYTES = 8
# For words of our own, which are few: how a run has ended is told, however little room its lines have left.
_SPARE_BYTES = 64 * 1024
_READ_BYTES = 128 * 1024
# Of more ranges in a segment, the first ones are kept in mind.
_MAX_RANGES = 1_000
_CLOSED = -1


class Parcel(Struct, frozen=True, array_like=True):
    """A message on its way, and where it comes from.

    Attributes:
        origin: what the message was read from; empty where nothing can read it again.
        line: the message's place there.
        counts: whether it stands for that line; copies and words of our own don't.
    """

    subject: str
    payload: bytes
    message_id: str
    origin: str = ""
    line: int = 0
    counts: bool = False


class Ticket(NamedTuple):
    """A parcel that was taken: its place in the queue, and the line that it stands for."""

    segment: int
    begin: int
    end: int
    origin: str
    line: int
    counts: bool


class SpoolError(Exception):
    """The queue can't be kept where it should be; the text is one line."""


class _Kept(Struct, array_like=True):
    """What is known of a segment beside it.

    Attributes:
        done: its bytes that are done with.
        lines: those that wait in it, by what they were read from.
        others: how many parcels that count, and stand for no line, wait in it.
    """

    done: list[tuple[int, int]]
    lines: dict[str, list[tuple[int, int]]]
    others: int


class _Segment:
    """A file of the queue.

    Attributes:
        file: open.
        length: of what was written whole.
    """

    def __init__(self, file: int, length: int, done: Iterable[tuple[int, int]] = ()) -> None:
        self.file = file
        self.length = length
        self.done = Ranges(done)
        self.lines: dict[str, Ranges] = {}
        self.others = 0

    @property
    def is_done(self) -> bool:
        return self.done.end_of(0) >= self.length

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

    def cut(self, length: int) -> None:
        """Forget what comes after so many bytes."""
        self.length = length
        self.done = Ranges((begin, min(end, length)) for begin, end in self.done)

    def kept(self) -> _Kept:
        lines = {origin: list(ranges)[:_MAX_RANGES] for origin, ranges in self.lines.items() if ranges}
        return _Kept(list(self.done)[:_MAX_RANGES], lines, self.others)


class Spool:
    """A queue that outlives its process.

    Args:
        folder: of the queue, used by one process at a time; without one it is kept in memory alone.
        max_bytes: how much may wait.
        recovered: called with each parcel that an earlier process left.
        lost: called with what was left and can't be read any more: lines from a first to a last one, and
            what they were read from; where that is empty, how many other parcels, as the last one.

    Delivery: what `append` took is handed out, in order, until `done` was called with its ticket and
    `checkpoint` after that; what was done since the last checkpoint is handed out once more after a
    kill. It survives the death of the process, not of the machine: what is damaged then is stepped
    over, and told.
    """

    def __init__(
        self,
        folder: Path | None,
        max_bytes: int,
        *,
        recovered: Callable[[Parcel], None] = lambda _: None,
        lost: Callable[[str, int, int], None] = lambda _origin, _first, _last: None,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = max(max_bytes // SEGMENTS, 64 * 1024)
        self._lost = lost
        # By their numbers, in order; there is always one.
        self._segments: dict[int, _Segment] = {}
        self._taken: set[Ticket] = set()
        self._is_changed = False
        # What is taken next, and the bytes there that were read already.
        self._place = (0, 0)
        self._ahead = b""
        self._decode = msgspec.msgpack.Decoder(Parcel).decode
        self._encode = msgspec.msgpack.Encoder().encode
        try:
            self._recover(recovered)
        except OSError as error:
            message = f"{folder}: {error.strerror}"
            raise SpoolError(message) from error

    @property
    def size(self) -> int:
        """How many bytes wait, with what is done between them."""
        first = next(iter(self._segments.values()))
        return sum(segment.length for segment in self._segments.values()) - first.done.end_of(0)

    @property
    def is_empty(self) -> bool:
        """Whether everything is done."""
        return all(segment.is_done for segment in self._segments.values())

    def append(self, parcel: Parcel) -> bool:
        """Put a parcel at the end; returns whether there was room for it."""
        body = self._encode(parcel)
        size = _FRAME_BYTES + len(body)
        if self.size + size > self._max_bytes + (0 if parcel.origin else _SPARE_BYTES):
            return False
        try:
            if self._last.length >= self._segment_bytes:
                self._open(max(self._segments) + 1)
            last = self._last
            frame = len(body).to_bytes(4) + zlib.crc32(body).to_bytes(4) + body
            written = os.pwrite(last.file, frame, last.length)
        except OSError:
            # The disk is full.
            return False
        if written < size:
            return False
        last.length += size
        last.wait(parcel)
        self._is_changed = True
        return True

    def take(self) -> tuple[Ticket, Parcel] | None:
        """Return the next parcel, None where all have been taken; what can't be read is stepped over."""
        while self._seek():
            number, offset = self._place
            try:
                body = self._read(self._segments[number], offset)
                parcel = self._decode(body)
            except (OSError, ValueError, msgspec.MsgspecError):
                self._give_up(number, offset)
                continue
            end = offset + _FRAME_BYTES + len(body)
            ticket = Ticket(number, offset, end, parcel.origin, parcel.line, parcel.counts)
            self._place = (number, end)
            self._taken.add(ticket)
            return ticket, parcel
        return None

    def done(self, ticket: Ticket) -> None:
        """Forget a parcel that was taken, in whatever order they are done."""
        self._taken.discard(ticket)
        if (segment := self._segments.get(ticket.segment)) is None:
            return
        segment.finish(ticket)
        self._is_changed = True
        if segment.is_done:
            self._tidy()

    def give_back(self) -> list[Parcel]:
        """Take back what was taken and is not done; returns all that waits then, in order."""
        self._rewind()
        left = []
        while taken := self.take():
            left.append(taken[1])
        self._rewind()
        return left

    def _rewind(self) -> None:
        self._place, self._ahead = (min(self._segments), 0), b""
        self._taken.clear()

    def checkpoint(self) -> None:
        """Keep in mind what is done, should the process be killed."""
        if self._folder is None or not self._is_changed:
            return
        kept = {number: segment.kept() for number, segment in self._segments.items()}
        with suppress(OSError):
            unfinished = self._folder / f"{_HEAD}.unfinished"
            unfinished.write_bytes(msgspec.json.encode(kept))
            unfinished.replace(self._folder / _HEAD)
            self._is_changed = False

    def close(self) -> None:
        """Keep in mind what is done, and close the files."""
        self.checkpoint()
        for segment in self._segments.values():
            if segment.file != _CLOSED:
                os.close(segment.file)
                segment.file = _CLOSED

    @property
    def _last(self) -> _Segment:
        return self._segments[max(self._segments)]

    def _recover(self, recovered: Callable[[Parcel], None]) -> None:
        numbers = [0]
        known: dict[int, _Kept] = {}
        if self._folder is not None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            numbers = sorted(int(path.stem) for path in self._folder.glob("[0-9]*.spool")) or [0]
            known = self._known(numbers)
        for number in numbers:
            self._open(number, known[number].done if number in known else ())
        self._rewind()
        for number in numbers:
            self._check(number, recovered)
            if number in known:
                self._miss(self._segments[number], known[number])
        self._rewind()
        self._tidy()
        self._is_changed = True

    def _known(self, numbers: list[int]) -> dict[int, _Kept]:
        """Return what an earlier process kept of the segments; nothing where it can't be read."""
        with suppress(OSError, msgspec.MsgspecError):
            data = ((self._folder or Path()) / _HEAD).read_bytes()
            with suppress(msgspec.MsgspecError):
                return msgspec.json.decode(data, type=dict[int, _Kept])
            # As 0.1.0 has written it: everything before this place is done.
            head, end = msgspec.json.decode(data, type=tuple[int, int])
            if head in numbers:
                whole = {number: _Kept([(0, sys.maxsize)], {}, 0) for number in numbers if number < head}
                return {**whole, head: _Kept([(0, end)], {}, 0)}
        return {}

    def _check(self, number: int, recovered: Callable[[Parcel], None]) -> None:
        """Read what waits in a segment, and cut off what was not written to its end."""
        segment = self._segments[number]
        segment.cut(segment.length)
        offset, self._ahead = segment.done.end_of(0), b""
        while offset < segment.length:
            try:
                body = self._read(segment, offset)
                parcel = self._decode(body)
            except (ValueError, msgspec.MsgspecError):
                segment.cut(offset)
                os.ftruncate(segment.file, offset)
                break
            segment.wait(parcel)
            recovered(parcel)
            end = offset + _FRAME_BYTES + len(body)
            offset = segment.done.end_of(end)
            if offset > end:
                self._ahead = b""

    def _miss(self, segment: _Segment, known: _Kept) -> None:
        """Tell what waited in a segment and is not in it any more."""
        for origin, lines in known.lines.items():
            missing = Ranges(lines)
            for begin, end in segment.lines.get(origin, ()):
                missing.remove(begin, end)
            for begin, end in missing:
                self._lost(origin, begin, end - 1)
        if known.others > segment.others:
            self._lost("", 1, known.others - segment.others)

    def _give_up(self, number: int, offset: int) -> None:
        """Step over the rest of a segment, which can't be read."""
        segment = self._segments[number]
        waited = segment.kept()
        segment.lines, segment.others = {}, 0
        for ticket in self._taken:
            if ticket.segment == number:
                segment.wait(ticket)
        segment.done.add(offset, segment.length)
        self._is_changed = True
        self._miss(segment, waited)
        self._tidy()

    def _seek(self) -> bool:
        """Go to the next parcel that is not done; returns whether there is one."""
        number, offset = self._place
        for each in [other for other in self._segments if other >= number]:
            start = offset if each == number else 0
            begin = self._segments[each].done.end_of(start)
            if (each, begin) != self._place:
                self._ahead = b""
            self._place = (each, begin)
            if begin < self._segments[each].length:
                return True
        return False

    def _read(self, segment: _Segment, offset: int) -> bytes:
        """Return a parcel's bytes; raises `ValueError` where they are not as they were written."""
        self._read_ahead(segment, offset, _FRAME_BYTES)
        size = int.from_bytes(self._ahead[:4])
        end = _FRAME_BYTES + size
        self._read_ahead(segment, offset, end)
        body = self._ahead[_FRAME_BYTES:end]
        if not size or len(body) < size or zlib.crc32(body) != int.from_bytes(self._ahead[4:_FRAME_BYTES]):
            message = "a parcel was not written to its end"
            raise ValueError(message)
        self._ahead = self._ahead[end:]
        return body

    def _read_ahead(self, segment: _Segment, offset: int, size: int) -> None:
        """Have so many bytes at hand, where there are so many."""
        have = len(self._ahead)
        left = segment.length - offset - have
        if have < size and left > 0:
            wanted = min(max(size - have, _READ_BYTES), left)
            self._ahead += os.pread(segment.file, wanted, offset + have)

    def _open(self, number: int, done: Iterable[tuple[int, int]] = ()) -> None:
        if self._folder is None:
            file = _nameless()
        else:
            file = os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._segments[number] = _Segment(file, os.fstat(file).st_size, done)

    def _tidy(self) -> None:
        """Delete the segments that are done; the last one stays, unless it is large."""
        last = max(self._segments)
        for number in [number for number, segment in self._segments.items() if segment.is_done and number != last]:
            self._drop(number)
        if self.is_empty and self._last.length > self._segment_bytes:
            self._open(last + 1)
            self._drop(last)
            self._place, self._ahead = (last + 1, 0), b""

    def _drop(self, number: int) -> None:
        os.close(self._segments.pop(number).file)
        if self._folder is not None:
            self._path(number).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return (self._folder or Path()) / f"{number:08}.spool"


def _nameless() -> int:
    """Open a file that nobody else can, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("spool")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
