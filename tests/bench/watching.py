"""What it costs the ingest to be watched: its metrics, and traces of one message in a hundred.

Both are small beside what a machine with others on it varies by, so each is measured by itself, as the CPU of this
process for the same calls that the flow makes, and held against the CPU of a whole flow in the same run.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import msgspec

from connectors.delivery import JetStreamMessage
from connectors.jetstream import JetStreamSource
from connectors.loopback import HOST
from connectors.store import Written
from flows.duplicate import Duplicate
from flows.message import Message
from flows.metrics import STAGES, FlowMetrics
from flows.nats import nats_options
from flows.normalize import normalize
from flows.settings import Settings
from flows.storage import Ready, ready
from flows.tracing import Tracing
from tests.bench.bench import Bench
from tests.bench.catchup import catch_up
from tests.bench.corpus import plain, realistic
from tests.bench.figure import Figure, Results
from tests.bench.ingest import LIMIT, delivered
from tests.bench.stages import DURABLE, PULLED_AT_ONCE, batches, cpu_us

# One in so many is traced.
TRACED = 100
UNTRACED = b"NATS/1.0\r\nNats-Msg-Id: 0123456789abcdef-0123456789abcdef-m-1\r\n\r\n"
HEADERS = UNTRACED[:-2] + b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n"


@dataclass(frozen=True)
class Watched:
    """Metrics and traces, of what a message costs the flow."""

    metrics_us: Annotated[float, Figure("metrics", "µs CPU a message")]
    traces_us: Annotated[float, Figure("traces, at 1 %, exported", "µs CPU a message")]
    flow_us: Annotated[float, Figure("the flow, metrics included", "µs CPU a message")]
    metrics: Annotated[float, Figure("metrics, of the flow's", "%", "≤ 2")]
    traces: Annotated[float, Figure("traces, of the flow's", "%", "≤ 3")]


def measure(bench: Bench) -> Results:
    """Measure with messages of 400 bytes, which weigh least, and with realistic ones."""
    results: dict[str, object] = {}
    for load, corpus, full in (("400 bytes", plain, 100_000), ("realistic", realistic, 50_000)):
        number = bench.messages(full)
        taken = [delivered(each.subject, each.payload, index) for index, each in enumerate(map(corpus, range(number)))]
        bench.fill(corpus, number)
        # By turns, since the machine's speed changes by the minute.
        turns = [(_metrics_us(taken), _traces_us(taken), catch_up(bench, number).flow_us) for _ in range(bench.rounds)]
        metrics_us, traces_us, flow_us = map(min, zip(*turns, strict=True))
        shares = 100 * metrics_us / flow_us, 100 * traces_us / flow_us
        results[f"{number:,} messages, {load}"] = Watched(metrics_us, traces_us, flow_us, *shares)
    return results


def _metrics_us(taken: Sequence[JetStreamMessage]) -> float:
    metrics = FlowMetrics(JetStreamSource(nats_options(Settings(), "bench"), "bench", DURABLE))
    rows = _rows(taken)
    written = [Written([*batch]) for batch in batches(_made(rows))]
    stages = [metrics.timed(stage, _same) for stage in STAGES]

    def count() -> None:
        for start in range(0, len(taken), PULLED_AT_ONCE):
            metrics.received(taken[start : start + PULLED_AT_ONCE])
            metrics.judged(rows[start : start + PULLED_AT_ONCE])
            for stage in stages:
                stage([])
        for batch in written:
            metrics.messages_written(batch)

    return cpu_us(len(taken), count)


def _traces_us(taken: Sequence[JetStreamMessage]) -> float:
    taken = [
        msgspec.structs.replace(each, header_block=UNTRACED if index % TRACED else HEADERS)
        for index, each in enumerate(taken)
    ]
    rows = _rows(taken)
    with _collector() as endpoint:
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
        tracing = Tracing.of("bench")
        del os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]
        assert tracing is not None
        try:
            return cpu_us(len(taken), lambda: _trace(tracing, taken, rows))
        finally:
            tracing.close()


def _trace(tracing: Tracing, taken: Sequence[JetStreamMessage], rows: Sequence[Message]) -> None:
    for start in range(0, len(rows), PULLED_AT_ONCE):
        tracing.mark(taken[start : start + PULLED_AT_ONCE], rows[start : start + PULLED_AT_ONCE])
        tracing.stored(rows[start : start + PULLED_AT_ONCE])
    # Until all is exported.
    assert tracing._provider.force_flush()


def _rows(taken: Sequence[JetStreamMessage]) -> list[Message]:
    rows = [row for each in taken if isinstance(row := normalize(each, LIMIT), Message)]
    assert len(rows) == len(taken)
    return rows


def _made(rows: Sequence[Message]) -> list[Ready | Duplicate]:
    return [ready(row) for row in rows]


def _same(items: list[object]) -> list[object]:
    return items


@contextmanager
def _collector() -> Iterator[str]:
    """Receive spans in a process of its own."""
    command = [sys.executable, "-m", "tests.otlp"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield f"http://{HOST}:{process.stdout.readline().strip()}"
        process.stdin.close()
