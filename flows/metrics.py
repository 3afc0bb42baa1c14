"""What the ingest flow tells Prometheus.

Once all is calm, received = stored + duplicate + dead letters.
"""

import threading
import time
from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TypeVar, cast

import psycopg
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from connectors.admission import Admission
from connectors.delivery import JetStreamMessage
from connectors.jetstream import JetStreamSource
from connectors.store import Written
from flows import exposition, target
from flows.dead_letter import DeadLetter, Reason
from flows.duplicate import Duplicate
from flows.expiry import Expiries
from flows.exposition import CONNECTED, CONNECTED_WORDS, BytewaxMetrics, registry_of
from flows.lag import Arrivals
from flows.message import Message
from flows.settings import Settings
from flows.storage import Ready
from flows.waits import NO_CONNECTION, UNANSWERED, Waits, class_of

X = TypeVar("X")
Y = TypeVar("Y")

# From 1 ms, which is what a quiet pipe takes, to a minute of backlog.
LATENCY_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
LATENCY_NS = tuple(round(bound * 1e9) for bound in LATENCY_S)
BATCH_ROWS = (1, 10, 100, 1_000, 2_000, 4_000, 8_000)
# What happens to a batch before it is written, in this order.
STAGES = ("normalize", "redact", "encode")
STAGE_S = (0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1, 0.5, 2.0)
# How often it is noted which message of the stream came when.
NOTE_EVERY_S = 0.25
# The server's word on the consumer is no older: it is asked every other second, and has one to answer.
STATE_AGE_S = 4.0


class LatencyHistogram(Collector):
    """A histogram that takes a batch at once: the library's own locks and walks its buckets for each value."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name = name
        self._documentation = documentation
        self._lock = threading.Lock()
        self._counts = [0] * (len(LATENCY_S) + 1)
        self._sum = 0.0

    def observe_until(self, now_ns: int, began_ns: Sequence[int]) -> None:
        """Count what began at these moments and ended now, nanoseconds since the Unix epoch; at least one."""
        place = bisect_left(LATENCY_NS, now_ns - max(began_ns))
        if place == bisect_left(LATENCY_NS, now_ns - min(began_ns)):
            # So it is in a backlog, where a batch's messages are all about as late.
            counts = {place: len(began_ns)}
        else:
            counts = Counts([bisect_left(LATENCY_NS, now_ns - at) for at in began_ns])
        # By clocks that differ it may end before it has begun.
        total = max(0, now_ns * len(began_ns) - sum(began_ns)) / 1e9
        with self._lock:
            for place, number in counts.items():
                self._counts[place] += number
            self._sum += total

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
        admission: asked whether Postgres has let us in; where there is none, that is not known.
    """

    def __init__(self, source: JetStreamSource, admission: Admission | None = None) -> None:
        self._source = source
        self._admission = admission
        self._arrivals = Arrivals()
        self._noted_at = 0.0
        # What the reply of a message begins with that was never delivered before.
        self._first_time = "\n"
        self.registry = registry_of("ingest")
        self.registry.register(BytewaxMetrics())
        self._received = self._counter("messages_received", "Messages delivered to this flow, redeliveries included.")
        self._redelivered = self._counter("messages_redelivered", "Messages that had been delivered before.")
        self._stored = self._counter("messages_stored", "Messages stored as rows.")
        self._duplicate = self._counter("messages_duplicate", "Messages that were stored already.")
        self._claimed = self._counter("claimed_identities", "Messages that claimed another workflow or agent.")
        self._letters = self._counter("dead_letters", "Messages that could not become rows, by reason.", "reason")
        self._redactions = self._counter(
            "redactions", "Credentials replaced, by kind: messages and dead letters that held one.", "kind"
        )
        self._failures = self._counter(
            "store_failures", "Tries to store a batch that failed, by the class of Postgres' error code.", "class"
        )
        self._waits = Waits(self.registry)
        self._batch_rows = Histogram(
            "agent_comms_batch_messages", "Messages a transaction.", buckets=BATCH_ROWS, registry=self.registry
        )
        self._batch_seconds = Histogram(
            "agent_comms_batch_write_seconds", "How long a batch took to store.", buckets=LATENCY_S,
            registry=self.registry,
        )  # fmt: skip
        self._stages = Histogram(
            "agent_comms_batch_stage_seconds", "How long a batch took before it was written, by stage.", ["stage"],
            buckets=STAGE_S, registry=self.registry,
        )  # fmt: skip
        self._latency = LatencyHistogram(
            "agent_comms_publish_to_row_seconds", "From the stream's storing a message to its row's commit."
        )
        self.registry.register(self._latency)
        for reason in Reason:
            self._letters.labels(reason.value)
        for stage in STAGES:
            self._stages.labels(stage)
        self._failures.labels(NO_CONNECTION)
        self._gauge("consumer_pending_messages", "Messages in the stream, not delivered yet.", self._pending)
        self._gauge("consumer_unacked_messages", "Messages delivered and not acked yet.", self._unacked)
        self._gauge("oldest_unstored_seconds", "Age of the oldest message without a row, at most.", self._oldest)
        connected = Gauge(CONNECTED, CONNECTED_WORDS, ["to"], registry=self.registry)
        connected.labels("nats").set_function(lambda: self._source.is_connected)
        connected.labels("postgres").set_function(self._is_in_postgres)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"agent_comms_{name}", documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        Gauge(f"agent_comms_{name}", documentation, registry=self.registry).set_function(read)

    def serve(self, settings: Settings) -> None:
        """Serve the metrics on a port. A port that is taken is a warning."""
        self.registry.register(Expiries(settings, lambda: self._source.server_certificate))
        self.registry.register(target.told(settings))
        exposition.serve(self.registry, settings, lasting=True, awaited=self._awaited)

    def _awaited(self) -> str:
        """Return who has not let us in yet: later faults are waited for, and another flow would fare no better."""
        if self._admission is not None and (awaited := self._admission.awaited):
            return awaited
        return "" if self._source.consumer_state() else "NATS to tell of its consumer"

    def received(self, messages: Sequence[JetStreamMessage]) -> None:
        """Count delivered messages."""
        self._received.inc(len(messages))
        first_time = self._first_time
        # In lists, here and below: this is asked of each message, and may take no more than a part of a microsecond.
        if not all([message.reply.startswith(first_time) for message in messages]):  # noqa: C419  # it is quicker
            for message in messages:
                self._look_at(message)
        if time.monotonic() - self._noted_at > NOTE_EVERY_S and messages:
            self._noted_at = time.monotonic()
            delivery = messages[0].delivery()
            self._arrivals.note(delivery.stream_seq, delivery.stored_at / 1e9)

    def _look_at(self, message: JetStreamMessage) -> None:
        """Count a message that was delivered before, or learn what the reply of one begins with that was not."""
        if message.reply.startswith(self._first_time):
            return
        if (again := message.delivery()).deliveries > 1:
            self._redelivered.inc()
        else:
            self._first_time = message.reply.rpartition(f".1.{again.stream_seq}.")[0] + ".1."

    def timed(self, stage: str, step: Callable[[list[X]], list[Y]]) -> Callable[[list[X]], list[Y]]:
        """Return a step that notes how long each batch takes in it."""
        observe = self._stages.labels(stage).observe

        def run(items: list[X]) -> list[Y]:
            began = time.perf_counter()
            made = step(items)
            observe(time.perf_counter() - began)
            return made

        return run

    def judged(self, messages: Iterable[Message]) -> None:
        """Count what normalizing and redacting has noted of them."""
        for attrs in [attrs for message in messages if "claimed" in (attrs := message.attrs) or "redacted" in attrs]:
            if "claimed" in attrs:
                self._claimed.inc()
            for kind in attrs.get("redacted", ()):
                self._redactions.labels(kind).inc()

    def letters_judged(self, letters: Iterable[DeadLetter]) -> None:
        """Count what redacting has noted of them. What Postgres refuses was counted as the message that it was."""
        for kind in [kind for letter in letters for kind in letter.redacted]:
            self._redactions.labels(kind).inc()

    def messages_written(self, written: Written[Ready | Duplicate]) -> None:
        """Count a committed batch of messages."""
        # What is new has a row.
        stored = [at for item in cast("list[Ready]", written.new) if (at := item.message.stored_at)]
        self._stored.inc(len(written.new))
        self._duplicate.inc(written.duplicates)
        if written.rejected:
            self._letters.labels(Reason.REFUSED_BY_POSTGRES.value).inc(len(written.rejected))
        if stored:
            self._latency.observe_until(time.time_ns(), stored)
        self._batch_rows.observe(len(written.new))
        self._batch_seconds.observe(written.seconds)
        self._waits.end("messages")

    def write_failed(self, sink: str, error: Exception) -> None:
        """Count a try of a sink to store a batch that failed, and that is made again."""
        state = (error.sqlstate if isinstance(error, psycopg.Error) else None) or NO_CONNECTION
        self._failures.labels(class_of(state)).inc()
        self._waits.begin(sink, state)

    def unanswered(self, sink: str) -> None:
        """Note that a sink has had no answer for long."""
        self._waits.begin(sink, UNANSWERED)

    def _is_in_postgres(self) -> bool:
        return self._waits.are_answered and (self._admission is None or self._admission.is_granted)

    def letters_written(self, written: Written[DeadLetter]) -> None:
        """Count a committed batch of dead letters."""
        for letter in written.new:
            self._letters.labels(letter.reason.value).inc()
        self._duplicate.inc(written.duplicates)
        self._waits.end("letters")

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
        now = time.time()
        if not state.pending:
            # Whatever comes next was stored after the server said so.
            self._arrivals.note(state.delivered.stream_seq + 1, now - STATE_AGE_S)
        if not state.pending + state.unacked:
            return 0.0
        since = self._arrivals.since(state.ack_floor.stream_seq + 1)
        return float("nan") if since is None else max(0.0, now - since)
