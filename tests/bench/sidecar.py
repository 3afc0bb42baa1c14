"""What the publisher beside an agent costs, and how soon it says what the agent wrote."""

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import quantiles
from typing import Annotated

from connectors.client import RawMessage
from flows.codex import Reader
from tests.bench.bench import Bench
from tests.bench.figure import Figure, Results
from tests.bench.usage import MIB, PAGE, cpu_seconds
from tests.ingestion import Ingest
from tests.sidecar import Sidecar, append, mapped, said, talk
from tests.waiting import wait_until

BURST = 20_000
RATE = 100
WARM_UP = 20


@dataclass(frozen=True)
class Reading:
    """Lines of an agent's events, read as messages: no file, no NATS."""

    lines: Annotated[float, Figure("lines read as messages, one core", "lines/s")]


@dataclass(frozen=True)
class Burst:
    """Lines written at once."""

    stored_s: Annotated[float, Figure("20,000 lines at once, to the last row", "s", "≤ 5")]
    cpu_us: Annotated[float, Figure("the sidecar's CPU a line", "µs")]


@dataclass(frozen=True)
class Prompt:
    """From the agent's write to a subscriber beside the stream."""

    p50: Annotated[float, Figure("write to publish, p50", "ms")]
    p99: Annotated[float, Figure("write to publish, p99", "ms", "≤ 20")]


@dataclass(frozen=True)
class Idle:
    """Nothing is written."""

    cpu: Annotated[float, Figure("of a core", "%", "≤ 1")]
    rss: Annotated[float, Figure("resident memory", "MiB", "≤ 60")]


def measure(bench: Bench) -> Results:
    """Measure a sidecar that follows one file."""
    return {
        "reading": _read(),
        f"{BURST:,} lines at once": min((_burst(bench) for _ in range(bench.rounds)), key=lambda burst: burst.stored_s),
        f"{RATE} lines a second": _prompt(bench, bench.seconds(20)),
        "idle": _idle(bench, bench.seconds(20)),
    }


def _read() -> Reading:
    lines = [line.encode() for line in islice(talk(3_000), BURST)]
    reader = Reader("codex-events", "live", "events")
    began = time.perf_counter()
    for number, line in enumerate(lines, start=1):
        reader.read(number, line)
    return Reading(len(lines) / (time.perf_counter() - began))


def _file(bench: Bench, name: str) -> Path:
    path = bench.folder / f"{name}-{time.monotonic_ns()}.jsonl"
    path.touch()
    return path


def _burst(bench: Bench) -> Burst:
    lines = [line.encode() for line in islice(talk(3_000), BURST)]
    number = len(mapped(lines))
    data = b"".join(line + b"\n" for line in lines)
    path = _file(bench, "burst")
    bench.stream.create()
    with (
        bench.database() as database,
        Ingest(bench.stream, database, bench.folder / "sidecar-ingest.log") as ingest,
        Sidecar(bench.folder / path.stem, bench.stream.url, "--codex-events", path) as sidecar,
    ):
        # Both are up once the beginning is a row.
        ingest.wait_for_rows(2)
        before = cpu_seconds(sidecar.process.pid)
        began = time.perf_counter()
        with path.open("ab") as file:
            file.write(data)
        ingest.wait_for_rows(number + 2)
        took = time.perf_counter() - began
        cpu = cpu_seconds(sidecar.process.pid) - before
        assert sidecar.stop() == 0
    return Burst(took, cpu / len(lines) * 1e6)


def _prompt(bench: Bench, seconds: float) -> Prompt:
    number = round(RATE * seconds) + WARM_UP
    path = _file(bench, "prompt")
    took: list[float] = []
    bench.stream.create()

    def hear(messages: Sequence[RawMessage]) -> None:
        for _, _, data, _ in messages:
            payload = json.loads(data)
            if payload["kind"] == "message":
                took.append((time.perf_counter_ns() - int(payload["content"])) / 1e6)

    connection = bench.stream.connection
    listening = connection.run(connection.client.subscribe_raw("workflow.agents.>", hear))
    with Sidecar(bench.folder / path.stem, bench.stream.url, "--codex-events", path) as sidecar:
        wait_until(lambda: bench.stream.info().state.messages == 2, "the sidecar")
        write = threading.Thread(target=_write_steadily, args=(path, number), daemon=True)
        write.start()
        wait_until(lambda: len(took) == number, "every line")
        assert sidecar.stop() == 0
    connection.run(listening.unsubscribe())
    cuts = quantiles(took[WARM_UP:], n=100)
    return Prompt(cuts[49], cuts[98])


def _write_steadily(path: Path, number: int) -> None:
    began = time.perf_counter()
    for index in range(number):
        time.sleep(max(0, began + index / RATE - time.perf_counter()))
        append(path, said(index, str(time.perf_counter_ns())))


def _idle(bench: Bench, seconds: float) -> Idle:
    path = _file(bench, "idle")
    bench.stream.create()
    with Sidecar(bench.folder / path.stem, bench.stream.url, "--codex-events", path) as sidecar:
        append(path, said(1))
        wait_until(lambda: bench.stream.info().state.messages == 3, "a line")
        pid = sidecar.process.pid
        before, began = cpu_seconds(pid), time.perf_counter()
        time.sleep(seconds)
        share = (cpu_seconds(pid) - before) / (time.perf_counter() - began)
        resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / MIB
        assert sidecar.stop() == 0
    return Idle(share * 100, resident)
