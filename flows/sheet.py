"""What those who read and those who store tell each other: what is to be read of a run, and what is found in it."""

import msgspec
from msgspec import Struct

from flows.artifact import Artifact
from flows.draft import Draft

# Why there is no message in an archive whose name tells nothing: its files' names tell nothing, either.
FOREIGN = "archive without events or an agent's log"
# What is named as events, and says something, and no event.
EVENTLESS = "file without any event"


class Part(Struct, frozen=True):
    """An artifact, and what to do with it.

    Attributes:
        to_do: whether it is to be read; otherwise it has been, as it is now.
        messages: in how many messages an agent spoke, where it has been read.
        closes: whether calls that have no result at its end never get one.
    """

    artifact: Artifact
    to_do: bool = True
    messages: int = 0
    closes: bool = True


class Task(Struct, frozen=True):
    """A run to be read.

    Attributes:
        number: of the run; whatever is found bears it.
        beside: what every message says of the run: its id, its stage, its runtime.
        waiting: attempts whose events may still come, so that their logs are left alone for now.
        skim: tell the messages' keys alone: enough where they turn out to be stored.
    """

    number: int
    namespace: str
    uid: str
    parts: list[Part]
    beside: dict[str, str] = {}
    waiting: frozenset[str] = frozenset()
    skim: bool = False

    @property
    def size(self) -> int:
        """Bytes that are to be read, as they are stored."""
        return sum(part.artifact.object.size for part in self.parts if part.to_do)


class Begun(Struct, tag="begun"):
    """A run is read from its beginning; what was found of it before counts no more."""

    run: int


class Sheet(Struct, tag="sheet"):
    """Some messages of one file, in their order.

    Attributes:
        part: the artifact's place in its task.
        file: which of the artifact's files it is, from 0.
        keys: of each message, by which it is known whether it is stored.
        drafts: of each message; null where the table doesn't take it.
        told: when a message was said by its own word, by its place; microseconds since the Unix epoch.
        threads: where on the sheet a thread begins, and when by its id, in the same measure.
        lines: how many were read for it.
        share: how much of the artifact has been read with it, from 0 to 1.
        is_last: whether the file ends with it.
    """

    run: int
    part: int
    file: int
    keys: list[str]
    drafts: list[Draft | None]
    told: dict[int, int]
    threads: dict[int, int | None]
    lines: int
    share: float
    is_last: bool

    @property
    def rows(self) -> int:
        """How many messages are on it."""
        return len(self.keys)


class Skimmed(Struct, tag="skimmed"):
    """Some messages of one file of which only the keys are told.

    Attributes:
        part: the artifact's place in its task.
        keys: separated by commas: one text is handed on and taken apart in less time than many.
        rows: how many they are.
        lines: how many were read for them.
        share: how much of the artifact has been read with them, from 0 to 1.
    """

    run: int
    part: int
    keys: str
    rows: int
    lines: int
    share: float = 1.0

    @classmethod
    def of(cls, run: int, part: int, keys: list[str], lines: int) -> "Skimmed":
        """Return what is told of some messages by their keys."""
        return cls(run, part, ",".join(keys), len(keys), lines)


class Turn(Struct):
    """The tokens of one turn; of the thread's where it was the first that told."""

    thread: str
    turn: int
    tokens: dict[str, int]


class Read(Struct, tag="read"):
    """An artifact has been read, or can't be.

    Attributes:
        rows: how many messages its lines are.
        messages: in how many of them an agent spoke.
        skipped: lines that are no message, by the reason.
        interrupted: calls that were never answered.
        unanswered: calls that have no answer yet, and may get one.
        turns: what they took.
        is_open: whether it ends in the middle of a turn.
        needed: otherwise it was left alone, since there is something better.
        trouble: why it was not read to its end, in a word; and in a line.
        may_pass: whether that may be otherwise later.
    """

    run: int
    part: int
    lines: int = 0
    rows: int = 0
    messages: int = 0
    skipped: dict[str, int] = {}
    interrupted: int = 0
    unanswered: int = 0
    turns: list[Turn] = []
    is_open: bool = False
    needed: bool = True
    trouble: str = ""
    text: str = ""
    may_pass: bool = False

    def skip(self, reason: str) -> None:
        """Count a line that is no message."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1


class Over(Struct, tag="over"):
    """All of a run has been read."""

    run: int


Found = Begun | Sheet | Skimmed | Read | Over

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Found).decode
