"""Follows a file that somebody else writes, line by line, whatever happens to it meanwhile."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from connectors.lines import MAX_LINE_BYTES, Line, LineCutter

CHUNK_BYTES = 256 * 1024
# So many bytes before a position tell whether the file is still the one that was read.
MARK_BYTES = 64
_NONE = -1


class Position(Struct, frozen=True):
    """How far a file was read; with it a later process goes on.

    Attributes:
        offset: of the first byte that is in no line yet.
        line: the number of the last line before it.
        mark: the bytes before the offset.
        life: how often the file has begun again at line 1.
    """

    device: int
    inode: int
    offset: int
    line: int
    mark: bytes = b""
    life: int = 0


class FollowedFile:
    """A file that may not exist yet, grow, be truncated, be rotated, be replaced.

    Rotated by renaming, its lines are counted on: the old file is read to its end, then the
    new one. Truncated, overwritten or replaced by another file, it begins again at line 1 and
    `life` grows. Nothing here waits: `read` returns what is there.

    Args:
        path: of the file.
        position: where an earlier process came to.
        max_line_bytes: a longer line is counted, and its content lost.

    Delivery: each line once, in order, for as long as the process lives and a file that is
    rotated or replaced is not gone before it is read; after a kill, from the position given.
    """

    def __init__(self, path: Path, position: Position | None = None, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.path = path
        self.life = position.life if position else 0
        self._resume = position
        self._max_line_bytes = max_line_bytes
        self._file = _NONE
        self._identity = (0, 0)
        self._offset = 0
        self._mark = b""
        self._touched = (-1, -1)
        self._cutter = LineCutter(0, max_line_bytes)

    @property
    def was_found(self) -> bool:
        """Whether the file has ever been there."""
        return self._file != _NONE

    @property
    def position(self) -> Position | None:
        """Where the next line begins; None before the file has been found."""
        if self._file == _NONE:
            return self._resume
        begun = self._cutter.unfinished_bytes
        mark = self._mark[: len(self._mark) - begun] if begun < len(self._mark) else b""
        return Position(*self._identity, self._offset - begun, self._cutter.number, mark, self.life)

    def read(self, limit: int = CHUNK_BYTES) -> list[Line]:
        """Return the next whole lines, all of one life; none where nothing new is there.

        Args:
            limit: about how many bytes are read; more where a line has more.

        Raises:
            OSError: the file can't be read, now.
        """
        if self._file == _NONE and not self._find():
            return []
        return self._read_on(limit) or self._move_on(limit)

    def end(self) -> list[Line]:
        """Return the last line, though nothing ends it, once `read` has nothing more.

        The position stays before that line, should it be finished after all.
        """
        return self._cutter.peek()

    def close(self) -> None:
        """Close the file."""
        if self._file != _NONE:
            os.close(self._file)
            self._file = _NONE

    def _read_on(self, limit: int) -> list[Line]:
        """Read the open file, from the beginning where it was truncated or overwritten."""
        now = os.fstat(self._file)
        touched = (now.st_size, now.st_mtime_ns)
        if touched == self._touched and now.st_size <= self._offset:
            return []
        if now.st_size < self._offset or not self._is_as_read(self._file, self._offset, self._mark):
            # What was never finished belongs to the life before.
            return self._cutter.flush() or self._begin_anew(limit)
        self._touched = touched
        lines: list[Line] = []
        while (limit > 0 or not lines) and (data := os.pread(self._file, CHUNK_BYTES, self._offset)):
            limit -= len(data)
            self._offset += len(data)
            self._mark = (self._mark + data)[-MARK_BYTES:]
            lines += self._cutter.feed(data)
        return lines

    @staticmethod
    def _is_as_read(file: int, offset: int, mark: bytes) -> bool:
        return os.pread(file, len(mark), offset - len(mark)) == mark

    def _begin_anew(self, limit: int) -> list[Line]:
        self._settle(self._file, Position(0, 0, 0, 0, b"", self.life + 1))
        return self._read_on(limit)

    def _move_on(self, limit: int) -> list[Line]:
        """Go on with the file that has taken the path's place, if one has, once this one is read to its end."""
        try:
            new = self.path.stat()
        except OSError:
            return []
        # While the new one is empty its writer may still be writing to the old one.
        if (new.st_dev, new.st_ino) == self._identity or new.st_size == 0:
            return []
        if lines := self._read_on(limit) or self._cutter.flush():
            return lines
        # Rotated, the old one goes by another name; otherwise it was replaced.
        rotated = os.fstat(self._file).st_nlink > 0
        place = Position(0, 0, 0, self._cutter.number if rotated else 0, b"", self.life if rotated else self.life + 1)
        file = self._open(self.path)
        os.close(self._file)
        self._settle(file, place)
        return self._read_on(limit)

    def _find(self) -> bool:
        """Open the file, where an earlier process left off if it is still the same."""
        place = self._resume
        if place is None:
            return self._begin(0)
        found = self._kept(place)
        if found is None:
            return self._begin(place.life + 1)
        self._settle(found, place)
        return True

    def _begin(self, life: int) -> bool:
        try:
            file = self._open(self.path)
        except FileNotFoundError:
            return False
        self._settle(file, Position(0, 0, 0, 0, b"", life))
        return True

    def _kept(self, place: Position) -> int | None:
        """Open the file of a position, by whatever name it goes now; None where its content is gone."""
        for path in [self.path, *self._siblings()]:
            with suppress(OSError):
                named = path.stat()
                if (named.st_dev, named.st_ino) != (place.device, place.inode):
                    continue
                file = self._open(path)
                if named.st_size >= place.offset and self._is_as_read(file, place.offset, place.mark):
                    return file
                os.close(file)
        return None

    def _siblings(self) -> list[Path]:
        try:
            return [path for path in self.path.parent.iterdir() if path.name.startswith(self.path.name)]
        except OSError:
            return []

    @staticmethod
    def _open(path: Path) -> int:
        # A pipe that nobody writes to would have us wait.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            message = f"{path} is no regular file"
            raise OSError(message)
        return file

    def _settle(self, file: int, place: Position) -> None:
        opened = os.fstat(file)
        self._file = file
        self._identity = (opened.st_dev, opened.st_ino)
        self._offset, self._mark, self.life = place.offset, place.mark, place.life
        self._touched = (-1, -1)
        self._cutter = LineCutter(place.line, self._max_line_bytes)
