"""What the ingest flow tells Prometheus.

Once all is calm, received = stored + duplicate + dead letters.
"""

import logging
import threading
import time
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, start_http_server
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from connectors.jetstream import JetStreamSource
from connectors.store import Written
from flows.dead_letter import DeadLetter, Reason
from flows.dedupe import Duplicate
from flows.message import Message
from flows.storage import Ready

log = logging.getLogger(__name__)

# From 1 ms, which is what a quiet pipe takes, to a minute of backlog.
LATENCY_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
BATCH_ROWS = (1, 10, 100, 1_000, 2_000, 4_000, 8_000)


class LatencyHistogram(Collector):
    """A histogram that takes a batch at once: the library's own locks and walks its buckets for each value."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name = name
        self._documentation = documentation
        self._lock = threading.Lock()
        self._counts = [0] * (len(LATENCY_S) + 1)
        self._sum = 0.0

    def observe_all(self, seconds: Sequence[float]) -> None:
        """Count each of these durations, of which there is at least one."""
        place = bisect_left(LATENCY_S, min(seconds))
        if place == bisect_left(LATENCY_S, max(seconds)):
            # So it is in a backlog, where a batch's messages are all about as late.
            counts = {place: len(seconds)}
        else:
            counts = Counts([bisect_left(LATENCY_S, value) for value in seconds])
        with self._lock:
            for place, number in counts.items():
                self._counts[place] += number
            self._sum += sum(seconds)

    def collect(self) -> Iterator[Metric]:
        """Yield the one metric."""
        with self._lock:
            counts, total = [*self._counts], self._sum
        bounds = [*map(str, LATENCY_S), "+Inf"]
        buckets: list[Sequence[object]] = list(zip(bounds, accumulate(counts), strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=total)  # type: ignore[arg-type]


class FlowMetrics:
    """The flow's metrics, in a registry of their own.

    Args:
        source: asked how far its consumer is behind.
    """

    def __init__(self, source: JetStreamSource) -> None:
        self._source = source
        self._newest_stored_at = time.time()
        self.registry = CollectorRegistry()
        self._received = self._counter("messages_received", "Messages delivered to this flow, redeliveries included.")
        self._stored = self._counter("messages_stored", "Messages stored as rows.")
        self._duplicate = self._counter("messages_duplicate", "Messages that were stored already.")
        self._claimed = self._counter("claimed_identities", "Messages that claimed another workflow or agent.")
        self._letters = self._counter("dead_letters", "Messages that could not become rows, by reason.", "reason")
        self._redactions = self._counter("redactions", "Credentials replaced, by kind: messages that held one.", "kind")
        self._batch_rows = Histogram(
            "agent_comms_batch_messages", "Messages a transaction.", buckets=BATCH_ROWS, registry=self.registry
        )
        self._batch_seconds = Histogram(
            "agent_comms_batch_write_seconds", "How long a batch took to store.", buckets=LATENCY_S,
            registry=self.registry,
        )  # fmt: skip
        self._latency = LatencyHistogram(
            "agent_comms_publish_to_row_seconds", "From the stream's storing a message to its row's commit."
        )
        self.registry.register(self._latency)
        for reason in Reason:
            self._letters.labels(reason.value)
        self._gauge("consumer_pending_messages", "Messages in the stream, not delivered yet.", self._pending)
        self._gauge("consumer_unacked_messages", "Messages delivered and not acked yet.", self._unacked)
        self._gauge("oldest_unstored_seconds", "Age of the oldest message without a row, at most.", self._oldest)
        Info("agent_comms_build", "The running version.", registry=self.registry).info(
            {"version": version("agent-comms"), "program": "ingest"}
        )

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"agent_comms_{name}", documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, read: "object") -> None:
        Gauge(f"agent_comms_{name}", documentation, registry=self.registry).set_function(read)  # type: ignore[arg-type]

    def serve(self, port: int) -> None:
        """Serve the metrics on a port; 0 for none. A port that is taken is a warning."""
        if not port:
            return
        try:
            start_http_server(port, registry=self.registry)
        except OSError as error:
            log.warning("metrics: port %d can't be had (%s); the flow runs without", port, error.strerror)

    def received(self, number: int) -> None:
        """Count delivered messages."""
        self._received.inc(number)

    def judged(self, messages: Iterable[Message]) -> None:
        """Count what normalizing and redacting has noted of them."""
        for message in messages:
            if "claimed" in message.attrs:
                self._claimed.inc()
            for kind in message.attrs.get("redacted", ()):
                self._redactions.labels(kind).inc()

    def messages_written(self, written: Written[Ready | Duplicate]) -> None:
        """Count a committed batch of messages."""
        now = time.time()
        stored = [
            item.message.origin.stored_at / 1e9
            for item in written.new
            if isinstance(item, Ready) and item.message.origin
        ]
        self._stored.inc(len(written.new))
        self._duplicate.inc(written.duplicates)
        if written.rejected:
            self._letters.labels(Reason.REFUSED_BY_POSTGRES.value).inc(len(written.rejected))
        if stored:
            self._latency.observe_all([max(0.0, now - at) for at in stored])
            self._newest_stored_at = max(stored)
        self._batch_rows.observe(len(written.new))
        self._batch_seconds.observe(written.seconds)

    def letters_written(self, written: Written[DeadLetter]) -> None:
        """Count a committed batch of dead letters."""
        for letter in written.new:
            self._letters.labels(letter.reason.value).inc()
        self._duplicate.inc(written.duplicates)

    def _pending(self) -> float:
        state = self._source.consumer_state()
        return state.pending if state else float("nan")

    def _unacked(self) -> float:
        state = self._source.consumer_state()
        return state.unacked if state else float("nan")

    def _oldest(self) -> float:
        state = self._source.consumer_state()
        if state is None:
            return float("nan")
        # Whatever has no row came after the newest that has one, or was given to another flow.
        return max(0.0, time.time() - self._newest_stored_at) if state.pending + state.unacked else 0.0
