"""How fast flows store what has gathered in the stream, and what it costs whom."""

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Annotated, Any

from tests.bench.bench import PATIENCE_S, Bench
from tests.bench.figure import Figure
from tests.bench.usage import Memory, Meter, peak_mib, queued_seconds, thread_seconds
from tests.ingestion import Ingest
from tests.servers import StreamHandle
from tests.waiting import wait_until


@dataclass(frozen=True)
class CatchUp:
    """A stream that was full, stored and acked; the clock runs from the first delivery to the last ack.

    Attributes:
        threads_us: the first flow's CPU a message by thread, the busiest first.
        memory: the first flow's resident MiB, one sample every 50 ms.
    """

    rate: Annotated[float, Figure("stored and acked", "messages/s")]
    wall_us: Annotated[float, Figure("time a message", "µs")]
    flow_us: Annotated[float, Figure("the flow's CPU a message", "µs")]
    threads_us: tuple[float, ...]
    queued_us: Annotated[float, Figure("of the flow's threads: ready, but no core was free, a message", "µs")]
    postgres_us: Annotated[float, Figure("Postgres' CPU a message, its helpers included", "µs")]
    nats_us: Annotated[float, Figure("nats-server's CPU a message", "µs")]
    idle: Annotated[float, Figure("of the cores' time: idle", "%")]
    others: Annotated[float, Figure("of the cores' time: used by none of the three", "%")]
    peak_mib: Annotated[float, Figure("the flow's peak memory", "MiB", "≤ 250")]
    memory: tuple[float, ...]


def catch_up(bench: Bench, number: int, flows: int = 1, workers: int = 1) -> CatchUp:
    """Let flows, connected and waiting, store the messages of the stream into an empty database.

    Args:
        bench: its stream holds `number` messages, which are left there.
        flows: how many processes share the one durable.
        workers: how many workers each of them has.
    """
    with ExitStack() as ends:
        database = ends.enter_context(bench.database())
        _pause_anew(bench.stream)
        log = bench.folder / "ingest.log"
        running = [ends.enter_context(Ingest(bench.stream, database, log, "-w", str(workers))) for _ in range(flows)]
        asking = flows * workers
        wait_until(
            lambda: (bench.stream.consumer().num_waiting or 0) >= asking, f"the flows to ask for messages: {log}"
        )
        first = running[0].process.pid
        pids = {f"flow{index}": flow.process.pid for index, flow in enumerate(running)}
        began = _resume(bench.stream)
        with Memory(first) as memory:
            meter = Meter(postgres=bench.postgres.pid, nats=bench.nats.pid, **pids)
            threads, queued = thread_seconds(first), queued_seconds(first)
            wait_until(bench.stream.is_drained, f"the last ack; see {log}", patience=PATIENCE_S)
            took = time.perf_counter() - began
        cpu, (idle, others) = meter.cpu(), meter.shares()
        stored = running[0].count()
        assert stored == number, f"{stored:,} rows of {number:,} messages"
        micro = 1e6 / number
        used = [now - was for now, was in zip_longest(thread_seconds(first), threads, fillvalue=0.0)]
        return CatchUp(
            rate=number / took,
            wall_us=took * micro,
            flow_us=sum(seconds for name, seconds in cpu.items() if name in pids) * micro,
            threads_us=tuple(seconds * micro for seconds in sorted(used, reverse=True)),
            queued_us=(queued_seconds(first) - queued) * micro,
            postgres_us=cpu["postgres"] * micro,
            nats_us=cpu["nats"] * micro,
            idle=100 * idle,
            others=100 * others,
            peak_mib=max(peak_mib(flow.process.pid) for flow in running),
            memory=tuple(memory.samples),
        )


def _pause_anew(stream: StreamHandle) -> None:
    """Forget what was acked, and have the server deliver nothing for now."""
    stream.create_consumer_anew()
    _ask(stream, {"pause_until": (datetime.now(UTC) + timedelta(hours=1)).isoformat()})


def _resume(stream: StreamHandle) -> float:
    """Have the server deliver again; return when it began to, which may be seconds later."""
    _ask(stream, {})
    pending = stream.consumer().num_pending
    while stream.consumer().num_pending == pending:
        time.sleep(0.001)
    return time.perf_counter()


def _ask(stream: StreamHandle, body: dict[str, Any]) -> None:
    subject = f"$JS.API.CONSUMER.PAUSE.{stream.name}.{stream.durable}"
    answer = stream.connection.run(stream.connection.client.request(subject, json.dumps(body).encode()))
    assert b'"error"' not in answer.data, answer.data
