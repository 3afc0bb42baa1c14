"""What a publisher keeps on disk for the one that comes after it: how far it has read, and what it said of itself."""

import fcntl
import json
import os
import tempfile
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Self

import msgspec
from msgspec import Struct

from connectors.tail import Position
from flows.codex import State
from flows.payload import Speaker
from flows.settings import Settings

_FILE = "ledger.json"
_LOCK = "lock"
# So many publishers of one agent at once keep something for later.
MAX_AT_ONCE = 16
# Of lines that follow each other; more of them are told by their number alone.
MAX_GAPS = 1_000


class Mark(Struct):
    """How far a followed file was read, and what its lines so far tell of the next one."""

    position: Position
    state: State


class Gap(Struct):
    """Lines that were not published, the first and the last."""

    first: int
    last: int


class Ledger(Struct):
    """What is kept.

    Attributes:
        session: of a run that has not ended yet; a word on its state is one message, however often it is said.
        started: whether it was said that the run has started.
        marks: by the file's path and kind.
        gaps: lines left to backfill, by the file they are in.
        left: how many lines they are.
    """

    session: str = ""
    started: bool = False
    marks: dict[str, Mark] = {}
    gaps: dict[str, list[Gap]] = {}
    left: int = 0

    def leave(self, origin: str, first: int, last: int | None = None) -> None:
        """Note a line that was not published, or all from a first to a last one."""
        last = first if last is None else last
        self.left += last - first + 1
        gaps = self.gaps.setdefault(origin, [])
        if gaps and gaps[-1].first <= first <= gaps[-1].last + 1:
            gaps[-1].last = max(last, gaps[-1].last)
        elif len(gaps) < MAX_GAPS:
            gaps.append(Gap(first, last))

    def end(self) -> None:
        """Have the next run begin with a clean page; how far the files were read stays."""
        self.session, self.started, self.gaps, self.left = "", False, {}, 0


class Desk:
    """A folder where one publisher at a time keeps its ledger and its spool.

    Args:
        folder: made if it is not there; without one nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._lock: int | None = None
        self._saved = b""

    @classmethod
    def of(cls, settings: Settings, speaker: Speaker) -> Self:
        """Return the desk of an agent in a workflow: a free one of several, should it have several publishers.

        Raises:
            OSError: there can be none; the error's text says why.
        """
        names = "\0".join((speaker.namespace, speaker.uid, speaker.name, speaker.agent, speaker.step or ""))
        digest = blake2b(names.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        root = settings.agent_comms_spool_dir or _own_folder()
        for number in range(MAX_AT_ONCE):
            desk = cls(root / (f"{digest}-{number}" if number else digest))
            if desk._take():
                return desk
        message = f"{root}: {MAX_AT_ONCE} publishers of this agent keep something there already"
        raise OSError(message)

    def _take(self) -> bool:
        if self.folder is None:
            return True
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def read(self) -> Ledger:
        """Return what an earlier publisher kept; an empty ledger where it kept nothing that can be read."""
        ledger = Ledger()
        if self.folder is not None:
            with suppress(OSError, msgspec.MsgspecError):
                ledger = _decoded((self.folder / _FILE).read_bytes())
        return ledger

    def write(self, ledger: Ledger) -> None:
        """Keep the ledger; what can't be written is not kept."""
        if self.folder is None:
            return
        data = _encoded(ledger)
        if data == self._saved:
            return
        with suppress(OSError):
            unfinished = self.folder / f"{_FILE}.unfinished"
            unfinished.write_bytes(data)
            unfinished.replace(self.folder / _FILE)
            self._saved = data

    def close(self) -> None:
        """Leave the desk to the next."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _encoded(ledger: Ledger) -> bytes:
    try:
        return msgspec.json.encode(ledger)
    except UnicodeEncodeError:
        # A path may be of any bytes, and what Codex calls a thread hold half of a surrogate pair.
        return json.dumps(msgspec.to_builtins(ledger)).encode()


def _decoded(data: bytes) -> Ledger:
    try:
        return msgspec.json.decode(data, type=Ledger)
    except msgspec.MsgspecError:
        with suppress(ValueError):
            return msgspec.convert(json.loads(data), Ledger)
        raise


def _own_folder() -> Path:
    """Return this user's folder among the system's temporary ones.

    Raises:
        OSError: somebody else has made it.
    """
    folder = Path(tempfile.gettempdir()) / f"agent-comms-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        message = f"{folder} belongs to somebody else"
        raise OSError(message)
    return folder
