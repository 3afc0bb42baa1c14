"""Waits for a process that somebody else has started."""

import os
import select
from contextlib import suppress
from pathlib import Path


class Process:
    """A process, by its id.

    Args:
        pid: of a process that may have ended already.

    Attributes:
        was_there: whether there was such a process at first.
        exit_code: once it has ended, where it can be known.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.was_there = _is_taken(pid)
        self.exit_code: int | None = None
        self._file: int | None = None
        self._over = False
        with suppress(AttributeError, OSError):
            self._file = os.pidfd_open(pid)

    def fileno(self) -> int | None:
        """Return what becomes readable at the end; None where the system has no such thing."""
        return self._file

    def has_ended(self) -> bool:
        """Say whether it has ended; its exit code is known if nobody has asked for it before."""
        if not self._over and self._is_gone():
            self.exit_code = _exit_code(self.pid)
            self._over = True
        return self._over

    def _is_gone(self) -> bool:
        if self._file is not None:
            return bool(select.select([self._file], [], [], 0)[0])
        return not _is_taken(self.pid) or _fields(self.pid)[:1] == ["Z"]

    def close(self) -> None:
        """Stop watching it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _is_taken(pid: int) -> bool:
    """Say whether there is a process, ended or not, that goes by this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # It is somebody else's.
        pass
    return True


def _exit_code(pid: int) -> int | None:
    """Return the exit code of a process that has ended and that its parent hasn't waited for yet."""
    fields = _fields(pid)
    if fields[:1] not in (["Z"], ["X"]):
        return None
    with suppress(ValueError, IndexError, OSError):
        # The last field is shown as 0 to those who may not trace the process.
        if os.geteuid() not in (0, Path(f"/proc/{pid}").stat().st_uid):
            return None
        return shell_code(os.waitstatus_to_exitcode(int(fields[49])))
    return None


def shell_code(code: int) -> int:
    """Return an exit code as a shell tells it: 128 and the number of the signal that ended it."""
    return 128 - code if code < 0 else code


def _fields(pid: int) -> list[str]:
    with suppress(OSError):
        # The name before them, in parentheses, may hold anything.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return []
