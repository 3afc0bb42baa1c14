"""Reads what a run has left into sheets of a few thousand messages.

This is what happens in the reading processes; it knows nothing of the database.
"""

from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

from msgspec import Struct

from connectors.archive import LIMITS, Limits, members
from connectors.blame import in_one_line
from connectors.objects import ObjectError, Objects
from connectors.unpack import ArchiveError, Damage
from flows.artifact import BUNDLE, EVENTS, Artifact, kind_of, title_of
from flows.codex import BLANK, NEVER_WRITTEN, TOO_LONG, FileKind, Reader, Skimmer
from flows.draft import Drafter
from flows.fit import budget
from flows.identity import Scope
from flows.message import CHANNEL_RUN
from flows.page import Count, Pages
from flows.redact import Redactor
from flows.sheet import EVENTLESS, FOREIGN, Begun, Found, Over, Read, Sheet, Skimmed, Task, encode
from flows.skim import Skim

# Why a line is no event.
_NO_EVENTS = ("not an event", "not an event, kept", TOO_LONG, NEVER_WRITTEN)


class SheetReader(Struct):
    """Reads runs; may be sent to another process.

    Attributes:
        redactor: replaces credentials before anything is handed on.
        max_message_bytes: what is larger is cut as the publisher cuts it.
        limits: of what an artifact may unpack to.
        keep_other_lines: make messages of lines that are no events, too.
    """

    objects: Objects
    redactor: Redactor
    max_message_bytes: int
    limits: Limits = LIMITS
    keep_other_lines: bool = False

    def __call__(self, task: Task) -> Iterator[bytes]:
        """Yield what is found in a run's artifacts, encoded; where reading it fails, that it can't be read."""
        try:
            for found in self.read(task):
                yield encode(found)
        except Exception as error:  # whatever one run is like, the others are read
            yield from unread(task, in_one_line(error))

    def read(self, task: Task) -> Iterator[Found]:
        """Yield what is found in a run's artifacts: of each attempt its events, and its log where they say nothing."""
        yield Begun(task.number)
        spoken: dict[str, int] = {}
        waiting = set(task.waiting)
        # Stable: whatever is no log comes first.
        for place, part in sorted(enumerate(task.parts), key=lambda each: each[1].artifact.kind == "log"):
            attempt = part.artifact.attempt
            if not part.to_do:
                spoken[attempt] = spoken.get(attempt, 0) + part.messages
                continue
            read = Read(task.number, place)
            if part.artifact.kind == "log" and (spoken.get(attempt) or attempt in waiting):
                read.needed, read.may_pass = False, not spoken.get(attempt)
            else:
                yield from self._read_part(task, place, read)
            spoken[attempt] = spoken.get(attempt, 0) + read.messages
            if read.may_pass:
                waiting.add(attempt)
            yield read
        yield Over(task.number)

    def _read_part(self, task: Task, place: int, read: Read) -> Iterator[Sheet | Skimmed]:
        artifact = task.parts[place].artifact
        try:
            files = yield from self._sheets(task, place, read, logs=False)
            if artifact.kind == BUNDLE and not read.messages:
                files += yield from self._sheets(task, place, read, logs=True)
            if not files:
                read.skip(EVENTLESS if artifact.kind == "codex-events" else FOREIGN)
        except ObjectError as error:
            read.trouble, read.text, read.may_pass = error.trouble.value, str(error), error.helps_to_wait
        except ArchiveError as error:
            read.trouble, read.text = error.damage.value, f"{artifact.object.key}: {error}"

    def _sheets(self, task: Task, place: int, read: Read, *, logs: bool) -> Generator[Sheet | Skimmed, None, int]:
        """Yield what is in an artifact; returns how many of its files were read."""
        artifact, closes = task.parts[place].artifact, task.parts[place].closes
        scope = Scope(CHANNEL_RUN, task.namespace, task.uid)
        drafter = Drafter(self.redactor, self.max_message_bytes, task.beside)
        with self.objects.open(artifact.object) as opened:
            file = _Counted(opened)
            number = 0
            # An agent's log is left as whoever follows it reads it.
            is_text = partial(_is_events, artifact)
            for member in members(file, self.limits, is_text):  # type: ignore[arg-type]  # it is read, and nothing else
                kind, name = _role(artifact, member.name)
                if kind is None or (artifact.kind == BUNDLE and (kind == "log") != logs):
                    continue
                sheets: Iterator[Sheet | Skimmed]
                if task.skim:
                    skimmer = Skimmer(kind, scope, Count(read).add, read.skip)
                    sheets = Skim(task.number, place, read, closes=closes).of(member, skimmer)
                else:
                    # As the publisher reads it, to the byte: what is too large is cut in the same place.
                    reader = Reader(kind, "live", name, budget=budget(self.max_message_bytes))
                    pages = Pages((task.number, place, number), name, artifact.object.key, drafter, read)
                    pages.keep_other_lines, pages.closes = self.keep_other_lines, closes
                    sheets = pages.of(member, reader, scope.key_of_id)
                before = _events(read)
                for sheet in sheets:
                    sheet.share = min(file.read_bytes / max(artifact.object.size, 1), 1.0)
                    yield sheet
                said, events = (now - then for now, then in zip(_events(read), before, strict=True))
                if said and not events and name.endswith(EVENTS):
                    read.skip(EVENTLESS)
                number += 1
        if artifact.is_packed and not file.read_bytes:
            # Whoever has nothing to pack packs that into some bytes.
            message = "by its name it is packed, and it has no bytes"
            raise ArchiveError(Damage.TRUNCATED, message)
        return number


def unread(task: Task, text: str) -> Iterator[bytes]:
    """Say of a run, encoded, that what is to be read of it can't be, and that it is over."""
    for place, part in enumerate(task.parts):
        if part.to_do:
            yield encode(Read(task.number, place, trouble="unreadable", text=text, may_pass=True))
    yield encode(Over(task.number))


def _events(read: Read) -> tuple[int, int]:
    """Return how many lines of an artifact say something, and how many of these are events."""
    said = read.lines - read.skipped.get(BLANK, 0)
    return said, said - sum(read.skipped.get(reason, 0) for reason in _NO_EVENTS)


def _is_events(artifact: Artifact, path: str) -> bool:
    return _role(artifact, path)[0] == "codex-events"


def _role(artifact: Artifact, path: str) -> tuple[FileKind | None, str]:
    """Return what a file in an artifact is, and what it is called."""
    kind = kind_of(path) if path else None
    if kind is not None and kind != BUNDLE:
        return kind, title_of(path)
    return (None, "") if artifact.kind == BUNDLE else (artifact.kind, artifact.name)


class _Counted:
    """A file, and how much of it has been read."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.read_bytes = 0

    def read(self, size: int, /) -> bytes:
        data: bytes = self._file.read(size)
        self.read_bytes += len(data)
        return data
