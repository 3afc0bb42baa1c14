"""What a process tells Prometheus, read as Prometheus reads it."""

import urllib.request
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families

from connectors.loopback import HOST
from tests.waiting import PATIENCE_S

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def families(port: int) -> list[Metric]:
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=PATIENCE_S) as answer:
        return [*text_string_to_metric_families(answer.read().decode())]


def open_metrics(port: int) -> list[Metric]:
    """Return the metrics as OpenMetrics, whose parser takes nothing that is wrong."""
    request = urllib.request.Request(f"http://{HOST}:{port}/metrics", headers={"Accept": OPEN_METRICS})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        return [*open_families(answer.read().decode())]  # type: ignore[no-untyped-call]


def scrape(port: int) -> dict[str, float]:
    """Return the samples by name, with a label's value behind a slash."""
    return {
        "/".join([sample.name, *sample.labels.values()]): sample.value
        for family in families(port)
        for sample in family.samples
    }


def labels(port: int) -> Iterator[tuple[str, str]]:
    """Yield each label that a sample has, and its value."""
    for family in families(port):
        for sample in family.samples:
            yield from sample.labels.items()


def readiness(port: int) -> tuple[int, str]:
    """Return how a process answers who asks whether it can do its work."""
    with closing(HTTPConnection(HOST, port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, response.read().decode()


def metric(port: int, name: str) -> float:
    """Return a sample, named as by `scrape`; NaN, which equals nothing, while there is none or nobody answers."""
    try:
        return scrape(port).get(name, float("nan"))
    except OSError:
        return float("nan")
