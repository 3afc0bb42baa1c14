"""Bytes that are looked at before they are read, and bytes that are unpacked while they are."""

from enum import StrEnum
from typing import Protocol

# zlib's interface at three times its speed; damage that it doesn't notice on the way, the check sum tells at the end.
from isal import isal_zlib

CHUNK_BYTES = 256 * 1024
GZIP = b"\x1f\x8b"


class Readable(Protocol):
    """Something that gives bytes, fewer than asked for perhaps, and none at its end."""

    def read(self, size: int, /) -> bytes:
        """Return the next bytes."""


class Damage(StrEnum):
    """Why a file can't be read to its end."""

    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    TOO_LARGE = "too large"
    # A format that isn't read.
    FOREIGN = "of a foreign format"


class ArchiveError(ValueError):
    """A file can't be read to its end; the text is one line."""

    def __init__(self, damage: Damage, text: str) -> None:
        super().__init__(text)
        self.damage = damage


class Ahead:
    """A file whose next bytes can be looked at."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._next = b""
        self._damage: ArchiveError | None = None

    def peek(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end or where the rest is damaged, and leave them to be read.

        Raises:
            ArchiveError: there are none but damage.
        """
        try:
            while len(self._next) < size and not self._damage and (data := self._file.read(size - len(self._next))):
                self._next += data
        except ArchiveError as damage:
            if not self._next:
                raise
            # It is told where it is: what comes before is read.
            self._damage = damage
        return self._next[:size]

    def read(self, size: int, /) -> bytes:
        """Return the next bytes.

        Raises:
            ArchiveError: they are damaged.
        """
        if self._next:
            data, self._next = self._next[:size], self._next[size:]
            return data
        if self._damage:
            raise self._damage
        return self._file.read(size)

    def read_whole(self, size: int) -> bytes:
        """Return so many bytes; fewer at the end alone."""
        parts = []
        while size > 0 and (data := self.read(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)


class Gunzip:
    """Unpacks gzip, of one member or several, no more at a time than is asked for.

    Args:
        file: begins with a member.
    """

    def __init__(self, file: Ahead) -> None:
        self._file = file
        self._packed = b""
        self._inflate = isal_zlib.decompressobj(wbits=31)

    def read(self, size: int, /) -> bytes:
        """Return the next bytes.

        Raises:
            ArchiveError: what is packed is damaged, or ends too early.
        """
        while True:
            if self._inflate.eof and not self._begin_next():
                return b""
            self._packed = self._packed or self._file.read(CHUNK_BYTES)
            at_end = not self._packed
            try:
                data = self._inflate.decompress(self._packed, size)
            except isal_zlib.error as error:  # type: ignore[misc]  # its stub takes the class for one of its errors
                message = f"the compressed data is damaged: {error}"
                raise ArchiveError(Damage.CORRUPT, message) from error
            self._packed = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if data:
                return data
            if at_end and not self._inflate.eof:
                message = "the compressed data ends too early"
                raise ArchiveError(Damage.TRUNCATED, message)

    def _begin_next(self) -> bool:
        """Go on to the next member; zeros after the last are padding."""
        while not (rest := self._packed.lstrip(b"\0")):
            self._packed = self._file.read(CHUNK_BYTES)
            if not self._packed:
                return False
        self._packed = rest if len(rest) > 1 else rest + self._file.read(CHUNK_BYTES)
        if not self._packed.startswith(GZIP):
            message = "something else follows the compressed data"
            raise ArchiveError(Damage.CORRUPT, message)
        self._inflate = isal_zlib.decompressobj(wbits=31)
        return True
