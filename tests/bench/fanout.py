"""How many may watch at once: what a thousand clients of one web wait for, and what an idle one costs."""

import multiprocessing
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import quantiles
from typing import Annotated

import psycopg

from connectors.embedded import EmbeddedPostgres
from tests.bench.bench import Bench
from tests.bench.figure import Figure, Results
from tests.bench.usage import cpu_seconds
from tests.crowd import Crowd
from tests.servers import fresh_database
from tests.webserver import WebServer
from tests.writers import Writer

RUN = "run-1"
IDLE = 5_000
WARM_UP = 20
PATIENCE_S = 120.0


@dataclass(frozen=True)
class FanOut:
    """What a crowd saw of one web process, from before a message is written to Postgres until each has it."""

    p50: Annotated[float, Figure("write to SSE client, p50", "ms")]
    p99: Annotated[float, Figure("write to SSE client, p99", "ms", "≤ 200")]
    lost: Annotated[float, Figure("messages that a client missed, or had out of order, of all clients", "", "0")]
    cpu: Annotated[float, Figure("the web's CPU", "% of a core")]
    crowd_cpu: Annotated[float, Figure("the clients' CPU, in a process of their own", "% of a core")]


@dataclass(frozen=True)
class Idle:
    """What connections cost on which nothing happens."""

    kib: Annotated[float, Figure("the web's memory, a client", "KiB", "≤ 100")]


def measure(bench: Bench) -> Results:
    """Have 1,000 clients watch one run in which 50 messages a second are said, and then nothing."""
    clients, rate = 1_000, 50
    return {
        f"{clients:,} clients, {rate} a second": fan_out(
            bench.postgres, bench.folder, clients, rate, bench.seconds(20)
        ),
        f"{IDLE:,} clients, idle": Idle(idle_kib(bench.postgres, bench.folder, IDLE)),
    }


def fan_out(
    server: EmbeddedPostgres,
    folder: Path,
    clients: int,
    rate: int,
    seconds: float,
    settings: Mapping[str, str] | None = None,
    header: str = "",
) -> FanOut:
    """Have a crowd watch one run while messages are stored at a steady rate; `header` says who they are."""
    number = round(rate * seconds)
    with (
        fresh_database(server) as database,
        WebServer(folder / "web-fanout", {"DATABASE_URL": database, **(settings or {})}) as web,
    ):
        with Writer(database) as writer:
            _speak(writer, rate, 1)
        ours, theirs = multiprocessing.Pipe()
        watching = multiprocessing.get_context("spawn").Process(
            target=_watch, args=(theirs, web.url, clients, number + WARM_UP + 1, header), daemon=True
        )
        watching.start()
        assert ours.recv() == "watching"
        with Writer(database) as writer:
            _speak(writer, rate, WARM_UP)
            before, began = cpu_seconds(web.pid), time.monotonic()
            _speak(writer, rate, number)
            cpu = (cpu_seconds(web.pid) - before) / (time.monotonic() - began)
        took, seen, crowd_cpu = ours.recv()
        watching.join()
        with psycopg.connect(database) as connection:
            stored = [
                seq for (seq,) in connection.execute("SELECT seq FROM workflow_comms.agent_messages ORDER BY seq")
            ]
    lost = sum(len(stored) - len(seqs) if seqs == stored[: len(seqs)] else len(stored) for seqs in seen)
    cuts = quantiles(took, n=100)
    return FanOut(cuts[49], cuts[98], lost, 100 * cpu, 100 * crowd_cpu)


def idle_kib(server: EmbeddedPostgres, folder: Path, clients: int) -> float:
    """Return what an idle client costs the web, in KiB of its resident memory."""
    with fresh_database(server) as database, WebServer(folder / "web-idle", {"DATABASE_URL": database}) as web:
        with Crowd(web.url, 100, runId=RUN):
            before = web.metric("process_resident_memory_bytes")
        with Crowd(web.url, clients, runId=RUN) as crowd:
            assert crowd.read_until(lambda: web.metric("agent_comms_live_subscribers") >= clients, PATIENCE_S)
            return (web.metric("process_resident_memory_bytes") - before) / clients / 1024


def _speak(writer: Writer, rate: int, number: int) -> None:
    began = time.monotonic()
    for index in range(number):
        time.sleep(max(0.0, began + index / rate - time.monotonic()))
        writer.say(str(time.time_ns()), run=RUN)


def _watch(pipe: Connection, url: str, clients: int, number: int, header: str) -> None:
    with Crowd(url, clients, header=header, runId=RUN) as crowd:
        deadline = time.monotonic() + PATIENCE_S
        # Each has had its first comment, so that it is watching.
        assert crowd.read_until(lambda: all(member.heard for member in crowd.members), PATIENCE_S)
        pipe.send("watching")
        # The one message that was there before, and the first of the warm-up: the crowd has begun to be busy.
        crowd.read_until(lambda: crowd.all_have(2), deadline - time.monotonic())
        began, used = time.monotonic(), time.process_time()
        crowd.read_until(lambda: crowd.all_have(number), deadline - time.monotonic())
        cpu = (time.process_time() - used) / (time.monotonic() - began)
        took = [ms for member in crowd.members for ms in list(member.took)[WARM_UP:]]
        pipe.send((took, [list(member.seqs) for member in crowd.members], cpu))
