"""What the system says of processes."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from tests.waiting import wait_until


def is_running(pid: int) -> bool:
    """Whether a process is there and has not ended; one that nobody has waited for yet has."""
    return _state(pid) not in ("", "Z", "X")


def is_stopped(pid: int) -> bool:
    return _state(pid) == "T"


def freeze(pid: int) -> list[int]:
    """Stop a process and its children, and return them; the process first, so that none comes or is gone meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(pid), "it to stand still")
    children = [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    for child in children:
        os.kill(child, signal.SIGSTOP)
    return [pid, *children]


def descendants(pid: int) -> dict[int, str]:
    """The living processes that a process has started, and those they have; each with its command line."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int(_fields(int(folder.name))[1])
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        above = waiting.pop()
        for child, parent in parents.items():
            if parent == above and is_running(child):
                found[child] = _command(child)
                waiting.append(child)
    return found


def _fields(pid: int) -> list[str]:
    # The name before them, in parentheses, may hold anything.
    return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()


def _state(pid: int) -> str:
    with suppress(OSError):
        return _fields(pid)[0]
    return ""


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ").strip()
    return ""
