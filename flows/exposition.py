"""How a process's metrics reach Prometheus: a registry with what every process tells of itself, on a port."""

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from http.client import HTTPException
from importlib.metadata import version
from urllib.request import urlopen
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Info,
    ProcessCollector,
    disable_created_metrics,
    make_wsgi_app,
    start_http_server,
)
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from flows.settings import Settings

log = logging.getLogger(__name__)

# When each series began is a series more of each, which nobody looks at.
disable_created_metrics()  # type: ignore[no-untyped-call]

# Of what is there to be scraped for as long as it runs; what comes and goes serves metrics only where it is told to.
LASTING_PORT = 9464
# Bytewax's own names of the variables, and its default.
BYTEWAX_ENABLED, BYTEWAX_PORT, BYTEWAX_DEFAULT_PORT = (
    "BYTEWAX_DATAFLOW_API_ENABLED",
    "BYTEWAX_DATAFLOW_API_PORT",
    "3030",
)
BYTEWAX_S = 1.0
# Beside the metrics, for who asks whether a program can do its work.
READINESS = "/readyz"
# What several programs tell.
CONNECTED, CONNECTED_WORDS = "agent_comms_connected", "1 while the connection is up and answers, 0 while not."


def registry_of(program: str) -> CollectorRegistry:
    """Return a registry that tells the version and the process's CPU, memory and open files.

    Args:
        program: what runs, such as `ingest`.
    """
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(build(program))
    return registry


def count_lines(registry: CollectorRegistry) -> Counter:
    """Have a registry tell how many log lines there were, those that were not written since they repeat others too."""
    counter = Counter(
        "agent_comms_log_lines",
        "Warnings and worse that were logged, by level, repetitions included.",
        ["level"],
        registry=registry,
    )
    for level in ("warning", "error", "critical"):
        counter.labels(level)
    return counter


class Tally(logging.Handler):
    """Counts what is logged.

    Args:
        counter: of `count_lines`.
    """

    def __init__(self, counter: Counter) -> None:
        super().__init__(logging.WARNING)
        self._counter = counter

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record."""
        self._counter.labels(record.levelname.lower()).inc()


def build(program: str) -> Info:
    """Return the metric that tells the version and the program."""
    info = Info("agent_comms_build", "The version that runs, and the program.", registry=None)
    info.info({"version": version("agent-comms"), "program": program})
    return info


def serve(
    registry: CollectorRegistry, settings: Settings, *, lasting: bool, awaited: Callable[[], str] | None = None
) -> None:
    """Serve metrics as the settings say. A port that can't be had is a warning.

    Args:
        registry: the metrics.
        settings: the environment.
        lasting: whether the program has a port by default.
        awaited: what the program waits for before it can do its work, empty once it has it; where this is given,
            `/readyz` answers 503 and says so until then, and 200 from then on.
    """
    port = settings.agent_comms_metrics_port
    if port is None:
        port = LASTING_PORT if lasting else 0
    if not port:
        return
    logging.getLogger().addHandler(Tally(count_lines(registry)))
    try:
        server, _ = start_http_server(port, settings.agent_comms_metrics_host, registry=registry)
        if awaited:
            server.set_app(_with_readiness(make_wsgi_app(registry), awaited))
    except OSError as error:
        log.warning(
            "metrics: port %d can't be had (%s), so this process runs without",
            port,
            error.strerror,
            extra={"todo": "choose another one with AGENT_COMMS_METRICS_PORT, or 0 for none"},
        )


def _with_readiness(metrics: WSGIApplication, awaited: Callable[[], str]) -> WSGIApplication:
    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != READINESS:
            return metrics(environ, start_response)
        what = awaited()
        start_response("503 Service Unavailable" if what else "200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"waiting for {what}\n".encode() if what else b"ready\n"]

    return answer


class BytewaxMetrics(Collector):
    """What Bytewax counts itself, where BYTEWAX_DATAFLOW_API_ENABLED has it serve that: one scrape has both."""

    def collect(self) -> Iterator[Metric]:
        """Yield Bytewax's metrics; none while it doesn't answer."""
        if not os.environ.get(BYTEWAX_ENABLED):
            return
        port = os.environ.get(BYTEWAX_PORT) or BYTEWAX_DEFAULT_PORT
        try:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=BYTEWAX_S) as answer:  # our own
                text = answer.read().decode()
        except (OSError, HTTPException, ValueError):
            return
        # Beside its own it repeats those of the library's default registry.
        yield from (family for family in text_string_to_metric_families(text) if family.name.startswith("bytewax_"))
