"""Follows what an agent writes until its run is over, and says what came of it."""

from __future__ import annotations

import os
import secrets
import selectors
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from connectors.connection import NatsUnavailable
from connectors.outbox import CHECKPOINT_S
from connectors.parcel import Parcel
from connectors.puback import PublishError
from connectors.watch import FileWatch
from flows.ending import Ending
from flows.fit import budget
from flows.ledger import Desk, Ledger
from flows.payload import Speaker
from flows.post import Post
from flows.sidecar import Report, Sidecar
from web.failure import IN_PART, in_words, say, tell

if TYPE_CHECKING:
    from flows.settings import Settings

# While NATS is busy with what it has got, files can wait.
BREATH_S = 0.005
# At the end a file may still get what is on its way to it.
LAST_LOOKS = 2
LOOK_S = 0.02
# What is on disk is read to its end, however little time there is to send it.
READING_S = 2.0
# An end comes once and stays to be read, while the last lines may take their time.
_ONCE = object()
# By which a file of a kind is asked for.
OPTIONS = {"codex-events": "--codex-events", "log": "--log-file"}


class End(Protocol):
    """The end of a run: `web.until.Until`, or a child of our own."""

    file: Path | None

    def fileno(self) -> int | None:
        """Return what becomes readable at the end, if anything does."""

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to follow."""

    def ending(self, guess: Ending) -> Ending:
        """Return how it ended; `guess` is what its files tell."""


class Station(Struct):
    """A sidecar with all that it needs to run: where it keeps what it knows, and what wakes it.

    Attributes:
        wake: has `run` look for something to do; from any thread.
    """

    sidecar: Sidecar
    post: Post
    settings: Settings
    selector: selectors.BaseSelector
    wake: Callable[[], None]
    _wakened: int
    _lost: deque[tuple[str, int, int]]

    @classmethod
    def of(cls, settings: Settings, name: str, *, fresh: bool = False, **options: Any) -> Station:
        """Make a sidecar that publishes as the settings say.

        Args:
            settings: where and as whom.
            name: of its connection.
            fresh: this is another run than the one that an earlier publisher told of.
            options: of the sidecar.

        Raises:
            SettingError: a setting could never work.
        """
        speaker = Speaker.of(settings)

        def complain(error: Exception) -> None:
            sidecar.say_once(str(in_words(error) or in_words(NatsUnavailable(str(error)))))

        def leave(parcel: Parcel, error: PublishError) -> None:
            sidecar.left(parcel, error)

        lost: deque[tuple[str, int, int]] = deque()
        post = Post.of(
            settings,
            speaker,
            name,
            say=say,
            on_trouble=complain,
            on_left=leave,
            on_lost=lambda *lines: lost.append(lines),
        )
        ledger = Ledger() if fresh else post.desk.read()
        ledger.session = ledger.session or secrets.token_hex(8)
        sidecar = Sidecar(
            speaker,
            post.outbox,
            ledger,
            budget=budget(settings.agent_comms_max_message_bytes),
            say=say,
            **options,
        )
        reading, writing = os.pipe()
        for file in (reading, writing):
            os.set_blocking(file, False)
        selector = selectors.DefaultSelector()
        selector.register(reading, selectors.EVENT_READ)

        def wake() -> None:
            with suppress(BlockingIOError):
                os.write(writing, b".")

        return cls(sidecar, post, settings, selector, wake, reading, lost)

    def run(self, until: End, grace: float, *, finished: str = "status") -> Report:
        """Follow until the run is over, then send what is left.

        Args:
            until: tells when it is over.
            grace: for how many seconds is tried to send what is left.
            finished: the kind in which is said how it ended.
        """
        sidecar = self.sidecar
        sidecar.outbox.start()
        self._tell_prometheus()
        watch = FileWatch([*sidecar.paths, *([until.file] if until.file else [])])
        for file, data in ((watch.fileno(), None), (until.fileno(), _ONCE)):
            if file is not None:
                self.selector.register(file, selectors.EVENT_READ, data)
        saved_at = 0.0
        while not (until.is_over or sidecar.is_at_end):
            changed = sidecar.poll()
            if (now := time.monotonic()) - saved_at > CHECKPOINT_S:
                self._miss()
                sidecar.checkpoint(self.post.desk)
                saved_at = now
            self._wait(watch, changed=changed)
        watch.close()
        return self._end(until, time.monotonic() + grace, finished)

    def _miss(self) -> None:
        """Note what the spool has lost."""
        while self._lost:
            self.sidecar.miss(*self._lost.popleft())

    def _tell_prometheus(self) -> None:
        # What it takes to do so is seldom wanted, and costs a start half as long again.
        if not self.settings.agent_comms_metrics_port:
            return
        from flows.outbound import PublisherMetrics

        ledger = self.sidecar.ledger
        PublisherMetrics(self.sidecar.outbox, lambda: ledger.left).serve(self.settings)

    def _wait(self, watch: FileWatch, *, changed: bool) -> None:
        patience = watch.patience(changed=changed)
        if changed:
            patience = BREATH_S if self.sidecar.outbox.has_enough else 0
        if ready := self.selector.select(patience):
            for key, _ in ready:
                if key.data is _ONCE:
                    self.selector.unregister(key.fileobj)
            with suppress(BlockingIOError):
                os.read(self._wakened, 4096)
            watch.drain()
        if not changed:
            watch.refresh()

    def _end(self, until: End, deadline: float, finished: str) -> Report:
        sidecar = self.sidecar
        looks = 0
        last_look = max(deadline, time.monotonic() + READING_S)
        while looks < LAST_LOOKS and time.monotonic() < last_look:
            if sidecar.poll():
                time.sleep(BREATH_S if sidecar.outbox.has_enough else 0)
            else:
                looks += 1
                time.sleep(LOOK_S)
        if looks == LAST_LOOKS:
            sidecar.end()
        ending = until.ending(sidecar.guess())
        if looks < LAST_LOOKS:
            sidecar.abandon()
        sidecar.finished(ending, finished)
        sidecar.outbox.drain(deadline)
        self._miss()
        report = sidecar.report()
        sidecar.checkpoint(self.post.desk, over=True)
        self.post.close()
        return report


def report_on(report: Report, desk: Desk, *, strict: bool) -> int:
    """Say what became of the lines; returns the exit code.

    Args:
        report: what became of them.
        desk: where the rest is.
        strict: it is a failure where something is left.
    """
    tell(summary(report))
    for line in details(report, desk.folder):
        say(line)
    return IN_PART if strict and report.left else 0


def summary(report: Report) -> str:
    """Return what became of the lines, in a line that tools may read."""
    return f"{report.published} published, {report.left} left to backfill"


def details(report: Report, folder: Path | None) -> list[str]:
    """Return what else there is to say of the lines, a line each.

    Args:
        report: what became of them.
        folder: the spool's; without one what was in it is gone.
    """
    lines = []
    if report.waiting and folder:
        lines.append(f"of those left, {report.waiting} are kept in {folder}, and the next start sends them")
    elif report.waiting:
        lines.append(f"of those left, {report.waiting} were kept in memory alone and are gone")
    for origin, gaps in report.gaps.items():
        shown = ", ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in gaps[:20])
        lines.append(f"left to backfill: lines {shown}{' …' if len(gaps) > 20 else ''} of {origin}")
    if report.skipped:
        lines.append(f"{report.skipped} lines are no events of Codex")
    lines += [f"{OPTIONS[kind]} {path}: there never was such a file" for kind, path in report.absent]
    return lines
