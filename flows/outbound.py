"""What a publisher tells Prometheus: how much it has sent, and how much waits."""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from connectors.outbox import Outbox
from flows import exposition
from flows.expiry import Expiries
from flows.exposition import CONNECTED, CONNECTED_WORDS, registry_of
from flows.settings import Settings


class PublisherMetrics(Collector):
    """The metrics of one publisher, in a registry of their own; they are read when somebody asks.

    Args:
        outbox: of the publisher.
        left: how many lines only a backfill can add.
    """

    def __init__(self, outbox: Outbox, left: Callable[[], int]) -> None:
        self._outbox = outbox
        self._left = left
        self.registry = registry_of("publish")
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield what there is to tell."""
        outbox = self._outbox
        yield CounterMetricFamily(
            "agent_comms_published_messages", "Lines that the stream has stored.", outbox.published
        )
        yield CounterMetricFamily("agent_comms_left_messages", "Lines that are left to backfill.", self._left())
        yield GaugeMetricFamily("agent_comms_spool_messages", "Lines that NATS has not taken yet.", outbox.waiting)
        yield GaugeMetricFamily("agent_comms_spool_bytes", "Bytes that NATS has not taken yet.", outbox.size)
        connected = GaugeMetricFamily(CONNECTED, CONNECTED_WORDS, labels=["to"])
        connected.add_metric(["nats"], not outbox.is_away)
        yield connected

    def serve(self, settings: Settings) -> None:
        """Serve the metrics where AGENT_COMMS_METRICS_PORT says so."""
        self.registry.register(Expiries(settings))
        exposition.serve(self.registry, settings, lasting=False)
