"""How fast finished runs are recovered from their artifacts, and what live messages notice of it.

The command is run as an operator runs it; rates are by its own clock, which starts once Python and its
libraries are loaded, and includes the start of the processes that read.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from tests.bench import ingest, live
from tests.bench.bench import Bench
from tests.bench.figure import Figure, Results
from tests.bench.leavings import Talk, leave, plain, realistic
from tests.bench.usage import MIB, Meter
from tests.ingestion import ROOT
from tests.processes import descendants

SAMPLE_S = 0.05
LIVE_RATE = 100


@dataclass(frozen=True)
class Recovered:
    """Runs of which nothing was stored."""

    rate: Annotated[float, Figure("everything missing: read and stored", "rows/s")]
    copy: Annotated[float, Figure("bare binary COPY of the same rows", "rows/s")]
    ratio: Annotated[float, Figure("the one by the other", "", "≥ 0.3")]
    read_us: Annotated[float, Figure("CPU a row of those who read", "µs")]
    store_us: Annotated[float, Figure("CPU a row of who stores", "µs")]
    postgres_us: Annotated[float, Figure("Postgres' CPU a row", "µs")]


@dataclass(frozen=True)
class Known:
    """The same runs once more, all of them read."""

    rate: Annotated[float, Figure("nothing missing: read and compared", "lines/s", "≥ 100,000")]
    mb_rate: Annotated[float, Figure("of text, unpacked", "MB/s")]
    share: Annotated[float, Figure("of the time that it took when everything was missing", "", "≤ 0.2")]
    cpu_us: Annotated[float, Figure("CPU a line of all that take part, Postgres included", "µs")]


@dataclass(frozen=True)
class Many:
    """Many small runs, by the clock of who waits for the command."""

    seconds: Annotated[float, Figure("the first pass", "s")]
    second: Annotated[float, Figure("the second, of what has not changed", "s")]
    share: Annotated[float, Figure("the second by the first", "", "≤ 0.2")]
    inserted: Annotated[float, Figure("messages that the second has stored", "", "0")]
    peak: Annotated[float, Figure("peak memory of who stores", "MiB", "≤ 400")]
    peak_all: Annotated[float, Figure("with all that read, at one moment", "MiB", "≤ 400")]


@dataclass(frozen=True)
class Beside:
    """Live messages of a run while it and others are recovered."""

    alone_p99: Annotated[float, Figure("publish to SSE client without a backfill, p99", "ms")]
    beside_p50: Annotated[float, Figure("publish to SSE client beside one, p50", "ms")]
    beside_p99: Annotated[float, Figure("publish to SSE client beside one, p99", "ms")]
    times: Annotated[float, Figure("p99 beside by p99 without", "", "≤ 3")]
    rate: Annotated[float, Figure("what the backfill stored meanwhile", "rows/s")]


def measure(bench: Bench) -> Results:
    """Recover large runs and small ones, then once more, then beside live messages."""
    results: dict[str, Any] = {}
    for load, talk, full, lines in (
        ("400 bytes", plain, 300_000, 600),
        ("realistic", realistic, 60_000, 600),
    ):
        number = bench.messages(full)
        recovered, known = _passes(bench, talk, max(1, number // lines), lines)
        results[f"{number:,} lines, {load}"] = recovered
        results[f"{number:,} lines, {load}, known"] = known
    runs = max(200, round(10_000 * bench.scale))
    results[f"{runs:,} runs of 20 lines"] = _many(bench, runs)
    results[f"beside {LIVE_RATE} live messages a second"] = _beside(bench)
    return results


def _passes(bench: Bench, talk: Talk, runs: int, lines: int) -> tuple[Recovered, Known]:
    folder = bench.folder / f"artifacts-{talk.__name__}"
    size = leave(folder, [f"run-{number:05}" for number in range(runs)], lines, talk)
    firsts, seconds, copies = [], [], []
    for _ in range(bench.rounds):
        with bench.database() as database:
            firsts.append(Pass(bench, database, folder))
            seconds.append(Pass(bench, database, folder, "--again"))
            rows = _rows_of(database)
        assert firsts[-1].told["inserted"] == len(rows), firsts[-1].told
        assert seconds[-1].told["inserted"] == 0, seconds[-1].told
        copies.append(ingest.copy(bench, rows).rate)
    number = firsts[0].told["rows"]
    first, second = (min(passes, key=lambda each: each.told["seconds"]) for passes in (firsts, seconds))
    rate, took = number / first.told["seconds"], second.told["seconds"]
    micro = 1e6 / number
    return (
        Recovered(
            rate,
            max(copies),
            rate / max(copies),
            first.cpu["readers"] * micro,
            first.cpu["main"] * micro,
            first.cpu["postgres"] * micro,
        ),
        Known(
            second.told["lines"] / took,
            size / took / 1e6,
            took / first.told["seconds"],
            sum(second.cpu.values()) / second.told["lines"] * 1e6,
        ),
    )


def _many(bench: Bench, runs: int) -> Many:
    folder = bench.folder / "artifacts-many"
    leave(folder, [f"run-{number:05}" for number in range(runs)], 20)
    with bench.database() as database:
        first = Pass(bench, database, folder)
        second = Pass(bench, database, folder)
    assert first.told["runs"] == second.told["unchanged"] == runs, (first.told, second.told)
    share = second.seconds / first.seconds
    return Many(first.seconds, second.seconds, share, second.told["inserted"], first.peak, first.peak_all)


def _beside(bench: Bench) -> Beside:
    seconds = bench.seconds(20)
    folder = bench.folder / "artifacts-beside"
    # More than it can do in that time.
    runs = [live.RUN, *(f"run-{number:05}" for number in range(round(60 * seconds)))]
    leave(folder, runs, 600)
    alone = live.latency(bench, LIVE_RATE, seconds)
    stored: list[float] = []

    @contextmanager
    def recovering(database: str) -> Iterator[None]:
        process = start(database, folder)
        began, before = time.monotonic(), _count(database)
        try:
            yield
            stored.append((_count(database) - before) / (time.monotonic() - began))
            assert process.poll() is None, "the backfill was over too soon"
        finally:
            process.kill()
            process.wait()

    beside = live.latency(bench, LIVE_RATE, seconds, recovering)
    return Beside(alone.sse_p99, beside.sse_p50, beside.sse_p99, beside.sse_p99 / alone.sse_p99, stored[0])


def start(database: str, folder: Path, *more: str) -> "subprocess.Popen[bytes]":
    """Start the command."""
    words = [sys.executable, "-m", "web.cli", "backfill", str(folder), "--json", *more]
    environ = {**os.environ, "DATABASE_URL": database}
    return subprocess.Popen(words, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


class Pass:
    """One backfill, to its end.

    Attributes:
        told: what it says of itself, without a word on each run.
        seconds: from its start to its end.
        cpu: seconds of who stores (`main`), of those who read and of Postgres.
        peak: MiB of who stores, and of all at one moment.
    """

    def __init__(self, bench: Bench, database: str, folder: Path, *more: str) -> None:
        meter = Meter(postgres=bench.postgres.pid)
        began = time.perf_counter()
        process = start(database, folder, *more)
        self._sampled: dict[int, float] = {}
        self.peak = self.peak_all = 0.0
        ended = threading.Event()
        sampler = threading.Thread(target=self._sample, args=(process.pid, ended), daemon=True)
        sampler.start()
        said, _ = process.communicate()
        self.seconds = time.perf_counter() - began
        ended.set()
        sampler.join()
        assert process.returncode == 0, process.returncode
        self.told: dict[str, Any] = json.loads(said)
        del self.told["reports"]
        main = self._sampled.pop(process.pid, 0.0)
        self.cpu = {"main": main, "readers": sum(self._sampled.values()), **meter.cpu()}

    def _sample(self, pid: int, ended: threading.Event) -> None:
        while not ended.wait(SAMPLE_S):
            memory = {}
            for each in (pid, *descendants(pid)):
                with suppress(OSError, IndexError, ValueError):
                    status = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
                    self._sampled[each] = (int(status[11]) + int(status[12])) / os.sysconf("SC_CLK_TCK")
                    memory[each] = _resident_mib(each)
            self.peak = max(self.peak, memory.get(pid, 0.0))
            self.peak_all = max(self.peak_all, sum(memory.values()))


def _resident_mib(pid: int) -> float:
    """Return a process's resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def _rows_of(database: str) -> list[tuple[Any, ...]]:
    """Return all messages as the values that the reference is given."""
    with psycopg.connect(database) as connection:
        cursor = connection.execute(f"SELECT {', '.join(ingest.COLUMNS)} FROM workflow_comms.agent_messages".encode())
        place = [*ingest.COLUMNS].index("attrs")
        return [
            (*row[:place], Jsonb(msgspec.json.encode(row[place]), dumps=lambda encoded: encoded), *row[place + 1 :])
            for row in cursor
        ]


def _count(database: str) -> int:
    with psycopg.connect(database) as connection:
        return int(connection.execute("SELECT count(*) FROM workflow_comms.agent_messages").fetchall()[0][0])
