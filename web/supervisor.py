"""Keeps programs running: it starts them again when they end, and leaves none behind.

A program's output goes to a file of its own. Each runs in a session of its own,
so that a Ctrl-C on the terminal reaches the supervisor alone, which ends them in
order; where even the supervisor is killed, the kernel ends them (on Linux).
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Self

TICK_S = 0.05
# How long a program may take to end in order before it is killed.
PATIENCE_S = 5.0
# A program that ended is started at once, then after 0.5 s, 1 s, 2 s …, until it has run for a while.
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 10.0
STEADY_S = 10.0
# A log is set aside when it is larger at the start.
LOG_BYTES = 16 * 1024 * 1024
TAIL_BYTES = 4096
PR_SET_CHILD_SUBREAPER = 36

Note = Callable[[str], object]


class ProgramError(RuntimeError):
    """A program ends again and again before it is of use; the text is one line."""


class Asked(Exception):
    """Somebody asked the supervisor to end."""


@dataclass(frozen=True)
class Program:
    """What is to run.

    Attributes:
        command: the words that start it; the first one is a path.
        stop_signal: what ends it in order.
        stage: programs of a higher stage are ended first.
        keeps_open: descriptors that it inherits.
    """

    name: str
    command: list[str]
    log_file: Path
    environ: Mapping[str, str] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stage: int = 0
    keeps_open: tuple[int, ...] = ()


class _Child:
    """A program and the process that it is at the moment."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.ends_in_a_row = 0
        self.start_at = 0.0

    def start(self) -> None:
        self.started_at = time.monotonic()
        with self.program.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.program.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.program.environ,
                start_new_session=True,
                pass_fds=self.program.keeps_open,
            )

    def has_ended(self) -> bool:
        """Say whether there is an end to be taken; its number stays its own until then."""
        if self.process is None:
            return False
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def reap(self) -> int:
        """Take the exit code of the process, which has ended, and end what it has left behind."""
        if self.process is None:
            return 0
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        code = self.process.wait()
        self.process = None
        return code

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            # Not by `send_signal`, which would take the end of a process that has just ended.
            os.kill(self.process.pid, number)

    def last_words(self) -> str:
        """Return the last line of its log."""
        with self.program.log_file.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Supervisor:
    """Runs programs until it is asked to end.

        with Supervisor(note=print) as supervisor:
            supervisor.start(program)
            supervisor.run()

    Args:
        note: told each thing that a person should know, a line each.
    """

    def __init__(self, note: Note) -> None:
        self._note = note
        self._children: list[_Child] = []
        self._spared = set(_children_of_ours())
        # Plain values, since a signal handler sets them and must never wait for a lock.
        self._asked = False
        self._impatient = False

    def __enter__(self) -> Self:
        _adopt_orphans(yes=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        _adopt_orphans(yes=False)

    def start(self, program: Program) -> None:
        """Start a program, and start it again whenever it ends."""
        if self._asked:
            raise Asked
        with suppress(FileNotFoundError):
            if program.log_file.stat().st_size > LOG_BYTES:
                program.log_file.replace(program.log_file.with_suffix(".old.log"))
        child = _Child(program)
        child.start()
        self._children.append(child)

    def ask_to_end(self) -> None:
        """Have `run` and `wait_for` return; asked a second time, programs are killed instead of ended in order."""
        self._impatient = self._asked
        self._asked = True

    @contextmanager
    def asked_by_signals(self) -> Iterator[None]:
        """End on Ctrl-C, SIGTERM and a closed terminal."""

        def ask(_number: int, _frame: FrameType | None) -> None:
            self.ask_to_end()

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, ask) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def wait_for(self, ready: Callable[[], bool], what: str, *, tries: int, timeout: float) -> None:
        """Keep the programs running until something is ready.

        Args:
            ready: asked again and again.
            what: the name of what is waited for.
            tries: how often a program may end before it is given up.
            timeout: in seconds.

        Raises:
            ProgramError: a program ended too often, or it took too long.
            Asked: somebody asked to end.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            self._look_after()
            for child in self._children:
                if child.ends_in_a_row >= tries:
                    message = f"{child.program.name} does not start: {_said(child)}"
                    raise ProgramError(message)
            if time.monotonic() > deadline:
                message = f"{what} is not ready after {timeout:.0f} s"
                raise ProgramError(message)
            if self._asked:
                raise Asked
            time.sleep(TICK_S / 2)

    def run(self) -> None:
        """Keep the programs running until somebody asks to end."""
        while not self._asked:
            self._look_after()
            time.sleep(TICK_S)

    def _look_after(self) -> None:
        for child in self._children:
            if child.has_ended():
                self._take_end(child)
        now = time.monotonic()
        for child in self._children:
            if child.process is None and now >= child.start_at:
                child.start()

    def _take_end(self, child: _Child) -> None:
        code = child.reap()
        self._end_orphans()
        now = time.monotonic()
        steady = now - child.started_at > STEADY_S
        child.ends_in_a_row = 1 if steady else child.ends_in_a_row + 1
        past = child.ends_in_a_row - 1
        delay = min(FIRST_DELAY_S * 2 ** (past - 1), LONGEST_DELAY_S) if past else 0.0
        child.start_at = now + delay
        when = f"in {delay:g} s" if delay else "now"
        said = f": {_said(child)}" if past else ""
        self._note(f"{child.program.name} ended ({_how(code)}); it is started again {when}{said}")

    def end(self) -> None:
        """End every program, later stages first; kill what does not end, and what they left behind."""
        for stage in sorted({child.program.stage for child in self._children}, reverse=True):
            self._end_all([child for child in self._children if child.program.stage == stage])
        self._end_orphans()
        self._children.clear()

    def _end_orphans(self) -> None:
        """Kill what our programs left behind, and what becomes ours thereby."""
        kept = self._spared | {child.process.pid for child in self._children if child.process}
        while orphans := set(_children_of_ours()) - kept:
            for pid in orphans:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in orphans:
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def _end_all(self, children: list[_Child]) -> None:
        for child in children:
            child.signal(child.program.stop_signal)
        deadline = time.monotonic() + PATIENCE_S
        while running := [child for child in children if child.process]:
            for child in children:
                if child.has_ended():
                    child.reap()
            if self._impatient or time.monotonic() > deadline:
                for child in running:
                    child.signal(signal.SIGKILL)
            time.sleep(TICK_S / 5)


def _said(child: _Child) -> str:
    words = child.last_words()
    return f"{words} (see {child.program.log_file})" if words else f"see {child.program.log_file}"


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _adopt_orphans(*, yes: bool) -> None:
    """Have what our programs leave behind become our children, so that it can be found; on Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0)


def _children_of_ours() -> Iterator[int]:
    """Yield the children of this process; none where the system has no /proc."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name before it, in parentheses, may hold anything.
            parent = int(status.read_text(errors="replace").rpartition(")")[2].split()[1])
            if parent == os.getpid():
                yield int(status.parent.name)
