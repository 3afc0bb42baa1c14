"""What is in a file that somebody else made: plain, compressed or an archive, told by its first bytes and streamed."""

from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from connectors import tar
from connectors.lines import MAX_LINE_BYTES, Line, LineCutter
from connectors.unpack import CHUNK_BYTES, GZIP, Ahead, ArchiveError, Damage, Gunzip, Readable
from connectors.utf import Respelled, wide

# Compressed, in an archive, compressed.
MAX_DEPTH = 3
_FOREIGN = {
    b"PK\x03\x04": "a zip archive",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\x00": "compressed with xz",
    b"7z\xbc\xaf": "a 7z archive",
}


class Limits(NamedTuple):
    """How much of a file is read before it is taken for a bomb.

    Attributes:
        bytes: unpacked, all members together.
        lines: all members together.
        line_bytes: a longer line is counted and its content lost.
    """

    bytes: int = 8 * 1024**3
    lines: int = 50_000_000
    line_bytes: int = MAX_LINE_BYTES


LIMITS = Limits()


class Member(NamedTuple):
    """One file within.

    Attributes:
        name: its path in the archive; empty where the file is no archive.
        lines: its lines, some at a time, to be read before the next member is asked for. Each of them
            may raise `ArchiveError`, as `members` does.
    """

    name: str
    lines: Iterator[list[Line]]


def members(
    file: BinaryIO, limits: Limits = LIMITS, is_text: Callable[[str], bool] = lambda _: False
) -> Iterator[Member]:
    """Yield what is in a file: itself, or the plain files of an archive.

    Memory is constant, whatever the file holds: nothing is kept but a chunk and a line. Where the
    names in an archive lead doesn't matter, since nothing is ever written.

    Args:
        file: from its beginning.
        limits: of what it may unpack to.
        is_text: says of a member's name whether it is a text, handed on in UTF-8 though it is in UTF-16 or UTF-32.

    Raises:
        ArchiveError: it can't be read to its end; what was yielded before is as it was written.
    """
    yield from _members(Ahead(file), "", _Budget(limits), is_text, MAX_DEPTH)


def _members(file: Ahead, name: str, budget: "_Budget", is_text: Callable[[str], bool], depth: int) -> Iterator[Member]:
    head = file.peek(tar.BLOCK)
    foreign = next((what for magic, what in _FOREIGN.items() if head.startswith(magic)), None)
    packed = head.startswith(GZIP) or tar.is_tar(head)
    if foreign or (packed and not depth):
        message = f"it is {foreign or 'packed too many times'}, which is not read"
        raise ArchiveError(Damage.FOREIGN, message)
    if head.startswith(GZIP):
        yield from _members(Ahead(Gunzip(file)), name, budget, is_text, depth - 1)
    elif tar.is_tar(head):
        for each in tar.files(file):
            yield from _members(Ahead(each.content), each.name, budget, is_text, depth - 1)
            budget.spend(each.content.skip())
        # What follows the end tells whether the whole was as it was written.
        while padding := file.read(CHUNK_BYTES):
            budget.spend(len(padding))
    else:
        encoding = wide(head) if is_text(name) else None
        yield Member(name, _lines(Respelled(file, encoding) if encoding else file, budget))


def _lines(file: Readable, budget: "_Budget") -> Iterator[list[Line]]:
    cutter = LineCutter(0, budget.limits.line_bytes)
    while data := file.read(CHUNK_BYTES):
        budget.spend(len(data))
        if lines := cutter.feed(data):
            budget.count(len(lines))
            yield lines
    if last := cutter.flush():
        yield last


class _Budget:
    """What may still be unpacked."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._bytes = self._lines = 0

    def spend(self, number: int) -> None:
        self._bytes += number
        if self._bytes > self.limits.bytes:
            message = f"it unpacks to more than {self.limits.bytes:,} bytes"
            raise ArchiveError(Damage.TOO_LARGE, message)

    def count(self, lines: int) -> None:
        self._lines += lines
        if self._lines > self.limits.lines:
            message = f"it has more than {self.limits.lines:,} lines"
            raise ArchiveError(Damage.TOO_LARGE, message)
