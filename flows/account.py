"""What was read of runs' artifacts: kept in the database, so that what has not changed is not read again."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct
from psycopg import Connection, Cursor

import sql
from flows.artifact import Artifact
from flows.finished import Key
from flows.sheet import Read, Turn

# Another number whenever more is read out of the same lines than before.
MAPPING = 2

State = Literal["reading", "read", "waiting", "damaged", "unneeded"]


class Contents(Struct, omit_defaults=True):
    """What there is in an artifact, and what became of it when it was read last; fields as in `flows.sheet.Read`.

    Attributes:
        stored: messages that were there before.
        live: of those, the ones that no backfill had put there.
        inserted: messages that were not there before.
        refused: messages that the table doesn't take.
    """

    lines: int = 0
    rows: int = 0
    messages: int = 0
    stored: int = 0
    live: int = 0
    inserted: int = 0
    refused: int = 0
    skipped: dict[str, int] = {}
    interrupted: int = 0
    unanswered: int = 0
    turns: list[Turn] = []
    is_open: bool = False
    trouble: str = ""
    text: str = ""

    @classmethod
    def of(cls, read: Read) -> "Contents":
        """Return what an artifact was found to hold."""
        names = cls.__struct_fields__
        return cls(**{name: getattr(read, name) for name in Read.__struct_fields__ if name in names})


class Entry(Struct, frozen=True):
    """The account of an artifact.

    Attributes:
        version: of the artifact as it was read.
        inserted: messages that were not there before, ever since.
    """

    version: str
    state: State
    inserted: int
    contents: Contents

    @property
    def live(self) -> int:
        """How many of its messages no backfill has put there, as far as is counted by now."""
        return max(0, self.contents.stored + self.contents.inserted - self.inserted)

    @property
    def is_miscounted(self) -> bool:
        """Whether its contents take for live what another backfill stored at the same time, as they could once."""
        return self.contents.live != self.live

    def is_of(self, artifact: Artifact) -> bool:
        """Say whether an artifact needs no more reading."""
        return self.version == version_of(artifact) and self.state in ("read", "damaged", "unneeded")


def version_of(artifact: Artifact) -> str:
    """Return an artifact's version: its content's, and that of what is read out of it."""
    return f"{MAPPING}:{artifact.object.version}"


def state_of(read: Read) -> State:
    """Return how an artifact stands once it was read."""
    if read.may_pass:
        return "waiting"
    if not read.needed:
        return "unneeded"
    return "damaged" if read.trouble else "read"


def entries(connection: Connection[Any], runs: Sequence[Key]) -> dict[Key, dict[str, Entry]]:
    """Return the accounts of runs' artifacts, by location."""
    found: dict[Key, dict[str, Entry]] = {}
    arguments = {"namespaces": [key[0] for key in runs], "uids": [key[1] for key in runs]}
    for namespace, uid, location, version, state, inserted, contents in connection.execute(
        sql.query("known_artifacts"), arguments
    ):
        entry = Entry(version, state, inserted, msgspec.convert(contents, Contents))
        found.setdefault((namespace, uid), {})[location] = entry
    return found


class Line(Struct):
    """What is written down of an artifact."""

    workflow_namespace: str
    workflow_uid: str
    location: str
    version: str
    inserted: int = 0
    state: State = "reading"
    found: Contents = msgspec.field(default_factory=Contents)


def add_inserted(cursor: Cursor[Any], lines: Sequence[Line]) -> None:
    """Count messages that are inserted in the same transaction."""
    if lines:
        cursor.execute(sql.query("note_inserted"), {"artifacts": msgspec.json.encode(lines).decode()})


def settle(connection: Connection[Any], lines: Sequence[Line]) -> None:
    """Write down how artifacts stand."""
    if lines:
        connection.execute(sql.query("note_artifacts"), {"artifacts": msgspec.json.encode(lines).decode()})
