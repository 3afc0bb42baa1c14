"""Turns what an agent writes into messages, live: files and pipes, line by line, into an outbox."""

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec import Struct

from connectors.lines import Line, Loss
from connectors.outbox import Outbox
from connectors.parcel import Parcel
from connectors.pipe import PipeReader
from connectors.puback import PublishError
from connectors.tail import FollowedFile
from flows.codex import FileKind, State
from flows.ending import Ending
from flows.ledger import Desk, Ledger, Mark
from flows.origin import FileOrigin, Origin, PipeKind, PipeOrigin
from flows.payload import PayloadError, Speaker, compose
from flows.spelling import Claim

# What the shared room hears of a run, beside its beginning and its end.
GENERAL_KINDS = frozenset({"error"})
_TIMESTAMP_SOURCE = "publisher"


class Report(Struct, frozen=True):
    """What became of the lines.

    Attributes:
        published: lines that the stream has stored.
        left: lines that only a backfill, or a later publisher with the same spool, can add.
        waiting: of those, the lines that are in the spool.
        gaps: of those, which of which file are in no spool.
        skipped: lines of Codex's files that are none of its events.
        absent: files that were never there, each with its kind.
    """

    published: int
    left: int
    waiting: int
    gaps: dict[str, list[tuple[int, int]]]
    skipped: int
    absent: list[tuple[FileKind, str]]


class Clock:
    """Tells the time, never the same twice."""

    def __init__(self) -> None:
        self._last = datetime.min.replace(tzinfo=UTC)

    def now(self) -> str:
        """Return this moment as a payload's `timestamp`; later than any that was returned before."""
        self._last = max(datetime.now(UTC), self._last + timedelta(microseconds=1))
        return self._last.isoformat(timespec="microseconds").replace("+00:00", "Z")


class Sidecar:
    """What stands between an agent's files and an outbox.

    Args:
        speaker: in whose name it publishes.
        outbox: takes the messages; started and closed by the caller.
        ledger: what an earlier publisher kept; kept up to date here.
        budget: bytes for content, tool and attrs of a message.
        general: kinds that are said in the general channel too.
        log_kind: the kind of a log's lines.
        attrs: of every message, unless it has such itself.
        say: told, in one line, what somebody should know.

    Delivery: each line that says something is put into the outbox once, in the order of its file,
    with an id that any later reader of the file would give it; again after a kill, from the ledger's
    last position. A line that finds no room is noted in the ledger.
    """

    def __init__(
        self,
        speaker: Speaker,
        outbox: Outbox,
        ledger: Ledger,
        *,
        budget: int,
        general: Iterable[str] = (),
        log_kind: str = "message",
        attrs: Mapping[str, Any] | None = None,
        say: Callable[[str], None],
    ) -> None:
        self.speaker = speaker
        self.outbox = outbox
        self.ledger = ledger
        self._budget = budget
        self._general = GENERAL_KINDS | set(general)
        self._log_kind = log_kind
        self._attrs = dict(attrs or {})
        self._say = say
        self._clock = Clock()
        self._files: list[FileOrigin] = []
        self._pipes: list[PipeOrigin] = []
        self._told: set[str] = set()
        # Whose lines find no room just now.
        self._full: set[str] = set()
        # Files stay where they were read to.
        self._is_abandoned = False
        # What the stream refuses is noted on the connection's thread.
        self._lock = threading.Lock()

    def follow(self, path: Path, kind: FileKind) -> None:
        """Follow a file from where an earlier publisher left off."""
        path = path.absolute()
        mark = self.ledger.marks.get(f"{kind}:{path}")
        file = FileOrigin(FollowedFile(path, mark.position if mark else None), kind, self._budget)
        if mark:
            file.begin(mark.state)
        self._files.append(file)

    def listen(self, pipe: PipeReader, kind: PipeKind, name: str) -> None:
        """Take the lines of a pipe."""
        self._pipes.append(PipeOrigin(pipe, kind, name, self._budget, self.ledger.session))

    @property
    def paths(self) -> list[Path]:
        """The files that are followed."""
        return [file.file.path for file in self._files]

    @property
    def is_at_end(self) -> bool:
        """Whether there are pipes only, and all are at their end."""
        return not self._files and bool(self._pipes) and all(pipe.pipe.is_done for pipe in self._pipes)

    def started(self, kind: str = "status", content: str = "started", **attrs: Any) -> None:
        """Say in both channels that the run has started, unless an earlier publisher of it has."""
        if self.ledger.started:
            return
        self.ledger.started = True
        self._tell(kind, content, "started", {"status": "started", **attrs})

    def finished(self, ending: Ending, kind: str = "status", **attrs: Any) -> None:
        """Say in both channels how the run has ended."""
        said: dict[str, Any] = {"status": ending.status, **attrs}
        if ending.exit_code is not None:
            said["exit_code"] = ending.exit_code
        self._tell(kind, ending.words, "finished", said)

    def _tell(self, kind: str, content: str, what: str, attrs: dict[str, Any]) -> None:
        claim = Claim(
            message_id=f"{self.ledger.session}:{what}",
            kind=kind,
            role="system",
            content=content,
            timestamp=self._clock.now(),
            attrs={"source": "live", **attrs},
        )
        self._post(claim, "", 0, counts=False, general=True)

    def poll(self) -> bool:
        """Take what is there to be read; returns whether something was. Never waits."""
        return any([*map(self._poll_file, self._files), *map(self._poll_pipe, self._pipes)])

    def _poll_file(self, source: FileOrigin) -> bool:
        if self.outbox.has_enough:
            # The file keeps the rest, and NATS is busy with what it has got.
            return True
        try:
            lines = source.file.read()
        except OSError as error:
            source.is_unreadable = True
            self.say_once(f"{source.path}: {error.strerror or error}")
            return False
        if lines and source.file.life != source.life:
            source.begin(State())
            source.life = source.file.life
        self._take(source, lines)
        return bool(lines)

    def _poll_pipe(self, source: PipeOrigin) -> bool:
        chunks = source.pipe.take()
        for chunk in chunks:
            if isinstance(chunk, bytes):
                self._take(source, source.cutter.feed(chunk))
            else:
                self._lose(source, chunk)
        return bool(chunks)

    def _lose(self, source: PipeOrigin, loss: Loss) -> None:
        first = source.cutter.number + 1
        source.cutter.lose(loss)
        if loss.lines:
            with self._lock:
                self.ledger.leave(source.origin, first, source.cutter.number)

    def end(self) -> None:
        """Take the last lines, though nothing ends them, once nothing more is written.

        A call without a result is left open: that it will never have one, only the whole file tells.
        """
        for source in self._files:
            self._take(source, source.file.end())
        for pipe in self._pipes:
            self._take(pipe, pipe.cutter.flush())

    def abandon(self) -> None:
        """Count what there was no time for; files stay where they were read to, for the next publisher."""
        self._note_positions()
        self._is_abandoned = True
        for file in self._files:
            with suppress(OSError):
                while lines := file.file.read():
                    for line in lines:
                        self._leave(file.origin, line.number, counts=bool(line.data.strip()))
        for pipe in self._pipes:
            pipe.pipe.stop()
            while chunks := pipe.pipe.take():
                for chunk in chunks:
                    self._lose(pipe, Loss.of(chunk) if isinstance(chunk, bytes) else chunk)

    def guess(self) -> Ending:
        """Return how the run ended as far as the files tell."""
        outcomes = [each.reader.state.outcome for each in [*self._files, *self._pipes] if each.reader]
        if "failed" in outcomes:
            return Ending(problem="the last turn failed")
        if "running" in outcomes:
            return Ending(problem="it ended in the middle of a turn")
        return Ending(is_good="completed" in outcomes)

    def _take(self, source: Origin, lines: list[Line]) -> None:
        for line in lines:
            if line.lost:
                self._leave(source.origin, line.number, counts=True)
                self.say_once(f"line {line.number} of {source.origin} is too long, {line.lost:,} bytes")
                continue
            claims = source.decide(line.data).read(line.number, line.data)
            for place, claim in enumerate(claims):
                self._publish(source, claim, line.number, counts=place == len(claims) - 1)

    def _publish(self, source: Origin, claim: Claim, number: int, *, counts: bool) -> None:
        attrs = claim.attrs or {}
        if claim.timestamp is None or "synthetic" in attrs:
            claim.timestamp = self._clock.now()
            claim.attrs = {**attrs, "timestamp_source": _TIMESTAMP_SOURCE}
        if source.kind == "log":
            claim.kind = self._log_kind
        self._post(claim, source.origin, number, counts=counts, general=self._is_general(claim))

    def _is_general(self, claim: Claim) -> bool:
        attrs = claim.attrs or {}
        if claim.kind not in self._general:
            return False
        return claim.kind != "error" or not (attrs.get("severity") == "warning" or "duplicate_of" in attrs)

    def _post(self, claim: Claim, origin: str, number: int, *, counts: bool, general: bool) -> None:
        if self._attrs:
            claim.attrs = self._attrs | (claim.attrs or {})
        try:
            messages = [compose(self.speaker, claim)]
            if general:
                messages.append(compose(self.speaker, claim, general=True))
        except PayloadError as error:
            self.say_once(f"line {number} of {origin}: {error}")
            self._leave(origin, number, counts=counts)
            return
        for place, message in enumerate(messages):
            is_line = counts and place == 0
            parcel = Parcel(message.subject, message.payload, message.message_id, origin, number, is_line)
            if self.outbox.add(parcel):
                self._full.discard(origin)
                continue
            self._leave(origin, number, counts=is_line)
            if origin and origin not in self._full:
                self._full.add(origin)
                self.say_once(f"the spool is full: lines of {origin} from {number} on are left to backfill")

    def _leave(self, origin: str, number: int, *, counts: bool) -> None:
        if counts:
            with self._lock:
                self.ledger.leave(origin, number)

    def left(self, parcel: Parcel, error: PublishError) -> None:
        """Note a message that the stream will never take."""
        self.say_once(str(error))
        self._leave(parcel.origin, parcel.line, counts=parcel.counts)

    def miss(self, origin: str, first: int, last: int) -> None:
        """Note lines that waited in the spool, and can't be read there any more."""
        with self._lock:
            if origin:
                self.ledger.leave(origin, first, last)
            else:
                self.ledger.left += last - first + 1
        of = f"lines {first}-{last} of {origin}" if origin else f"{last - first + 1} messages"
        self.say_once(f"what the spool kept is damaged: {of} can't be read there any more, and are left to backfill")

    def say_once(self, text: str) -> None:
        """Tell something that nobody was told yet."""
        if text not in self._told and len(self._told) < 100:
            self._told.add(text)
            self._say(text)

    def checkpoint(self, desk: Desk, *, over: bool = False) -> None:
        """Keep in mind how far everything was read and sent by now.

        Args:
            desk: where.
            over: the run has ended, and the next one is another.
        """
        with self._lock:
            self._note_positions()
            if over:
                self.ledger.end()
            desk.write(self.ledger)
        self.outbox.checkpoint()

    def _note_positions(self) -> None:
        if self._is_abandoned:
            return
        for source in self._files:
            if (position := source.file.position) is not None and source.reader is not None:
                self.ledger.marks[source.key] = Mark(position, source.reader.state)

    def report(self) -> Report:
        """Return what became of the lines."""
        waiting = self.outbox.waiting
        readers = [each.reader for each in [*self._files, *self._pipes] if each.reader]
        return Report(
            published=self.outbox.published,
            left=self.ledger.left + waiting,
            waiting=waiting,
            gaps={origin: [(gap.first, gap.last) for gap in gaps] for origin, gaps in self.ledger.gaps.items()},
            skipped=sum(sum(reader.state.skipped.values()) for reader in readers),
            absent=[(each.file_kind, each.path) for each in self._files if each.is_absent],
        )
