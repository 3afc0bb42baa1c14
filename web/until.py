"""What ends a run: a process, a file, a signal, the end of all pipes."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from connectors.process import Process
from flows.ending import Ending

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
        self._exit_code_file = exit_code_file
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
        code = _code_in(self._exit_code_file or self.file)
        if code is not None:
            return Ending(code)
        if guess.status == "unknown" and self._exit_code_file is None and self.file and self.file.exists():
            # Whoever makes the file says that the run is over, and would say that it went wrong.
            return Ending(is_good=True)
        return guess

    def doubts(self) -> Iterator[str]:
        """Yield what was asked for and doesn't tell how it ended, a line each, with the option's name."""
        if self._process and not self._process.was_there:
            yield f"--until-exit {self._process.pid}: there was no such process"
        elif self._process and self._process.has_ended() and self._process.exit_code is None:
            yield f"--until-exit {self._process.pid}: its parent took its exit code, nobody else can know it"
        if self._exit_code_file and _code_in(self._exit_code_file) is None:
            what = "holds no exit code" if self._exit_code_file.exists() else "never came"
            yield f"--exit-code-file {self._exit_code_file}: it {what}"


def _code_in(file: Path | None) -> int | None:
    try:
        return int(file.read_text(encoding="utf-8", errors="replace").strip()) if file else None
    except (OSError, ValueError):
        return None
