"""Reads what a run has left into sheets of a few thousand messages: what each line says, and by which key it is known.

This is what happens in the reading processes; it knows nothing of the database.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from connectors.archive import LIMITS, Limits, Member, members
from connectors.lines import Line
from connectors.objects import ObjectError, Objects
from connectors.unpack import ArchiveError
from flows.artifact import BUNDLE, Artifact, kind_of, title_of
from flows.codex import FileKind, Reader, message_id
from flows.fit import budget
from flows.identity import Scope
from flows.message import CHANNEL_RUN
from flows.spelling import Claim

# So many messages, or bytes of them, are on a sheet at most; one more where it is a large one.
SHEET_ROWS = 4_000
SHEET_BYTES = 2 * 1024 * 1024
# Of one thread; more are no run of Codex.
MAX_TURNS = 1_000


class Part(Struct, frozen=True):
    """An artifact, and what to do with it.

    Attributes:
        to_do: whether it is to be read; otherwise it has been, as it is now.
        messages: in how many messages an agent spoke, where it has been read.
    """

    artifact: Artifact
    to_do: bool = True
    messages: int = 0


class Task(Struct, frozen=True):
    """A run to be read.

    Attributes:
        number: of the run; whatever is found bears it.
        beside: what every message says of the run: its id, its stage, its runtime.
        waiting: attempts whose events may still come, so that their logs are left alone for now.
    """

    number: int
    namespace: str
    uid: str
    parts: list[Part]
    beside: dict[str, str] = {}
    waiting: frozenset[str] = frozenset()

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
        claims: of each message, as a payload without a time.
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
    claims: list[bytes]
    told: dict[int, int]
    threads: dict[int, int | None]
    lines: int
    share: float
    is_last: bool


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


Found = Begun | Sheet | Read | Over

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Found).decode
_encode_claim = msgspec.json.Encoder().encode


class SheetReader(Struct):
    """Reads runs; may be sent to another process.

    Attributes:
        max_message_bytes: what is larger is cut as the publisher cuts it.
        limits: of what an artifact may unpack to.
        keep_other_lines: make messages of lines that are no events, too.
    """

    objects: Objects
    max_message_bytes: int
    limits: Limits = LIMITS
    keep_other_lines: bool = False

    def __call__(self, task: Task) -> Iterator[bytes]:
        """Yield what is found in a run's artifacts, encoded."""
        for found in self.read(task):
            yield encode(found)

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

    def _read_part(self, task: Task, place: int, read: Read) -> Iterator[Sheet]:
        artifact = task.parts[place].artifact
        try:
            yield from self._sheets(task, place, read, logs=False)
            if artifact.kind == BUNDLE and not read.messages:
                yield from self._sheets(task, place, read, logs=True)
        except ObjectError as error:
            read.trouble, read.text, read.may_pass = error.trouble.value, str(error), error.helps_to_wait
        except ArchiveError as error:
            read.trouble, read.text = error.damage.value, f"{artifact.object.key}: {error}"

    def _sheets(self, task: Task, place: int, read: Read, *, logs: bool) -> Iterator[Sheet]:
        artifact = task.parts[place].artifact
        scope = Scope(CHANNEL_RUN, task.namespace, task.uid)
        with self.objects.open(artifact.object) as opened:
            file = _Counted(opened)
            number = 0
            for member in members(file, self.limits):  # type: ignore[arg-type]  # it is read, and nothing else
                kind, name = _role(artifact, member)
                if kind is None or (artifact.kind == BUNDLE and (kind == "log") != logs):
                    continue
                # As the publisher reads it, to the byte: what is too large is cut in the same place.
                reader = Reader(kind, "live", name, budget=budget(self.max_message_bytes))
                pages = _Pages((task.number, place, number), name, artifact.object.key, task.beside, read)
                pages.keep_other_lines = self.keep_other_lines
                for sheet in pages.of(member, reader, scope.key_of_id):
                    sheet.share = min(file.read_bytes / max(artifact.object.size, 1), 1.0)
                    yield sheet
                number += 1


def _role(artifact: Artifact, member: Member) -> tuple[FileKind | None, str]:
    """Return what a file in an artifact is, and what it is called."""
    kind = kind_of(member.name) if member.name else None
    if kind is not None and kind != BUNDLE:
        return kind, title_of(member.name)
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


class _Pages:
    """Turns the lines of one file into sheets, and counts what there is on them."""

    def __init__(self, place: tuple[int, int, int], name: str, key: str, beside: Mapping[str, str], read: Read) -> None:
        self._place = place
        self._name = name
        self._key = key
        self._beside = beside
        self._read = read
        self.keep_other_lines = False
        self._usage: dict[str, dict[str, int]] = {}
        self._sheet = self._blank()
        self._size = 0

    def of(self, member: Member, reader: Reader, key_of_id: Callable[[str], str]) -> Iterator[Sheet]:
        """Yield the sheets; of a file that is damaged, too, what comes before the damage."""
        read, state = self._read, reader.state
        thread = state.thread
        lines = _Lines(member)
        for line in lines:
            read.lines += 1
            self._sheet.lines += 1
            claims = self._claims(reader, line)
            if state.thread is not thread and claims:
                # Whatever else its line says belongs to the thread before.
                thread = state.thread
                self._sheet.threads[len(self._sheet.keys) + len(claims) - 1] = _time_of_id(thread)
            for claim in claims:
                self._add(claim, key_of_id)
            if len(self._sheet.keys) >= SHEET_ROWS or self._size >= SHEET_BYTES:
                yield self._turned(is_last=False)
        if not lines.damage:
            # Otherwise nobody knows what was open at the end.
            for claim in reader.end():
                self._add(claim, key_of_id)
            read.is_open = read.is_open or state.outcome == "running"
        for reason, number in state.skipped.items():
            read.skipped[reason] = read.skipped.get(reason, 0) + number
        yield self._turned(is_last=True)
        if lines.damage:
            raise lines.damage

    def _claims(self, reader: Reader, line: Line) -> list[Claim]:
        if line.lost:
            self._read.skip("too long")
            return []
        try:
            claims = reader.read(line.number, line.data)
        except Exception:  # whatever a line holds, the others are read
            self._read.skip("unreadable")
            return []
        if not claims:
            if not line.data.strip():
                self._read.skip("blank")
            elif self.keep_other_lines and reader.state.skipped:
                return self._other_line(reader, line)
        return claims

    def _other_line(self, reader: Reader, line: Line) -> list[Claim]:
        """Return a line that is no event as what it is, a line."""
        if not reader.state.skipped.pop("not an event", 0):
            return []
        text = line.data.decode("utf-8", "replace").rstrip()
        thread = reader.state.thread
        attrs = {"source": "backfill", "artifact": self._name, "line": line.number, "thread_id": thread}
        self._read.skip("not an event, kept")
        return [
            Claim(
                message_id=message_id(reader.kind, thread, line.number, line.data),
                kind="log",
                role="system",
                content=text,
                attrs={name: value for name, value in attrs.items() if value is not None},
            )
        ]

    def _add(self, claim: Claim, key_of_id: Callable[[str], str]) -> None:
        sheet = self._sheet
        attrs = claim.attrs or {}
        attrs["source"], attrs["artifact_key"] = "backfill", self._key
        fields: dict[str, Any] = {
            "message_id": claim.message_id,
            "kind": claim.kind,
            "role": claim.role,
            "content": claim.content,
            "attrs": attrs,
            **self._beside,
        }
        if claim.tool is not None:
            fields["tool"] = claim.tool
        # What a line doesn't say itself is not told by the line before.
        if claim.timestamp and "synthetic" not in attrs and (told := _microseconds(claim.timestamp)) is not None:
            sheet.told[len(sheet.keys)] = told
            fields["timestamp"] = claim.timestamp
        try:
            encoded = _encode_claim(fields)
        except (UnicodeEncodeError, TypeError, OverflowError, RecursionError):
            sheet.told.pop(len(sheet.keys), None)
            self._read.skip("unreadable")
            return
        sheet.keys.append(key_of_id(claim.message_id or ""))
        sheet.claims.append(encoded)
        self._size += len(encoded)
        self._count(claim)

    def _count(self, claim: Claim) -> None:
        read, kind, attrs = self._read, claim.kind, claim.attrs or {}
        read.rows += 1
        if kind == "message":
            read.messages += claim.role == "assistant" and attrs.get("item_type") == "agent_message"
        elif kind == "tool_result":
            read.interrupted += "synthetic" in attrs
        elif kind == "status" and "usage" in attrs:
            self._count_tokens(attrs)

    def _count_tokens(self, attrs: dict[str, Any]) -> None:
        """Note what a turn took: the thread's count, less what it was before."""
        usage = {name: value for name, value in attrs["usage"].items() if isinstance(value, int) and value >= 0}
        thread = attrs.get("thread_id") or ""
        before = self._usage.get(thread, {})
        # A count that falls has begun anew.
        begun_anew = any(value < before.get(name, 0) for name, value in usage.items())
        own = {name: value - (0 if begun_anew else before.get(name, 0)) for name, value in usage.items()}
        self._usage[thread] = usage
        if len(self._read.turns) < MAX_TURNS:
            self._read.turns.append(Turn(thread, attrs.get("turn", 0), own))

    def _turned(self, *, is_last: bool) -> Sheet:
        sheet, self._sheet, self._size = self._sheet, self._blank(), 0
        sheet.is_last = is_last
        return sheet

    def _blank(self) -> Sheet:
        return Sheet(*self._place, [], [], {}, {}, 0, 1.0, is_last=False)


class _Lines:
    """The lines of a file; where it is damaged, those before, and the damage."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self.damage: ArchiveError | ObjectError | None = None

    def __iter__(self) -> Iterator[Line]:
        try:
            for some in self._member.lines:
                yield from some
        except (ArchiveError, ObjectError) as error:
            self.damage = error


def _time_of_id(thread: str | None) -> int | None:
    """Return when a thread began by its UUIDv7, in microseconds since the Unix epoch."""
    try:
        known = UUID(thread or "")
    except ValueError:
        return None
    return (known.int >> 80) * 1_000 if known.version == 7 else None


def _microseconds(text: str) -> int | None:
    try:
        time = msgspec.convert(text, datetime)
        return round(time.timestamp() * 1_000_000) if time.tzinfo else None
    except (msgspec.ValidationError, OverflowError, ValueError, OSError):
        return None
