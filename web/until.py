"""What ends a run: a process, a file, a signal, the end of all pipes."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

from connectors.process import Process
from flows.sidecar import Ending

ENDING_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Until:
    """Tells whether a run is over.

    Args:
        pid: of the process that the run is.
        file: that is there once the run is over; it may hold the exit code.
        exit_code_file: that holds the exit code once the agent has ended; its being there ends nothing.
    """

    def __init__(self, pid: int | None, file: Path | None, exit_code_file: Path | None = None) -> None:
        self._process = Process(pid) if pid is not None else None
        self.file = file
        self._told_in = exit_code_file or file
        self.signals = 0
        self._wake: Callable[[], None] = lambda: None

    def listen(self, wake: Callable[[], None]) -> None:
        """Take the signals that end a process for word that the run is over; the second one ends it at once.

        Args:
            wake: has somebody ask whether the run is over.
        """
        self._wake = wake
        for number in ENDING_SIGNALS:
            signal.signal(number, self._told)

    def _told(self, number: int, _frame: FrameType | None) -> None:
        self.signals += 1
        if self.signals > 1:
            os._exit(128 + number)
        self._wake()

    def fileno(self) -> int | None:
        """Return what becomes readable at the process's end, if anything does."""
        return self._process.fileno() if self._process else None

    @property
    def is_over(self) -> bool:
        """Whether the run is over as far as we are concerned."""
        if self.signals > 0 or (self.file and self.file.exists()):
            return True
        return bool(self._process and self._process.has_ended())

    def ending(self, guess: Ending) -> Ending:
        """Return how it ended.

        Args:
            guess: where nobody has told.
        """
        if self._process and self._process.exit_code is not None:
            return Ending(self._process.exit_code)
        if self._told_in:
            with suppress(OSError, ValueError):
                return Ending(int(self._told_in.read_text(encoding="utf-8", errors="replace").strip()))
        return guess
