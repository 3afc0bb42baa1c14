"""A command that is run as if nobody stood between it and its terminal."""

import fcntl
import os
import pty
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from connectors.pipe import PipeReader
from connectors.process import Process, shell_code
from flows.ending import Ending
from web.failure import say
from web.streams import STDOUT

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
# A terminal sends these to all that runs in its foreground.
_FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT})
# Something in the background may hold the command's output open for ever.
LAST_WORDS_S = 0.5


class Child:
    """A command whose stdout is read and passed on unchanged.

    Its stdin and stderr are ours. Where our stdout is a terminal, so is its.
    """

    file: Path | None = None

    def __init__(self, command: Sequence[str], wake: Callable[[], None]) -> None:
        """Start it.

        Raises:
            OSError: it can't be started.
        """
        self._terminal = os.isatty(STDOUT)
        source, sink = _terminal() if self._terminal else os.pipe()
        try:
            self._process = subprocess.Popen(command, stdout=sink)
        except OSError:
            os.close(source)
            raise
        finally:
            os.close(sink)
        self._ended_at: float | None = None
        self._owed_bytes = 0
        self._watched = Process(self._process.pid)
        self._wake = wake
        self._screen = os.dup(source) if self._terminal else None
        self.pipe = PipeReader(source, wake, copy_to=STDOUT, uncopied=_tell)
        self.pipe.start()

    def pass_signals_on(self) -> None:
        """Have the command get what is sent to us."""
        for number in PASSED_ON:
            signal.signal(number, self._pass_on)
        if self._terminal:
            signal.signal(signal.SIGWINCH, self._resize)
            self._resize()

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if number in _FROM_TERMINAL and _in_foreground():
            # It has got it already.
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    def _resize(self, *_: object) -> None:
        if self._screen is not None:
            with suppress(OSError):
                size = fcntl.ioctl(STDOUT, termios.TIOCGWINSZ, b"\0" * 8)
                fcntl.ioctl(self._screen, termios.TIOCSWINSZ, size)

    def fileno(self) -> int | None:
        """Return what becomes readable at its end."""
        return self._watched.fileno()

    @property
    def exit_code(self) -> int:
        """Its exit code, once it has ended, as a shell tells it."""
        return shell_code(self._process.wait())

    @property
    def is_over(self) -> bool:
        """Whether it has ended and all that it wrote was passed on, however slow whoever reads it is."""
        if self._process.poll() is None:
            return False
        if self._ended_at is None:
            self._ended_at, self._owed_bytes = time.monotonic(), self.pipe.written_bytes
        has_waited = time.monotonic() - self._ended_at > LAST_WORDS_S
        return self.pipe.is_done or (has_waited and self.pipe.passed_bytes >= self._owed_bytes)

    def ending(self, _guess: Ending) -> Ending:
        """Return how it ended."""
        return Ending(self.exit_code)


def _tell(error: OSError) -> None:
    after = "what the command prints is shown no longer, and published as before"
    say(f"stdout can't be written: {error.strerror}; {after}")


def _terminal() -> tuple[int, int]:
    """Return both sides of a terminal of our own, which leaves line ends as they are: the real one makes them."""
    source, sink = pty.openpty()
    mode = termios.tcgetattr(sink)
    mode[1] &= ~termios.OPOST
    termios.tcsetattr(sink, termios.TCSANOW, mode)
    return source, sink


def _in_foreground() -> bool:
    try:
        with Path("/dev/tty").open() as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
