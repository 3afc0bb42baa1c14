"""Shows on a terminal how far a backfill is: a bar with its rate and the time left, or a line now and then."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from web.failure import say

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from flows.progress import Progress

EVERY_S = 5.0


class Gauge:
    """How far it is, on stderr; nothing where it is over at once."""

    def __init__(self) -> None:
        self._bar = self._make_bar() if sys.stderr.isatty() else None
        self._task: TaskID | None = None
        self._began = self._shown_at = time.monotonic()
        self.seconds = 0.0

    @staticmethod
    def _make_bar() -> Bar:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        return Progress(
            TextColumn("{task.fields[runs]} runs"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[rate]} lines/s"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.monotonic() - self._began
        if self._bar is not None:
            self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Show how far it is."""
        now = time.monotonic()
        rate = progress.lines / max(now - self._began, 0.001)
        if self._bar is not None:
            self._draw(progress, rate)
        elif now - self._shown_at >= EVERY_S:
            self._shown_at = now
            say(self._in_words(progress, now - self._began, rate))

    def _draw(self, progress: Progress, rate: float) -> None:
        if self._bar is None:
            return
        if self._task is None:
            self._task = self._bar.add_task("", runs="", rate="")
        self._bar.update(
            self._task,
            completed=progress.done_bytes,
            total=progress.bytes,
            runs=f"{progress.done_runs:,} of {progress.runs:,}",
            rate=f"{rate:,.0f}",
        )

    @staticmethod
    def _in_words(progress: Progress, seconds: float, rate: float) -> str:
        share = progress.done_bytes / progress.bytes if progress.bytes else 1.0
        left = f", {seconds / share - seconds:,.0f} s left" if 0 < share < 1 else ""
        return f"{progress.done_runs:,} of {progress.runs:,} runs, {share:.0%}, {rate:,.0f} lines/s{left}"
