"""Bytes that come in pieces, cut into lines at line feeds and nothing else."""

from msgspec import Struct

# Kept in memory until it is whole; the longest line of a real agent had 1.5 MB.
MAX_LINE_BYTES = 32 * 1024 * 1024


class Line(Struct, frozen=True):
    """One line.

    Attributes:
        number: from 1.
        data: without the line feed; a carriage return stays.
        lost: how many bytes it had, where they were too many to be kept; 0 otherwise.
    """

    number: int
    data: bytes
    lost: int = 0


class Loss(Struct):
    """What is remembered of bytes that there was no room for: their lines count.

    Attributes:
        lines: line feeds among them.
        rest: bytes behind the last line feed, all of them where there is none.
    """

    lines: int
    rest: int

    @classmethod
    def of(cls, data: bytes) -> "Loss":
        """Return what to remember."""
        return cls(data.count(b"\n"), len(data) - data.rfind(b"\n") - 1)

    def add(self, later: "Loss") -> None:
        """Remember of what was lost right after it, too."""
        self.rest = later.rest + (0 if later.lines else self.rest)
        self.lines += later.lines


class LineCutter:
    """Gathers what comes and hands out whole lines.

    Args:
        number: of the last line that was handed out before.
        max_line_bytes: a longer line is counted, and its content lost.
    """

    def __init__(self, number: int = 0, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.number = number
        self._max_line_bytes = max_line_bytes
        self._pieces: list[bytes] = []
        # Of the unfinished line, lost bytes included.
        self.unfinished_bytes = 0
        self._lost = False

    def feed(self, data: bytes) -> list[Line]:
        """Take the next bytes and return the lines that they finish."""
        *whole, rest = data.split(b"\n")
        lines = []
        if whole:
            self._add(whole[0])
            lines.append(self._finished())
        if len(data) <= self._max_line_bytes:
            # Nothing in it can be too long.
            lines += map(Line, range(self.number + 1, self.number + len(whole)), whole[1:])
            self.number += max(0, len(whole) - 1)
        else:
            for piece in whole[1:]:
                self._add(piece)
                lines.append(self._finished())
        if rest:
            self._add(rest)
        return lines

    def lose(self, loss: Loss) -> None:
        """Go on behind bytes that there was no room for."""
        if loss.lines:
            self.number += loss.lines
            self._pieces.clear()
            self.unfinished_bytes = loss.rest
        else:
            self.unfinished_bytes += loss.rest
        # What goes on after it has no beginning.
        self._lost = self.unfinished_bytes > 0

    def flush(self) -> list[Line]:
        """Return the last line, where there is one that no line feed has ended."""
        return [self._finished()] if self.unfinished_bytes else []

    def peek(self) -> list[Line]:
        """Return what `flush` would, and keep it as the beginning of what may still come."""
        if not self.unfinished_bytes:
            return []
        data = b"".join(self._pieces)
        self._pieces = [data]
        return [Line(self.number + 1, data, self.unfinished_bytes if self._lost else 0)]

    def _add(self, piece: bytes) -> None:
        self.unfinished_bytes += len(piece)
        if self.unfinished_bytes > self._max_line_bytes:
            self._lost = True
            self._pieces.clear()
        elif not self._lost:
            self._pieces.append(piece)

    def _finished(self) -> Line:
        self.number += 1
        line = Line(self.number, b"".join(self._pieces), self.unfinished_bytes if self._lost else 0)
        self._pieces.clear()
        self.unfinished_bytes = 0
        self._lost = False
        return line
