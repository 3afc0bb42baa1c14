"""How long a message takes from its publisher to a client of the live API."""

import asyncio
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

from connectors.embedded import EmbeddedPostgres
from tests.ingestion import Ingest
from tests.servers import StreamHandle, fresh_database
from tests.waiting import wait_until
from tests.watcher import Watcher
from tests.webserver import WebServer

WARM_UP = 20


@dataclass(frozen=True)
class Latency:
    """Milliseconds from publish to the SSE client."""

    rate: int
    p50: float
    p99: float


def latency(stream: StreamHandle, server: EmbeddedPostgres, folder: Path, rate: int, seconds: float) -> Latency:
    """Publish at a steady rate and note when each message reaches a watcher."""
    number = int(rate * seconds)
    with fresh_database(server) as database:
        ingest = Ingest(stream, database, folder / "live-ingest.log")
        ingest.start()
        web = WebServer(folder / f"web-{rate}", {"DATABASE_URL": database, "NATS_URL": stream.url})
        try:
            with web, Watcher(web.url, runId="uid-live") as watcher:
                return _measure(stream, watcher, rate, number)
        finally:
            ingest.close()


def _measure(stream: StreamHandle, watcher: Watcher, rate: int, number: int) -> Latency:
    seen: list[float] = []

    def watch() -> None:
        for event in watcher:
            if event.name == "message":
                seen.append((time.time_ns() - int(event.said)) / 1e6)
            if len(seen) == number + WARM_UP:
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    stream.connection.run(_publish(stream, 50, WARM_UP))
    wait_until(lambda: len(seen) == WARM_UP, "the first messages")
    stream.connection.run(_publish(stream, rate, number))
    wait_until(lambda: len(seen) == number + WARM_UP, "every message at the watcher")
    cuts = quantiles(seen[WARM_UP:], n=100)
    return Latency(rate, cuts[49], cuts[98])


async def _publish(stream: StreamHandle, rate: int, number: int) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for index in range(number):
        await asyncio.sleep(max(0, began + index / rate - loop.time()))
        payload = json.dumps({"content": str(time.time_ns())}).encode()
        await stream.connection.client.publish("workflow.agents.live.uid-live.agent.executor.message", payload)
    await stream.connection.client.flush()
