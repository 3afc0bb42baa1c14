"""The plain files of a tar archive, one after the other, without ever keeping more than a header."""

import tarfile
from collections.abc import Iterator
from typing import NamedTuple

from connectors.unpack import CHUNK_BYTES, Ahead, ArchiveError, Damage

# Names and attributes of one member: longer ones are nobody's.
MAX_HEADER_BYTES = 1024 * 1024
MAX_MEMBERS = 10_000
BLOCK = 512
_MAGIC = b"ustar"
_MAGIC_AT = 257
_END = bytes(BLOCK)
_REGULAR = frozenset((tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE))
_EXTENDED = frozenset((tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE))
_NAMED_LONG = tarfile.GNUTYPE_LONGNAME
_LINKED_LONG = tarfile.GNUTYPE_LONGLINK
# Links, devices and folders have no content, whatever their size says.
_EMPTY = frozenset(
    (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)
)


class TarFile(NamedTuple):
    """A plain file in an archive; its content is to be read before the next one is asked for."""

    name: str
    content: "Content"


class Content:
    """The bytes of a member."""

    def __init__(self, file: Ahead, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int, /) -> bytes:
        """Return the next bytes.

        Raises:
            ArchiveError: the archive ends in the middle of them.
        """
        if not self._left:
            return b""
        data = self._file.read(min(size, self._left))
        if not data:
            message = "the archive ends in the middle of a file"
            raise ArchiveError(Damage.TRUNCATED, message)
        self._left -= len(data)
        return data

    def skip(self) -> int:
        """Go past what hasn't been read; returns how much it was."""
        skipped = 0
        while data := self.read(CHUNK_BYTES):
            skipped += len(data)
        return skipped


def is_tar(head: bytes) -> bool:
    """Say whether a file that begins with such a block, or less, is an archive."""
    return head[_MAGIC_AT:].startswith(_MAGIC) or _is_header(head[:BLOCK])


def _is_header(block: bytes) -> bool:
    """Say by its check sum whether a block is a header: the oldest format has no magic."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.TarError:
        return False
    return True


def files(file: Ahead) -> Iterator[TarFile]:
    """Yield the plain files of an archive; links, devices and sparse files are left out.

    Raises:
        ArchiveError: it can't be read to its end.
    """
    extended: dict[str, str] = {}
    for _ in range(MAX_MEMBERS):
        header = _header(file)
        if header is None:
            return
        if header.type in _EXTENDED or header.type in (_NAMED_LONG, _LINKED_LONG, tarfile.XGLTYPE):
            body = _body(file, header.size)
            if header.type in _EXTENDED:
                extended |= _records(body)
            elif header.type == _NAMED_LONG:
                extended["path"] = body.rstrip(b"\0").decode("utf-8", "replace")
            continue
        if header.type == tarfile.GNUTYPE_SPARSE:
            message = "it holds a sparse file, which is not read"
            raise ArchiveError(Damage.FOREIGN, message)
        size = _size(extended.get("size", ""), header.size)
        content = Content(file, 0 if header.type in _EMPTY else size)
        if header.type in _REGULAR and not any(key.startswith("GNU.sparse") for key in extended):
            yield TarFile(extended.get("path") or header.name, content)
        content.skip()
        file.read_whole(-size % BLOCK if header.type not in _EMPTY else 0)
        extended = {}
    message = f"it has more than {MAX_MEMBERS:,} members"
    raise ArchiveError(Damage.TOO_LARGE, message)


def _header(file: Ahead) -> tarfile.TarInfo | None:
    """Return the next header; None at the end."""
    block = file.read_whole(BLOCK)
    if block in (b"", _END):
        return None
    if len(block) < BLOCK:
        message = "the archive ends in the middle of a header"
        raise ArchiveError(Damage.TRUNCATED, message)
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.TarError as error:
        message = f"the archive is damaged: {error}"
        raise ArchiveError(Damage.CORRUPT, message) from error
    if header.size < 0:
        message = "the archive is damaged: a file has less than no bytes"
        raise ArchiveError(Damage.CORRUPT, message)
    return header


def _body(file: Ahead, size: int) -> bytes:
    if size > MAX_HEADER_BYTES:
        message = "a file's header is too large"
        raise ArchiveError(Damage.TOO_LARGE, message)
    body = file.read_whole(size)
    file.read_whole(-size % BLOCK)
    if len(body) < size:
        message = "the archive ends in the middle of a header"
        raise ArchiveError(Damage.TRUNCATED, message)
    return body


def _records(body: bytes) -> dict[str, str]:
    """Read the records of an extended header, each `LENGTH KEY=VALUE` and a line feed."""
    found = {}
    while body:
        length, _, _ = body.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(body):
            break
        key, _, value = body[len(length) + 1 : int(length) - 1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        body = body[int(length) :]
    return found


def _size(said: str, known: int) -> int:
    """Return a file's size, which an extended header says where it has more than 8 GiB."""
    return int(said) if said.isascii() and said.isdigit() and len(said) < 20 else known
