"""What the web process measures, in a registry of its own."""

from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector

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
