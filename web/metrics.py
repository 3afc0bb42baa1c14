"""What the web process measures, in a registry of its own."""

import time
from collections.abc import Mapping
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

from web.frame import Chunk

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

BUILD = Info("agent_comms_build", "The version that runs.", registry=REGISTRY)
BUILD.info({"version": version("agent-comms")})
SUBSCRIBERS = Gauge("agent_comms_live_subscribers", "Live connections that are open.", registry=REGISTRY)
CUT = Counter("agent_comms_live_cut", "Live connections ended because their client did not read.", registry=REGISTRY)
ROW_TO_CLIENT = Histogram(
    "agent_comms_row_to_client_seconds",
    "From the storing of a message to its hand-over to a live client.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=REGISTRY,
)
QUEUE = Gauge(
    "agent_comms_reconcile_queue_runs",
    "Completed runs by where they stand in the queue of the reconciliation.",
    ["state"],
    registry=REGISTRY,
)
QUEUE_STATES = ("queued", "running", "done", "failed")


def show_queue(counts: Mapping[str, int]) -> None:
    """Show how many completed runs stand where."""
    for state in QUEUE_STATES:
        QUEUE.labels(state).set(counts.get(state, 0))


def forget_queue() -> None:
    """Show nothing of the queue: it is not known."""
    QUEUE.clear()


def note_delay(chunk: Chunk) -> None:
    """Note how old the oldest message of a chunk is that was just handed over."""
    born = chunk.items[0].born
    if born is not None:
        ROW_TO_CLIENT.observe(max(0.0, time.time() - born.timestamp()))
