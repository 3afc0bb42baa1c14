"""What processes use, by the kernel's word."""

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.processes import descendants

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 2**20
SAMPLE_S = 0.05


def cpu_seconds(pid: int) -> float:
    """Return the CPU of a process and all it has started, those included that have ended and were waited for."""
    total = 0.0
    for process in (pid, *descendants(pid)):
        with suppress(OSError):
            # Its own, user and system; then its ended children's.
            total += sum(map(int, _fields(Path(f"/proc/{process}/stat"))[11:15])) / TICKS
    return total


def thread_seconds(pid: int) -> list[float]:
    """Return the CPU of each of a process's threads, in the order of their start."""
    tasks = sorted(Path(f"/proc/{pid}/task").iterdir(), key=lambda path: int(path.name))
    return [int((task / "schedstat").read_text().split()[0]) / 1e9 for task in tasks]


def queued_seconds(pid: int) -> float:
    """Return how long a process's threads were ready to run and had no core."""
    return sum(int((task / "schedstat").read_text().split()[1]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def peak_mib(pid: int) -> float:
    """Return a process's peak resident memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


class Memory(threading.Thread):
    """Samples the resident memory of a process while the block lasts.

    Attributes:
        samples: MiB, one every 50 ms.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.samples: list[float] = []
        self._file = Path(f"/proc/{pid}/statm")
        self._ending = threading.Event()

    def run(self) -> None:
        with suppress(OSError):
            while not self._ending.wait(SAMPLE_S):
                self.samples.append(int(self._file.read_text().split()[1]) * PAGE / MIB)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self.join()


class Meter:
    """Tells how much CPU some processes, and the whole machine, have used since it was made."""

    def __init__(self, **pids: int) -> None:
        self._pids = pids
        self._before = {name: cpu_seconds(pid) for name, pid in pids.items()}
        self._machine = _machine_seconds()

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds of each."""
        return {name: cpu_seconds(pid) - self._before[name] for name, pid in self._pids.items()}

    def shares(self) -> tuple[float, float]:
        """Return which shares of the cores' time were idle, and used by none of the processes."""
        busy, idle = (now - before for now, before in zip(_machine_seconds(), self._machine, strict=True))
        return idle / (busy + idle), max(0.0, busy - sum(self.cpu().values())) / (busy + idle)


def _machine_seconds() -> tuple[float, float]:
    """Return the cores' busy and idle time since the system started."""
    with Path("/proc/stat").open() as file:
        ticks = [int(field) for field in file.readline().split()[1:9]]
    # The fourth is idle, the fifth waits for a disk.
    idle = ticks[3] + ticks[4]
    return (sum(ticks) - idle) / TICKS, idle / TICKS


def _fields(stat: Path) -> list[str]:
    # The name before them, in parentheses, may hold anything.
    return stat.read_text(errors="replace").rpartition(")")[2].split()
