"""A queue of messages on disk, in order, bounded: what is to be published and not acknowledged yet."""

import os
import tempfile
import zlib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

# The queue is cut into so many files, and each is deleted once it is done with.
SEGMENTS = 16
_HEAD = "head"
_FRAME_BYTES = 8
# For words of our own, which are few: how a run has ended is told, however little room its lines have left.
_SPARE_BYTES = 64 * 1024
_READ_BYTES = 128 * 1024


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
    """A parcel that was taken, by its place in the queue."""

    segment: int
    end: int


class SpoolError(Exception):
    """The queue can't be kept where it should be; the text is one line."""


class Spool:
    """A queue that outlives its process.

    Args:
        folder: of the queue, used by one process at a time; without one it is kept in memory alone.
        max_bytes: how much may wait.
        recovered: called with each parcel that an earlier process left.

    Delivery: what `append` took is handed out, in order, until `done` was called with its ticket and
    `checkpoint` after that; what was done since the last checkpoint is handed out once more after a
    kill. It survives the death of the process, not of the machine.
    """

    def __init__(
        self, folder: Path | None, max_bytes: int, *, recovered: Callable[[Parcel], None] = lambda _: None
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = max(max_bytes // SEGMENTS, 64 * 1024)
        # Number of a segment, its open file, its length.
        self._files: dict[int, int] = {}
        self._lengths: dict[int, int] = {}
        self._head = Ticket(0, 0)
        self._saved_head = self._head
        self._taken: deque[Ticket] = deque()
        self._done: set[Ticket] = set()
        self._place = self._head
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
        """How many bytes wait."""
        return sum(self._lengths.values()) - self._head.end

    @property
    def is_empty(self) -> bool:
        """Whether everything is done."""
        return self._head == self._tail

    @property
    def has_more(self) -> bool:
        """Whether something is left to be taken."""
        return self._place != self._tail

    @property
    def _tail(self) -> Ticket:
        last = max(self._lengths)
        if not self._lengths[last] and last - 1 in self._lengths:
            # Begun, and nothing could be written to it yet.
            last -= 1
        return Ticket(last, self._lengths[last])

    def append(self, parcel: Parcel) -> bool:
        """Put a parcel at the end; returns whether there was room for it."""
        body = self._encode(parcel)
        size = _FRAME_BYTES + len(body)
        if self.size + size > self._max_bytes + (0 if parcel.origin else _SPARE_BYTES):
            return False
        last = max(self._lengths)
        length = self._lengths[last]
        try:
            if length >= self._segment_bytes:
                last, length = last + 1, 0
                self._open(last)
            frame = len(body).to_bytes(4) + zlib.crc32(body).to_bytes(4) + body
            written = os.pwrite(self._files[last], frame, length)
        except OSError:
            # The disk is full.
            return False
        if written < size:
            return False
        self._lengths[last] = length + size
        return True

    def take(self) -> tuple[Ticket, Parcel] | None:
        """Return the next parcel, None where all have been taken."""
        if not self.has_more:
            return None
        segment, offset = self._place
        if offset >= self._lengths[segment]:
            segment, offset = segment + 1, 0
            self._ahead = b""
        body = self._read(segment, offset)
        self._place = ticket = Ticket(segment, offset + _FRAME_BYTES + len(body))
        self._taken.append(ticket)
        return ticket, self._decode(body)

    def done(self, ticket: Ticket) -> None:
        """Forget a parcel that was taken, in whatever order they are done."""
        self._done.add(ticket)
        while self._taken and self._taken[0] in self._done:
            self._head = self._taken.popleft()
            self._done.discard(self._head)
        for segment in [number for number in self._files if number < self._head.segment]:
            self._drop(segment)
        if self.is_empty and self._head.end > self._segment_bytes:
            self._begin_anew()

    def give_back(self) -> list[Parcel]:
        """Take back what was taken and is not done; returns all that waits then, in order."""
        self._place, self._ahead = self._head, b""
        self._taken.clear()
        self._done.clear()
        left = []
        while taken := self.take():
            left.append(taken[1])
        self._place, self._ahead = self._head, b""
        self._taken.clear()
        return left

    def checkpoint(self) -> None:
        """Keep in mind what is done, should the process be killed."""
        if self._folder is None or self._head == self._saved_head:
            return
        with suppress(OSError):
            unfinished = self._folder / f"{_HEAD}.unfinished"
            unfinished.write_bytes(msgspec.json.encode(self._head))
            unfinished.replace(self._folder / _HEAD)
            self._saved_head = self._head

    def close(self) -> None:
        """Keep in mind what is done, and close the files."""
        self.checkpoint()
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def _recover(self, recovered: Callable[[Parcel], None]) -> None:
        numbers = [0]
        if self._folder is not None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            numbers = sorted(int(path.stem) for path in self._folder.glob("[0-9]*.spool")) or [0]
            with suppress(OSError, msgspec.MsgspecError):
                self._head = msgspec.json.decode((self._folder / _HEAD).read_bytes(), type=Ticket)
        for number in numbers:
            self._open(number)
        if self._head.segment not in self._lengths:
            self._head = Ticket(numbers[0], 0)
        for number in [number for number in numbers if number < self._head.segment]:
            self._drop(number)
        self._place = self._saved_head = self._head
        self._check(recovered)

    def _check(self, recovered: Callable[[Parcel], None]) -> None:
        """Cut off what a killed process didn't write to its end."""
        for number in sorted(self._lengths):
            offset = self._head.end if number == self._head.segment else 0
            while offset < self._lengths[number]:
                try:
                    body = self._read(number, offset)
                    recovered(self._decode(body))
                except (ValueError, msgspec.MsgspecError):
                    self._lengths[number] = offset
                    os.ftruncate(self._files[number], offset)
                    break
                offset += _FRAME_BYTES + len(body)
            self._ahead = b""
        self._head = min(self._head, self._tail)
        self._place = self._head

    def _read(self, segment: int, offset: int) -> bytes:
        """Return a parcel's bytes; raises `ValueError` where they are not as they were written."""
        self._read_ahead(segment, offset, _FRAME_BYTES)
        size = int.from_bytes(self._ahead[:4])
        end = _FRAME_BYTES + size
        self._read_ahead(segment, offset, end)
        body = self._ahead[_FRAME_BYTES:end]
        if len(body) < size or zlib.crc32(body) != int.from_bytes(self._ahead[4:_FRAME_BYTES]):
            message = "a parcel was not written to its end"
            raise ValueError(message)
        self._ahead = self._ahead[end:]
        return body

    def _read_ahead(self, segment: int, offset: int, size: int) -> None:
        """Have so many bytes at hand, where there are so many."""
        have = len(self._ahead)
        left = self._lengths[segment] - offset - have
        if have < size and left > 0:
            wanted = min(max(size - have, _READ_BYTES), left)
            self._ahead += os.pread(self._files[segment], wanted, offset + have)

    def _open(self, number: int) -> None:
        if self._folder is None:
            file = _nameless()
        else:
            file = os.open(self._path(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._files[number] = file
        self._lengths[number] = os.fstat(file).st_size

    def _drop(self, number: int) -> None:
        os.close(self._files.pop(number))
        del self._lengths[number]
        if self._folder is not None:
            self._path(number).unlink(missing_ok=True)

    def _begin_anew(self) -> None:
        """Give the space of an empty queue back."""
        last = self._head.segment
        self._open(last + 1)
        self._drop(last)
        self._head = self._place = Ticket(last + 1, 0)
        self._ahead = b""

    def _path(self, number: int) -> Path:
        return (self._folder or Path()) / f"{number:08}.spool"


def _nameless() -> int:
    """Open a file that nobody else can, in memory where the system has such."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("spool")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
