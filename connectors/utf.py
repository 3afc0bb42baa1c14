"""Text in UTF-16 or UTF-32, spelled in UTF-8 while it is read."""

import codecs

from connectors.unpack import Readable

# The wider first: one of the marks is the beginning of another one.
_CODECS = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# What a JSON object begins with, where no mark tells.
_OBJECTS = {'{"'.encode(codec): codec for codec in _CODECS}


def wide(head: bytes) -> str | None:
    """Return the encoding of a file that begins so, where each of its characters takes several bytes."""
    return next((codec for begin, codec in (_MARKS | _OBJECTS).items() if head.startswith(begin)), None)


class Respelled:
    """A text in UTF-8, read from one in another encoding; what is no character there is one U+FFFD.

    Args:
        file: the other one.
        encoding: of it.
    """

    def __init__(self, file: Readable, encoding: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")
        self._at_end = False

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, about so many.

        Raises:
            ArchiveError: the file can't be read to its end.
        """
        while not self._at_end:
            data = self._file.read(size)
            self._at_end = not data
            if text := self._decoder.decode(data, self._at_end):
                return text.encode("utf-8", "replace")
        return b""
