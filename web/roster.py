"""AGENT_COMMS_READERS_FILE: who may read what. Read again whenever it changes, without a restart."""

import hashlib
import logging
import threading
import time
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from flows.settings import SettingError
from web.person import Right

log = logging.getLogger(__name__)

VARIABLE = "AGENT_COMMS_READERS_FILE"
# A file that was written so short a time ago may be written again without its times telling.
FRESH_NS = 2_000_000_000

Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\A[^\x00-\x1f\x7f]+\Z")]
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-fA-F]{64}\Z")]


class Entry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What readers and groups have in common."""

    name: Name
    namespaces: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=1_000)]
    rights: tuple[Right, ...] = ("read",)


class Reader(Entry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Somebody with a token. Two of one name are one person with two tokens, as while one takes the other's place."""

    token_sha256: Digest

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the token."""
        return bytes.fromhex(self.token_sha256)


class Group(Entry, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the proxy's groups of this name let their members do."""


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    reader: tuple[Reader, ...] = ()
    group: tuple[Group, ...] = ()


class Roster:
    """The file, as it is now.

    Args:
        path: the file's.

    Raises:
        SettingError: it can't be read, or holds what it cannot hold; the text names the entry and its field.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._content = b""
        self._file = _File()
        self._by_token: dict[bytes, Reader] = {}
        self._warned = ""
        self.version = 0
        self._take(self._read())

    def refresh(self) -> None:
        """Read it again where it has changed. One that is wrong leaves everything as it was, and the log says so."""
        with self._lock:
            try:
                if not self._is_changed():
                    return
                self._take(self._read())
            except SettingError as error:
                self._warn(str(error))

    def by_token(self, token: str) -> Reader | None:
        """Return whose token it is."""
        return self._by_token.get(digest_of(token))

    def by_name(self, name: str) -> list[Reader]:
        """Return a person's entries, one a token."""
        return [reader for reader in self._file.reader if reader.name == name]

    def groups(self, names: list[str]) -> list[Group]:
        """Return what groups of these names let somebody do."""
        return [group for group in self._file.group if group.name in names]

    def _is_changed(self) -> bool:
        try:
            status = self._path.stat()
        except OSError as error:
            raise _wrong(str(error.strerror or error)) from None
        seen = (status.st_ino, status.st_size, status.st_mtime_ns)
        changed = seen != self._seen or time.time_ns() - status.st_mtime_ns < FRESH_NS
        self._seen = seen
        return changed

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise _wrong(str(error.strerror or error)) from None

    def _take(self, content: bytes) -> None:
        if content == self._content and self.version:
            return
        file = _parse(content)
        self._file, self._content, self._warned = file, content, ""
        self._by_token = {reader.digest: reader for reader in file.reader}
        self.version += 1

    def _warn(self, words: str) -> None:
        if words != self._warned:
            self._warned = words
            log.error("%s; what it said before holds on", words, extra={"todo": f"correct {self._path}"})


def digest_of(token: str) -> bytes:
    """Return a token's SHA-256."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _parse(content: bytes) -> _File:
    # Whoever writes it may have got no further than to empty it.
    if not content.strip():
        message = "it is empty"
        raise _wrong(message)
    try:
        file = msgspec.convert(tomllib.loads(content.decode()), _File)
    except UnicodeDecodeError:
        message = "it is no UTF-8"
        raise _wrong(message) from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise _wrong(_in_words(error)) from None
    digests = [reader.digest for reader in file.reader]
    if len(set(digests)) != len(digests):
        message = "two readers have one token_sha256"
        raise _wrong(message)
    return file


def _in_words(error: Exception) -> str:
    text, _, place = str(error).partition(" - at ")
    return f"{place.strip('`').removeprefix('$.')}: {text}" if place else text


def _wrong(why: str) -> SettingError:
    return SettingError(f"{VARIABLE}: {why}")
