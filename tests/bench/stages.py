"""What each stage costs: by itself, in this process, on the same messages; and what is left of a real catch-up.

Each stage is given what the one before it made, in batches as the flow has them. What is measured is
this process's CPU, of all its threads together; of what needs no server the best of three times.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import psycopg
from nats.js.api import AckPolicy, ConsumerConfig

from connectors.acks import JetStreamAcks
from connectors.delivery import JetStreamMessage
from connectors.jetstream import JetStreamSource
from connectors.postgres import PostgresSink
from connectors.store import Store, Written
from flows.dedupe import Memory, RecentKeys, by_workflow
from flows.duplicate import Duplicate
from flows.message import Message
from flows.metrics import FlowMetrics
from flows.nats import nats_options
from flows.normalize import normalize
from flows.redact import Redactor, redactor_of
from flows.runs import roll_up
from flows.settings import Settings
from flows.spelling import read
from flows.storage import MESSAGES, Ready, message_row, messages, ready
from tests.bench.bench import Bench
from tests.bench.catchup import catch_up
from tests.bench.corpus import plain, realistic
from tests.bench.figure import Figure, Results
from tests.bench.usage import Meter

DURABLE = "bench"
PULLED_AT_ONCE = 1_000
X = TypeVar("X", JetStreamMessage, Message, Ready | Duplicate)


@dataclass(frozen=True)
class Pulled:
    """The stream drained by the source alone, and acked."""

    pull_us: Annotated[float, Figure("pull: the source alone, drained", "µs CPU")]
    pull_rate: Annotated[float, Figure("pull: how fast that went", "messages/s")]
    ack_us: Annotated[float, Figure("ack", "µs CPU")]


@dataclass(frozen=True)
class Judged:
    """What makes rows of messages."""

    decode_us: Annotated[float, Figure("decode: the payload into a claim", "µs CPU")]
    normalize_us: Annotated[float, Figure("normalize: identity, key, attrs, without decoding", "µs CPU")]
    redact_us: Annotated[float, Figure("redact: look for credentials, of which there are none", "µs CPU")]
    dedupe_us: Annotated[float, Figure("dedupe: recent keys by workflow", "µs CPU")]
    roll_up_us: Annotated[float, Figure("roll-up: what a batch adds to its runs", "µs CPU")]
    row_us: Annotated[float, Figure("row: a message in the format of COPY", "µs CPU")]
    count_us: Annotated[float, Figure("count: the flow's metrics", "µs CPU")]


@dataclass(frozen=True)
class Stored:
    """The messages stored by the store alone, a transaction a batch."""

    copy_us: Annotated[float, Figure("write: COPY, runs and commit, without the roll-up", "µs CPU")]
    store_postgres_us: Annotated[float, Figure("write: Postgres' share, the store alone", "µs CPU")]
    store_wall_us: Annotated[float, Figure("write: time in all, roll-up included", "µs")]
    commit_wall_us: Annotated[float, Figure("commit: time of it alone", "µs")]


@dataclass(frozen=True)
class Flowing:
    """The whole flow, catching up with the same messages in the same run."""

    stages_us: Annotated[float, Figure("all of these stages together", "µs CPU")]
    flow_us: Annotated[float, Figure("the flow, catching up", "µs CPU")]
    rest_us: Annotated[float, Figure("the flow without its stages: engine, hand-overs, contention", "µs CPU")]
    first_us: Annotated[float, Figure("its busiest thread", "µs CPU")]
    second_us: Annotated[float, Figure("its second", "µs CPU")]
    third_us: Annotated[float, Figure("its third", "µs CPU")]
    queued_us: Annotated[float, Figure("its threads: ready, but no core was free", "µs")]
    postgres_us: Annotated[float, Figure("Postgres, meanwhile", "µs CPU")]
    nats_us: Annotated[float, Figure("nats-server, meanwhile", "µs CPU")]
    wall_us: Annotated[float, Figure("time", "µs")]
    idle: Annotated[float, Figure("of the cores' time: idle", "%")]
    others: Annotated[float, Figure("of the cores' time: used by none of the three", "%")]


def measure(bench: Bench) -> Results:
    """Take the flow apart, for messages of 400 bytes and for realistic ones; all figures are a message's."""
    results: dict[str, object] = {}
    for load, corpus, full in (("400 bytes", plain, 100_000), ("realistic", realistic, 50_000)):
        number = bench.messages(full)
        bench.fill(corpus, number)
        delivered, pulled = _pull(bench, number)
        rows, judged = _judge(bench, delivered)
        stored = _store(bench, rows, judged)
        caught = catch_up(bench, number)
        stages = sum(
            getattr(part, name)
            for part in (pulled, judged, stored)
            for name in vars(part)
            if name not in ("pull_rate", "store_postgres_us", "store_wall_us", "commit_wall_us")
        )
        first, second, third, *_ = (*caught.threads_us, 0.0, 0.0, 0.0)
        flowing = Flowing(
            stages, caught.flow_us, caught.flow_us - stages, first, second, third, caught.queued_us,
            caught.postgres_us, caught.nats_us, caught.wall_us, caught.idle, caught.others,
        )  # fmt: skip
        parts = {"pull, ack": pulled, "judge": judged, "write": stored, "in all": flowing}
        results |= {f"{load}: {name}": part for name, part in parts.items()}
    return results


def _pull(bench: Bench, number: int) -> tuple[list[JetStreamMessage], Pulled]:
    """Drain the stream as the flow does, but for a consumer that waits for no acks; then send them."""
    # The same as the flow's, but without its bound on what is under way.
    config = ConsumerConfig(durable_name=DURABLE, ack_policy=AckPolicy.EXPLICIT, ack_wait=600, max_ack_pending=-1)
    bench.stream.connection.run(bench.stream.connection.jetstream().add_consumer(bench.stream.name, config))
    options = nats_options(Settings(nats_url=bench.stream.url), "bench")
    delivered: list[JetStreamMessage] = []
    began, used = time.perf_counter(), time.process_time()
    source = JetStreamSource(options, bench.stream.name, DURABLE).build("pull", 0, 1)
    while len(delivered) < number:
        delivered += source.next_batch()
    took, used = time.perf_counter() - began, time.process_time() - used
    source.close()

    acks = JetStreamAcks(options)
    acks.open()
    acking = time.process_time()
    for batch in batches(delivered):
        acks.ack([message.reply for message in batch])
    acks.close()
    acking = time.process_time() - acking
    return delivered, Pulled(used / number * 1e6, number / took, acking / number * 1e6)


def _judge(bench: Bench, delivered: Sequence[JetStreamMessage]) -> tuple[list[Message], Judged]:
    settings = Settings(nats_url=bench.stream.url)
    redactor = redactor_of(settings)
    limit = settings.agent_comms_max_message_bytes
    metrics = FlowMetrics(JetStreamSource(nats_options(settings, "bench"), bench.stream.name, DURABLE))
    judged = [normalize(message, limit) for message in delivered]
    rows = [message for message in judged if isinstance(message, Message)]
    assert len(rows) == len(delivered)

    made: list[Ready | Duplicate] = [ready(row) for row in rows]

    def count() -> None:
        metrics.judged(rows)
        for pulled in batches(delivered):
            metrics.received(pulled)
        for batch in batches(made):
            metrics.messages_written(Written([*batch]))

    decoded = cpu_us(len(rows), lambda: [read(message.data) for message in delivered])
    return rows, Judged(
        decode_us=decoded,
        normalize_us=cpu_us(len(rows), lambda: [normalize(message, limit) for message in delivered]) - decoded,
        redact_us=cpu_us(len(rows), lambda: redact(redactor, rows)),
        dedupe_us=cpu_us(len(rows), lambda: _dedupe(rows)),
        roll_up_us=cpu_us(len(rows), lambda: [roll_up(batch) for batch in batches(rows)]),
        row_us=cpu_us(len(rows), lambda: [ready(row) for row in rows]),
        count_us=cpu_us(len(rows), count),
    )


def redact(redactor: Redactor, rows: Sequence[Message]) -> list[Message]:
    """Redact as the flow does, which hands over what came at once."""
    return [row for pulled in _pulled(rows) for row in redactor.messages(pulled)]


def _pulled(rows: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """Cut rows into what the source hands on at once when it is behind."""
    for start in range(0, len(rows), PULLED_AT_ONCE):
        yield rows[start : start + PULLED_AT_ONCE]


def _dedupe(rows: Sequence[Message]) -> None:
    memory = Memory()
    known: dict[str, RecentKeys] = defaultdict(lambda: RecentKeys(memory))
    for pulled in _pulled(rows):
        for workflow, said in by_workflow([*pulled]):
            known[workflow].on_batch([said])


def _store(bench: Bench, rows: Sequence[Message], judged: Judged) -> Stored:
    micro = 1e6 / len(rows)
    with bench.database() as database:
        store = Store(messages(database, redactor_of(Settings())))
        made: list[Ready | Duplicate] = [ready(row) for row in rows]
        meter, used, began = Meter(postgres=bench.postgres.pid), time.process_time(), time.perf_counter()
        for batch in batches(made):
            assert len(store.store(batch).new) == len(batch)
        took, used = time.perf_counter() - began, time.process_time() - used
        postgres = meter.cpu()["postgres"]
        store.close()
    return Stored(
        copy_us=used * micro - judged.roll_up_us,
        store_postgres_us=postgres * micro,
        store_wall_us=took * micro,
        commit_wall_us=_commit_seconds(bench, rows) * micro,
    )


def _commit_seconds(bench: Bench, rows: Sequence[Message]) -> float:
    """Return how long the commits of all batches take, nothing but their rows written before."""
    took = 0.0
    with bench.database() as database, psycopg.connect(database) as connection:
        for batch in batches(rows):
            with connection.cursor() as cursor:
                MESSAGES.insert(cursor, map(message_row, batch))
            began = time.perf_counter()
            connection.commit()
            took += time.perf_counter() - began
    return took


def cpu_us(number: int, step: Callable[[], object]) -> float:
    """Return this process's CPU for each of so many messages, microseconds: the best of three times."""
    taken = []
    for _ in range(3):
        began = time.process_time()
        step()
        taken.append(time.process_time() - began)
    return min(taken) / number * 1e6


def batches(items: Sequence[X]) -> Iterator[Sequence[X]]:
    """Cut items into batches as the sink does when it is behind."""
    batch: list[X] = []
    size = 0
    for item in items:
        batch.append(item)
        size += _size(item)
        if len(batch) >= PostgresSink.batch_rows or size >= PostgresSink.batch_bytes:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _size(item: JetStreamMessage | Message | Ready | Duplicate) -> int:
    if isinstance(item, JetStreamMessage):
        return len(item.data)
    return 0 if isinstance(item, Duplicate) else item.size
