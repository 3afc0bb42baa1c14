"""What the web measures, in all of its processes.

Where gunicorn sets PROMETHEUS_MULTIPROC_DIR (web/gunicorn.conf.py does) each worker keeps its figures in files there,
and whichever of them is asked tells the sum of all.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from flows.exposition import CONNECTED, CONNECTED_WORDS, build, count_lines

if TYPE_CHECKING:
    from flask import Flask, Response

    from web.frame import Chunk

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# Of the processes that are still there; the library names its files so.
_LIVE_FILES = "gauge_livesum_*.db"

REGISTRY = CollectorRegistry()

SUBSCRIBERS = Gauge(
    "agent_comms_live_subscribers", "Live connections that are open.", registry=REGISTRY, multiprocess_mode="livesum"
)
QUEUED = Gauge(
    "agent_comms_live_queue_messages",
    "Messages that were handed out and that their live connections have not written yet.",
    registry=REGISTRY,
    multiprocess_mode="livesum",
)
CONNECTED_TO = Gauge(CONNECTED, CONNECTED_WORDS, ["to"], registry=REGISTRY, multiprocess_mode="livemin")
CUT = Counter("agent_comms_live_cut", "Live connections ended because their client did not read.", registry=REGISTRY)
ROW_TO_CLIENT = Histogram(
    "agent_comms_row_to_client_seconds",
    "From the storing of a message to its hand-over to a live client.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=REGISTRY,
)
QUERY = Histogram(
    "agent_comms_query_seconds",
    "How long pages and the API waited for Postgres to answer, a connection from the pool included.",
    ["outcome"],
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 5),
    registry=REGISTRY,
)
REQUESTS = Counter(
    "agent_comms_http_requests",
    "Requests that were answered, by the pattern of their path and the class of the status.",
    ["route", "status"],
    registry=REGISTRY,
)
LINES = count_lines(REGISTRY)
for _outcome in ("ok", "error"):
    QUERY.labels(_outcome)

_BUILD = build("web")


def note_question(outcome: str, seconds: float) -> None:
    """Note how a question to Postgres ended, and after what time."""
    QUERY.labels(outcome).observe(seconds)


def note_delay(chunk: Chunk) -> None:
    """Note how old the oldest message of a chunk is that was just handed over."""
    born = chunk.items[0].born
    if born is not None:
        ROW_TO_CLIENT.observe(max(0.0, time.time() - born.timestamp()))


def install(app: Flask) -> None:
    """Have the application count its requests."""
    # Not at the top: `agent-comms read` asks Postgres by the same code, and would wait for Flask to be read.
    from flask import request

    @app.after_request
    def count(response: Response) -> Response:
        # Never the path itself: there is no end to what is asked for.
        route = request.url_rule.rule if request.url_rule else "none"
        REQUESTS.labels(route, f"{response.status_code // 100}xx").inc()
        return response


def exposed() -> Iterator[Metric]:
    """Yield the metrics of all of the web's processes."""
    folder = os.environ.get(FOLDER)
    yield from _BUILD.collect()
    yield from _process(_pids(folder))
    yield from _of_all_workers(folder) if folder else REGISTRY.collect()


def exposition(accept: str, more: Iterable[Metric]) -> tuple[bytes, str]:
    """Return the metrics of all of the web's processes, and their content type.

    Args:
        accept: what the scraper takes.
        more: what isn't counted here.
    """
    encode, content_type = choose_encoder(accept)
    return encode(_All(more)), content_type


class _All(Collector):
    def __init__(self, more: Iterable[Metric]) -> None:
        self._more = more

    def collect(self) -> Iterator[Metric]:
        yield from exposed()
        yield from self._more


def _of_all_workers(folder: str) -> Iterable[Metric]:
    counted: Iterable[Metric] = MultiProcessCollector(None, folder).collect()  # type: ignore[no-untyped-call]
    return counted


def _pids(folder: str | None) -> list[int]:
    """Return the web's processes: this one, and its siblings."""
    files = Path(folder).glob(_LIVE_FILES) if folder else ()
    return sorted({os.getpid(), *(int(file.stem.rpartition("_")[2]) for file in files)})


def _process(pids: list[int]) -> Iterator[Metric]:
    """Return what the system says of processes, summed up; of their starts the last one."""
    found: dict[str, list[Metric]] = defaultdict(list)
    for pid in pids:
        for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            found[metric.name].append(metric)
    for name, metrics in found.items():
        merge = max if name == "process_start_time_seconds" else sum
        total = metrics[0]
        value = merge(metric.samples[0].value for metric in metrics)
        total.samples = [total.samples[0]._replace(value=value)]
        yield total
