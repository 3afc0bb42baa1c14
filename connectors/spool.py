"""A queue of messages on disk, in order, bounded: what is to be published and not acknowledged yet."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

from connectors.parcel import Parcel, Ticket
from connectors.segment import Kept, Segment

# The queue is cut into so many files, and each is deleted once it is done with.
SEGMENTS = 16
_HEAD = "head"
# For words of our own, which are few: how a run has ended is told, however little room its lines have left.
_SPARE_BYTES = 64 * 1024


class SpoolError(Exception):
    """The queue can't be kept where it should be; the text is one line."""


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
        self._segments: dict[int, Segment] = {}
        self._taken: set[Ticket] = set()
        self._is_changed = False
        # What is taken next.
        self._place = (0, 0)
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
        frame = self._last.frame(parcel)
        if self.size + len(frame) > self._max_bytes + (0 if parcel.origin else _SPARE_BYTES):
            return False
        # The disk may be full.
        with suppress(OSError):
            if self._last.length >= self._segment_bytes:
                self._open(max(self._segments) + 1)
            if self._last.append(frame, parcel):
                self._is_changed = True
                return True
        return False

    def take(self) -> tuple[Ticket, Parcel] | None:
        """Return the next parcel, None where all have been taken; what can't be read is stepped over."""
        while self._seek():
            number, offset = self._place
            try:
                parcel, end = self._segments[number].read(offset)
            except (OSError, ValueError):
                self._give_up(number, offset)
                continue
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
        self._place = (min(self._segments), 0)
        self._taken.clear()
        for segment in self._segments.values():
            segment.forget_ahead()

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
            segment.close()

    @property
    def _last(self) -> Segment:
        return self._segments[max(self._segments)]

    def _recover(self, recovered: Callable[[Parcel], None]) -> None:
        numbers = [0]
        known: dict[int, Kept] = {}
        if self._folder is not None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            numbers = sorted(int(path.stem) for path in self._folder.glob("[0-9]*.spool")) or [0]
            known = self._known(numbers)
        for number in numbers:
            self._open(number, known[number].done if number in known else ())
        for number, segment in self._segments.items():
            for parcel in segment.recover():
                recovered(parcel)
            if number in known:
                self._miss(segment, known[number])
        self._rewind()
        self._tidy()
        self._is_changed = True

    def _known(self, numbers: list[int]) -> dict[int, Kept]:
        """Return what an earlier process kept of the segments; nothing where it can't be read."""
        with suppress(OSError, msgspec.MsgspecError):
            data = ((self._folder or Path()) / _HEAD).read_bytes()
            with suppress(msgspec.MsgspecError):
                return msgspec.json.decode(data, type=dict[int, Kept])
            # As 0.1.0 has written it: everything before this place is done.
            head, end = msgspec.json.decode(data, type=tuple[int, int])
            if head in numbers:
                whole = {number: Kept([(0, sys.maxsize)], {}, 0) for number in numbers if number < head}
                return {**whole, head: Kept([(0, end)], {}, 0)}
        return {}

    def _give_up(self, number: int, offset: int) -> None:
        """Step over the rest of a segment, which can't be read."""
        segment = self._segments[number]
        waited = segment.give_up(offset, [ticket for ticket in self._taken if ticket.segment == number])
        self._is_changed = True
        self._miss(segment, waited)
        self._tidy()

    def _miss(self, segment: Segment, known: Kept) -> None:
        """Tell what waited in a segment and is not in it any more."""
        for origin, first, last in segment.missing(known):
            self._lost(origin, first, last)

    def _seek(self) -> bool:
        """Go to the next parcel that is not done; returns whether there is one."""
        number, offset = self._place
        for each in [other for other in self._segments if other >= number]:
            self._place = (each, self._segments[each].done.end_of(offset if each == number else 0))
            if self._place[1] < self._segments[each].length:
                return True
        return False

    def _open(self, number: int, done: Iterable[tuple[int, int]] = ()) -> None:
        if self._folder is None:
            file = _nameless()
        else:
            file = os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._segments[number] = Segment(file, done)

    def _tidy(self) -> None:
        """Delete the segments that are done; the last one stays, unless it is large."""
        last = max(self._segments)
        for number in [number for number, segment in self._segments.items() if segment.is_done and number != last]:
            self._drop(number)
        if self.is_empty and self._last.length > self._segment_bytes:
            self._open(last + 1)
            self._drop(last)
            self._place = (last + 1, 0)

    def _drop(self, number: int) -> None:
        self._segments.pop(number).close()
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
