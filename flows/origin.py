"""What an agent writes its lines into, a file or a pipe, and who reads them."""

import json
from typing import Literal

from connectors.lines import LineCutter
from connectors.pipe import PipeReader
from connectors.tail import FollowedFile
from flows.codex import FileKind, Reader, State, artifact_name

# Lines of a pipe are of Codex or a plain log; the first one that is not blank tells.
PipeKind = FileKind | Literal["auto"]


class Origin:
    """Something with lines.

    Attributes:
        origin: what its lines are called by.
        path: absolute; empty where nobody can read it again.
    """

    def __init__(self, kind: PipeKind, artifact: str, path: str, budget: int) -> None:
        self.kind = kind
        self.origin = artifact
        self.path = path
        self._budget = budget
        self.reader: Reader | None = None
        self.begin(State())

    def begin(self, state: State) -> None:
        """Read on as after other lines."""
        if self.kind != "auto":
            self.reader = Reader(self.kind, "live", self.origin, budget=self._budget, state=state)

    def decide(self, data: bytes) -> Reader:
        """Return the reader, which a line that is not blank may have to choose."""
        if self.reader is None:
            if not data.strip():
                return Reader("log", "live", self.origin)
            self.kind = "codex-events" if _is_event(data) else "log"
            self.begin(State())
        return self.reader or Reader("log", "live", self.origin)


class FileOrigin(Origin):
    """A file that is followed, from wherever it was left off.

    Attributes:
        is_unreadable: whether it was there and would not be read.
        life: of the file, as of the last lines.
    """

    def __init__(self, file: FollowedFile, kind: FileKind, budget: int) -> None:
        super().__init__(kind, artifact_name(str(file.path)), str(file.path), budget)
        self.file = file
        self.file_kind = kind
        self.is_unreadable = False
        self.life = file.life

    @property
    def is_absent(self) -> bool:
        """Whether it has never been there, neither now nor for an earlier publisher."""
        return self.file.position is None and not self.is_unreadable

    @property
    def key(self) -> str:
        """What the ledger keeps its position under."""
        return f"{self.kind}:{self.path}"


class PipeOrigin(Origin):
    """A pipe, which nobody reads again.

    Args:
        session: tells this reading of it from another.
    """

    def __init__(self, pipe: PipeReader, kind: PipeKind, name: str, budget: int, session: str) -> None:
        self._session = session
        super().__init__(kind, name, "", budget)
        self.pipe = pipe
        self.cutter = LineCutter()

    def begin(self, state: State) -> None:
        """Read on as after other lines."""
        if self.kind == "log":
            # Nobody reads it again: what two of them say at the same place is not the same.
            state.thread = self._session
        super().begin(state)


def _is_event(data: bytes) -> bool:
    """Say whether a first line is one of Codex."""
    try:
        value = json.loads(data)
    except ValueError:
        return False
    return isinstance(value, dict) and bool({"type", "msg", "prompt", "model"} & value.keys())
