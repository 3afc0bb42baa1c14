"""Turns the lines of a file into sheets: what each line says, and by which key it is known."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from connectors.archive import Member
from connectors.lines import Line
from connectors.objects import ObjectError
from connectors.unpack import ArchiveError
from flows.codex import TOO_LONG, UNREADABLE, Reader, message_id, nothing
from flows.codex.pem import hide
from flows.draft import Drafter
from flows.moment import EARLIEST_US, latest_us
from flows.sheet import Read, Sheet, Turn
from flows.spelling import Claim
from flows.text import storable

# So many messages, or bytes of them, are on a sheet at most; one more where it is a large one.
SHEET_ROWS = 4_000
SHEET_BYTES = 2 * 1024 * 1024
# Of one thread; more are no run of Codex.
MAX_TURNS = 1_000
# What is longer is no time, and is not kept as one that was given.
MAX_TIME_CHARS = 100


class Count:
    """Counts what the messages of an artifact's file are.

    Args:
        read: the account of the artifact, which is kept up to date.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._usage: dict[str, dict[str, int]] = {}

    def add(self, claim: Claim) -> None:
        """Count a message."""
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


class Pages:
    """Turns the lines of one file into sheets, and counts what there is on them."""

    def __init__(self, place: tuple[int, int, int], name: str, key: str, drafter: Drafter, read: Read) -> None:
        self._place = place
        self._name = name
        self._key = key
        self._drafter = drafter
        self._read = read
        self.keep_other_lines = False
        self.closes = True
        self._count = Count(read)
        self._sheet = self._blank()
        self._size = 0
        self._latest = latest_us()

    def of(self, member: Member, reader: Reader, key_of_id: Callable[[str], str]) -> Iterator[Sheet]:
        """Yield the sheets; of a file that is damaged, too, what comes before the damage."""
        read, state = self._read, reader.state
        thread = state.thread
        lines = Lines(member)
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
            for claim in reader.end() if self.closes else ():
                self._add(claim, key_of_id)
            read.unanswered += len(state.calls)
            read.is_open = read.is_open or state.outcome == "running"
        for reason, number in state.skipped.items():
            read.skipped[reason] = read.skipped.get(reason, 0) + number
        yield self._turned(is_last=True)
        if lines.damage:
            raise lines.damage

    def _claims(self, reader: Reader, line: Line) -> list[Claim]:
        if line.lost:
            self._read.skip(TOO_LONG)
            return []
        try:
            claims = reader.read(line.number, line.data)
        except Exception:  # whatever a line holds, the others are read
            self._read.skip(UNREADABLE)
            return []
        if not claims:
            if why := nothing(line.data):
                self._read.skip(why)
            elif self.keep_other_lines and reader.state.skipped:
                return self._other_line(reader, line)
        return claims

    def _other_line(self, reader: Reader, line: Line) -> list[Claim]:
        """Return a line that is no event as what it is, a line."""
        if not reader.state.skipped.pop("not an event", 0):
            return []
        state = reader.state
        text, state.key = hide(line.data.decode("utf-8", "replace").rstrip(), state.key)
        thread = state.thread
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
        if claim.attrs is None:
            claim.attrs = {}
        claim.attrs["source"], claim.attrs["artifact_key"] = "backfill", self._key
        told = self._told(claim)
        try:
            draft = self._drafter.draft(claim, usable_time=told is not None)
        except (UnicodeEncodeError, TypeError, OverflowError, RecursionError):
            self._read.skip(UNREADABLE)
            return
        if told is not None:
            sheet.told[len(sheet.keys)] = told
        sheet.keys.append(key_of_id(claim.message_id or ""))
        sheet.drafts.append(draft)
        if draft is not None:
            self._size += len(draft.content) + len(draft.attrs)
        self._count.add(claim)

    def _told(self, claim: Claim) -> int | None:
        """Return a line's time, in microseconds since the Unix epoch; None where the ingest would take none."""
        text = claim.timestamp
        # What a line doesn't say itself is not told by the line before.
        if text is None or "synthetic" in (claim.attrs or {}) or len(text) > MAX_TIME_CHARS:
            claim.timestamp = None
            return None
        claim.timestamp = storable(text)
        time = _microseconds(text)
        return time if time is not None and EARLIEST_US <= time <= self._latest else None

    def _turned(self, *, is_last: bool) -> Sheet:
        sheet, self._sheet, self._size = self._sheet, self._blank(), 0
        self._drafter.redact(sheet.drafts)
        sheet.is_last = is_last
        return sheet

    def _blank(self) -> Sheet:
        return Sheet(*self._place, [], [], {}, {}, 0, 1.0, is_last=False)


class Lines:
    """The lines of a file; where it is damaged, those before, and the damage."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self.damage: ArchiveError | ObjectError | None = None

    def __iter__(self) -> Iterator[Line]:
        for some in self.some():
            yield from some

    def some(self) -> Iterator[list[Line]]:
        """Yield the lines, some at a time."""
        try:
            yield from self._member.lines
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
