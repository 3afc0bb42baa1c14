"""How long a message takes from its publisher to its row and to a client of the live API.

Both are taken of the same messages: a listener of the bench's own waits for the flow's NOTIFY
and reads the new rows, a client of the stream reads what the web sends.
"""

import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from statistics import quantiles
from typing import Annotated, Any

import psycopg

from tests.bench.bare import store_barely
from tests.bench.bench import Bench
from tests.bench.figure import Figure, Results
from tests.bench.pacer import publish_steadily, read_content
from tests.ingestion import Ingest
from tests.waiting import wait_until
from tests.watcher import Watcher
from tests.webserver import WebServer

CHANNEL = "agent_comms"
# Who else writes into the run says no number and moment.
PACED = re.compile("[0-9]+ [0-9]+")
NEW_ROWS = """
    SELECT seq, content FROM workflow_comms.agent_messages
    WHERE channel = 'run' AND seq > %s ORDER BY seq
"""
RUN = "live"
WARM_UP = 20
# 20 a second is what the service that this one replaces was measured at.
RATES = {1: 30, 20: 20, 100: 20, 1_000: 20}
COMPARED = 100


@dataclass(frozen=True)
class Latency:
    """From the moment before a message is published, on the same machine's clock."""

    row_p50: Annotated[float, Figure("publish to row, read by who was notified, p50", "ms")]
    row_p99: Annotated[float, Figure("publish to row, p99", "ms")]
    sse_p50: Annotated[float, Figure("publish to SSE client, p50", "ms", "≤ 8 at 100 a second")]
    sse_p99: Annotated[float, Figure("publish to SSE client, p99", "ms", "≤ 30 at 100 a second")]
    sse_most: Annotated[float, Figure("publish to SSE client, the slowest", "ms")]


@dataclass(frozen=True)
class Bare:
    """The same as far as the row, without us (`tests.bench.bare`): the part of it that is the machine's."""

    row_p50: Annotated[float, Figure("the same without agent-comms: publish to row, p50", "ms")]
    row_p99: Annotated[float, Figure("the same without agent-comms: publish to row, p99", "ms")]


def measure(bench: Bench) -> Results:
    """Measure at rising rates, each on an empty database."""
    results: dict[str, Any] = {}
    for rate, seconds in RATES.items():
        results[f"{rate:,} a second"] = latency(bench, rate, bench.seconds(seconds))
        if rate == COMPARED:
            results[f"{rate:,} a second, bare"] = _bare(bench, rate, bench.seconds(seconds))
    return results


def latency(bench: Bench, rate: int, seconds: float, beside: Callable[[str], Any] = nullcontext) -> Latency:
    """Publish at a steady rate and note when each message is read as a row, and at a watcher.

    Args:
        bench: its stream is made anew.
        rate: messages a second.
        seconds: how long.
        beside: begins what else happens to the database meanwhile; a context, entered once all is warm.
    """
    number = max(10, int(rate * seconds))
    with ExitStack() as ends:
        bench.stream.create()
        database = ends.enter_context(bench.database())
        ends.enter_context(Ingest(bench.stream, database, bench.folder / "live-ingest.log"))
        settings = {"DATABASE_URL": database, "NATS_URL": bench.stream.url}
        web = ends.enter_context(WebServer(bench.folder / f"web-{rate}", settings))
        watcher = ends.enter_context(Watcher(web.url, runId=f"uid-{RUN}"))
        rows: list[float] = []
        events: list[float] = []
        for reader in (lambda: _read_rows(database, rows), lambda: _read_events(watcher, events)):
            threading.Thread(target=reader, daemon=True).start()
        # Closed without it, the watcher would wait for its reader, and that one for the next heartbeat.
        ends.callback(watcher.socket.shutdown, socket.SHUT_RDWR)
        # What is measured is warm: connections, caches, the run's first row.
        _publish(bench, 50.0, WARM_UP, rows, events)
        with beside(database):
            _publish(bench, float(rate), WARM_UP + number, rows, events)
    by_row, by_event = (quantiles(taken[WARM_UP:], n=100, method="inclusive") for taken in (rows, events))
    return Latency(by_row[49], by_row[98], by_event[49], by_event[98], max(events[WARM_UP:]))


def _bare(bench: Bench, rate: int, seconds: float) -> Bare:
    number = max(10, int(rate * seconds))
    with ExitStack() as ends:
        bench.stream.create()
        database = ends.enter_context(bench.database())
        stores = ends.enter_context(store_barely(bench.stream, database))
        ends.callback(stores.terminate)
        rows: list[float] = []
        threading.Thread(target=_read_rows, args=(database, rows), daemon=True).start()
        _publish(bench, 50.0, WARM_UP, rows)
        _publish(bench, float(rate), WARM_UP + number, rows)
    by_row = quantiles(rows[WARM_UP:], n=100, method="inclusive")
    return Bare(by_row[49], by_row[98])


def _publish(bench: Bench, rate: float, upto: int, *taken: list[float]) -> None:
    """Publish until so many have been taken, and wait for the last."""
    assert publish_steadily(bench.stream.url, RUN, rate, upto - len(taken[0])).wait() == 0
    wait_until(partial(_all_arrived, upto, *taken), "every message, wherever it is taken")


def _all_arrived(count: int, *taken: list[float]) -> bool:
    return all(len(each) == count for each in taken)


def _read_rows(database: str, taken: list[float]) -> None:
    """Note the milliseconds that each new row took, until the database is gone."""
    last = 0
    with suppress(psycopg.OperationalError), psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"LISTEN {CHANNEL}")
        while True:
            # The timeout is for a database that nobody writes to any more.
            for _ in connection.notifies(timeout=1.0, stop_after=1):
                pass
            rows = connection.execute(NEW_ROWS, (last,)).fetchall()
            taken += [_milliseconds_since(content) for _, content in rows if PACED.fullmatch(content)]
            last = rows[-1][0] if rows else last


def _read_events(watcher: Watcher, taken: list[float]) -> None:
    """Note the milliseconds that each event took, until the stream is closed."""
    # http.client stumbles in several ways over a connection that is closed under it.
    with suppress(OSError, ValueError, AttributeError, HTTPException):
        for event in watcher:
            if event.name == "message" and PACED.fullmatch(event.said):
                taken += [_milliseconds_since(event.said)]


def _milliseconds_since(content: str) -> float:
    return (time.time_ns() - read_content(content)[1]) / 1e6
