"""Objects under a root, a folder or a bucket: listed with their versions, and opened, whoever put them there."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar
from urllib.parse import urlsplit

import fsspec

T = TypeVar("T")

# How much is asked of a bucket at once.
BLOCK_BYTES = 8 * 1024 * 1024
# A bucket that doesn't answer is given up within a minute, its client's own tries included.
S3_OPTIONS: dict[str, Any] = {
    "use_listings_cache": False,
    "config_kwargs": {"connect_timeout": 5, "read_timeout": 15, "retries": {"max_attempts": 2}},
}


class Trouble(StrEnum):
    """Why an object can't be had."""

    MISSING = "missing"
    FORBIDDEN = "forbidden"
    UNREACHABLE = "unreachable"
    # What isn't opened, whoever asks.
    REFUSED = "refused"


class Object(NamedTuple):
    """Something under a root.

    Attributes:
        key: its path below the root, with slashes.
        size: bytes, as stored.
        version: another one whenever the content is.
        modified: seconds since the Unix epoch.
    """

    key: str
    size: int
    version: str
    modified: float


class ObjectError(Exception):
    """An object can't be had; the text is one line."""

    def __init__(self, trouble: Trouble, text: str) -> None:
        super().__init__(text)
        self.trouble = trouble

    def __reduce__(self) -> tuple[type["ObjectError"], tuple[str, str]]:
        return type(self), (self.trouble, str(self))

    @property
    def helps_to_wait(self) -> bool:
        """Whether it may be otherwise later."""
        return self.trouble is not Trouble.REFUSED


# Told the key of what can't be listed, and why.
Note = Callable[[str, ObjectError], None]


class Objects:
    """What is under a root.

    Args:
        root: a folder, or `s3://bucket/prefix`; credentials and the endpoint of S3 come from the
            environment, in Amazon's own variables.

    Raises:
        ObjectError: it is neither.

    Nothing outside of the root is ever opened: a key that leads out of it is refused, and so
    is every symbolic link below it, and whatever is no plain file.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") or "/"
        self.scheme = urlsplit(root).scheme if "://" in root else ""
        self._opened: tuple[Any, str] | None = None
        if not (self.is_local or (self.scheme in ("s3", "s3a") and self.bucket)):
            message = f"artifacts are in a folder or under s3://bucket/prefix, and not under {self.scheme}://"
            raise ObjectError(Trouble.REFUSED, f"{message}{'' if self.bucket else ' without a bucket'}")

    @property
    def is_local(self) -> bool:
        """Whether it is a folder."""
        return self.scheme in ("", "file")

    @property
    def bucket(self) -> str:
        """The bucket's name; empty for a folder."""
        return "" if self.is_local else urlsplit(self.root).netloc

    @property
    def prefix(self) -> str:
        """What keys in the bucket begin with, and keys below the root don't; empty for a folder."""
        return "" if self.is_local else urlsplit(self.root).path.strip("/")

    def location(self, key: str) -> str:
        """Return what an object is called by anybody, whatever the root."""
        if self.is_local:
            return f"file://{self._folder / key}"
        return f"{self.root}/{key}"

    @property
    def _folder(self) -> Path:
        return Path(self.root.removeprefix("file://")).absolute()

    def _open_root(self) -> tuple[Any, str]:
        if self._opened is None:
            options = {} if self.is_local else S3_OPTIONS
            # Threads and event loops don't outlive a fork or a pickle; instances are not shared.
            filesystem, path = fsspec.url_to_fs(self.root, skip_instance_cache=True, **options)
            self._opened = filesystem, path.rstrip("/")
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "scheme": self.scheme, "_opened": None}

    def look(self) -> None:
        """Find out whether the root can be listed, at the price of one question.

        Raises:
            ObjectError: it can't.
        """
        if self.is_local:
            self._check_folder()
            with _in_words(self.root), os.scandir(self._folder):
                return
        filesystem, root = self._open_root()
        prefix = f"{self.prefix}/" if self.prefix else ""
        with _in_words(self.root):
            filesystem.call_s3("list_objects_v2", Bucket=root.partition("/")[0], Prefix=prefix, MaxKeys=1)

    def _check_folder(self) -> None:
        with _in_words(self.root):
            is_folder = self._folder.is_dir()
            if is_folder:
                _enter(str(self._folder))
        if not is_folder:
            message = f"{self.root} is no folder"
            raise ObjectError(Trouble.MISSING, message)

    def _has_folder(self, key: str) -> bool:
        with _in_words(key):
            return (self._folder / key).is_dir()

    def list(self, under: str = "", note: Note = lambda _key, _error: None) -> Iterator[Object]:
        """Yield the objects whose keys begin with a folder's, in the order of their keys.

        Args:
            under: a folder below the root; all of it where it is empty.
            note: told of each folder below that can't be listed, and of what is in one and can't be, while the
                others are.

        Raises:
            ObjectError: the root can't be listed. A folder that isn't there has no objects.
        """
        if self.is_local and not under:
            self.look()
        elif self.is_local:
            self._check_folder()
            if not self._has_folder(under):
                return
        if under:
            self.check(under)
        if self.is_local:
            yield from self._walk(str(self._folder / under), under, note)
            return
        filesystem, root = self._open_root()
        with _in_words(self.root):
            try:
                found = filesystem.find(f"{root}/{under}" if under else root, detail=True)
            except FileNotFoundError:
                if not filesystem.exists(root.partition("/")[0]):
                    raise
                found = {}
        for path in sorted(found):
            # A store may have an object of a folder's own name.
            if path != root:
                yield _object(path[len(root) + 1 :], found[path])

    def _walk(self, folder: str, key: str, note: Note) -> Iterator[Object]:
        for entry in _ask(partial(_entries, folder), folder, key, note) or []:
            below = f"{key}/{entry.name}" if key else entry.name
            known = _ask(partial(entry.stat, follow_symlinks=False), entry.path, below, note)
            if known is None:
                continue
            if stat.S_ISDIR(known.st_mode):
                yield from self._walk(entry.path, below, note)
            elif stat.S_ISREG(known.st_mode):
                yield _of_stat(below, known)

    def find(self, key: str) -> Object:
        """Return an object by its key.

        Raises:
            ObjectError: it isn't there, or can't be had.
        """
        self.check(key)
        if self.is_local:
            with _in_words(key):
                return _of_stat(key, (self._folder / key).stat())
        filesystem, root = self._open_root()
        with _in_words(key):
            known = filesystem.info(f"{root}/{key}")
        if known["type"] != "file":
            message = f"{key} is no file"
            raise ObjectError(Trouble.MISSING, message)
        return _object(key, known)

    @contextmanager
    def open(self, found: Object) -> Iterator[BinaryIO]:
        """Open an object for reading, in the version that was found where the store can tell.

        Raises:
            ObjectError: it isn't there any more, or can't be had; while it is read, too.
        """
        self.check(found.key)
        with _in_words(found.key):
            if self.is_local:
                with (self._folder / found.key).open("rb") as file:
                    yield file
                return
            filesystem, root = self._open_root()
            with filesystem.open(
                f"{root}/{found.key}", "rb", block_size=BLOCK_BYTES, cache_type="readahead", size=found.size
            ) as file:
                yield file

    def check(self, key: str) -> None:
        """Refuse a key that leads anywhere else.

        Raises:
            ObjectError: it does.
        """
        parts = key.split("/")
        if (
            not key
            or key.startswith("/")
            or "\\" in key
            or "\0" in key
            # No file system, nor a bucket, spells half a character.
            or not _is_text(key)
            or any(part in ("", ".", "..") for part in parts)
        ):
            message = f"{key!r} is no path below the root"
            raise ObjectError(Trouble.REFUSED, message)
        if not self.is_local:
            return
        path = self._folder
        for part in parts:
            path = path / part
            with _in_words(key):
                mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                message = f"{key} is reached by a symbolic link"
                raise ObjectError(Trouble.REFUSED, message)
            if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                message = f"{key} is no plain file"
                raise ObjectError(Trouble.REFUSED, message)


def _is_text(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _enter(folder: str) -> None:
    """Find out whether a folder can be entered: whoever may list it may not yet have anything that is in it.

    Raises:
        OSError: it can't.
    """
    # A path would leave out the dot.
    os.stat(f"{folder}/.")  # noqa: PTH116


def _entries(folder: str) -> list["os.DirEntry[str]"]:
    # One word on the folder, in place of one on each that is in it.
    _enter(folder)
    return sorted(os.scandir(folder), key=attrgetter("name"))


def _of_stat(key: str, known: Any) -> Object:
    return Object(key, known.st_size, f"{known.st_mtime_ns}-{known.st_size}-{known.st_ino}", known.st_mtime)


def _object(key: str, known: dict[str, Any]) -> Object:
    modified: Any = known.get("LastModified") or known.get("mtime") or known.get("created") or 0
    seconds = modified.timestamp() if isinstance(modified, datetime) else float(modified)
    tag = known.get("ETag") or known.get("etag") or f"{seconds}-{known['size']}"
    return Object(key, int(known["size"] or 0), str(tag).strip('"'), seconds)


def _ask(question: Callable[[], T], what: str, key: str, note: Note) -> T | None:
    """Return what there is to know; None where it can't be had, which a note tells."""
    # With no context around it: this is asked of each object.
    try:
        return question()
    except FileNotFoundError:
        # What is deleted meanwhile was never there.
        return None
    except OSError as error:
        note(key, _told(what, error))
        return None


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """Put whatever a file system or a bucket's client raises into one word of ours.

    Raises:
        ObjectError: for it.
    """
    try:
        yield
    except (ObjectError, GeneratorExit):
        raise
    except Exception as error:
        if not _is_of_the_way(error):
            raise
        raise _told(what, error) from error


def _told(what: str, error: Exception) -> ObjectError:
    if isinstance(error, FileNotFoundError):
        return ObjectError(Trouble.MISSING, f"{what} is not there")
    if isinstance(error, PermissionError):
        return ObjectError(Trouble.FORBIDDEN, f"{what} may not be read")
    if isinstance(error, IsADirectoryError):
        return ObjectError(Trouble.REFUSED, f"{what} is a folder")
    reason = " ".join(str(error).split()) or type(error).__name__
    if "credential" in reason.lower():
        return ObjectError(Trouble.FORBIDDEN, f"{what} may not be read: {reason}")
    return ObjectError(Trouble.UNREACHABLE, f"{what} can't be reached: {reason}")


def _is_of_the_way(error: BaseException) -> bool:
    """Say whether an error comes from the way to the object, and not from who reads it."""
    return isinstance(error, OSError | TimeoutError) or type(error).__module__.partition(".")[0] in (
        "aiobotocore",
        "aiohttp",
        "botocore",
        "s3fs",
        "fsspec",
    )
