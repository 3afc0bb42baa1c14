"""What pruning a large table costs, and those who write to it meanwhile.

The full menu has a million messages; `--only prune --scale 10` has ten.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Annotated, Any
from uuid import uuid4

import psycopg

from connectors.store import Store
from flows.duplicate import Duplicate
from flows.redact import Redactor
from flows.retention import REST, Pruned, prunable, prune
from flows.storage import Ready, messages, ready
from tests.bench.bench import Bench
from tests.bench.figure import Figure, Results
from tests.writers import Writer

MESSAGES = 1_000_000
DAYS = 100
KEPT_DAYS = 20
MIB = 2**20
# Rows as the flow stores them, 300 bytes said in each, a hundred messages a run, among those of 99 other runs.
FILL = """
    INSERT INTO workflow_comms.agent_messages (
        id, workflow_uid, workflow_name, workflow_namespace, agent_id, role, kind, "timestamp", channel, content, attrs,
        dedupe_key, created_at
    )
    SELECT md5('id' || n)::uuid, run, run, 'agents', 'executor', 'assistant',
        (ARRAY['message', 'tool_call', 'tool_result', 'message'])[1 + n %% 4], at,
        CASE WHEN n %% 50 = 0 THEN 'general' ELSE 'run' END,
        n || ' ' || repeat('read the file and ran the tests; ', 9),
        jsonb_build_object('runtime', 'native', 'message_id', 'bench-' || n, 'turn', n %% 7), md5(n::text), at
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
    CROSS JOIN LATERAL (
        SELECT 'uid-' || lpad(((n / 10000) * 100 + n %% 100)::text, 8, '0') AS run,
            %(now)s - (1 - n::float8 / %(all)s) * interval '100 days' AS at
    ) AS placed
"""
RUNS = """
    INSERT INTO workflow_comms.runs
        (workflow_namespace, workflow_uid, workflow_name, messages, agents, first_at, last_at, last_content)
    SELECT workflow_namespace, workflow_uid, min(workflow_name), count(*), '{executor}', min("timestamp"),
        max("timestamp"), min(left(content, 300))
    FROM workflow_comms.agent_messages WHERE channel = 'run' GROUP BY 1, 2
"""
SIZES = """
    SELECT pg_table_size('workflow_comms.agent_messages'), pg_indexes_size('workflow_comms.agent_messages'),
        (SELECT autovacuum_count FROM pg_stat_user_tables WHERE relname = 'agent_messages')
"""


@dataclass(frozen=True)
class Size:
    """How large the table is at a moment, and how soon it is seen that nothing is to be done."""

    table: Annotated[float, Figure("the table", "MiB")]
    indexes: Annotated[float, Figure("its indexes", "MiB")]
    vacuums: Annotated[float, Figure("autovacuums so far")]
    seconds: Annotated[float, Figure("what came before took", "s")]
    nothing_ms: Annotated[float, Figure("a prune that finds nothing old", "ms")]


@dataclass(frozen=True)
class Deleted:
    """A prune with nobody beside it."""

    rate: Annotated[float, Figure("deleted without a rest", "messages/s")]
    longest_ms: Annotated[float, Figure("the longest transaction", "ms")]
    counted: Annotated[float, Figure("counted by a dry run", "messages/s")]


@dataclass(frozen=True)
class Beside:
    """A writer, alone and beside a prune that never rests, or rests as it does by default."""

    alone: Annotated[float, Figure("stored, with no prune", "messages/s")]
    restless: Annotated[float, Figure("stored, beside one that never rests", "messages/s")]
    resting: Annotated[float, Figure("stored, beside one that rests", "messages/s")]
    alone_p50: Annotated[float, Figure("a commit with no prune, p50", "ms")]
    alone_p99: Annotated[float, Figure("p99", "ms")]
    restless_p50: Annotated[float, Figure("beside one that never rests, p50", "ms")]
    restless_p99: Annotated[float, Figure("p99", "ms")]
    resting_p50: Annotated[float, Figure("beside one that rests, p50", "ms")]
    resting_p99: Annotated[float, Figure("p99", "ms")]
    restless_gone: Annotated[float, Figure("deleted meanwhile without a rest", "messages/s")]
    resting_gone: Annotated[float, Figure("deleted meanwhile with rests", "messages/s")]
    longest_ms: Annotated[float, Figure("the longest transaction of a prune", "ms")]


def measure(bench: Bench) -> Results:
    """Prune four fifths of a large table, alone and beside those who write."""
    number = bench.messages(MESSAGES)
    # No longer than there is something to delete.
    seconds = min(12.0, number / 400_000)
    with bench.database() as database:
        began = datetime.now(UTC)
        fill(database, number, began)
        before = began - timedelta(days=KEPT_DAYS)
        results: dict[str, Any] = {"at first": size(database, began - timedelta(days=DAYS + 1), since(began))}
        began = datetime.now(UTC)
        results["live, 50 commits/s of 20"] = beside(database, before, seconds, 20, 50)
        results["catch-up, 2,000 a commit"] = beside(database, before, seconds, 2_000, None)
        results["alone"] = alone(database, before)
        results["pruned"] = size(database, before, since(began))
        began = datetime.now(UTC)
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE workflow_comms.agent_messages")
        results["vacuumed"] = size(database, before, since(began))
    return results


def since(began: datetime) -> float:
    return (datetime.now(UTC) - began).total_seconds()


def fill(database: str, number: int, now: datetime) -> None:
    """Store messages of the last 100 days; the indexes are built afterwards, which is sooner done."""
    step = 250_000
    with psycopg.connect(database, autocommit=True) as connection, without_indexes(connection):
        for first in range(1, number + 1, step):
            last = min(number, first + step - 1)
            connection.execute(FILL.encode(), {"first": first, "last": last, "all": number, "now": now})
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(RUNS)
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


@contextmanager
def without_indexes(connection: psycopg.Connection) -> Iterator[None]:
    """Take the table's indexes away and build them again at the end."""
    constraints = connection.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'workflow_comms.agent_messages'::regclass AND contype IN ('p', 'u')"
    ).fetchall()
    for name, _ in constraints:
        connection.execute(f"ALTER TABLE workflow_comms.agent_messages DROP CONSTRAINT {name}".encode())
    indexes = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes"
        " WHERE schemaname = 'workflow_comms' AND tablename = 'agent_messages'"
    ).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX workflow_comms.{name}".encode())
    yield
    connection.execute("SET maintenance_work_mem = '1GB'")
    for name, definition in constraints:
        connection.execute(f"ALTER TABLE workflow_comms.agent_messages ADD CONSTRAINT {name} {definition}".encode())
    for _, definition in indexes:
        connection.execute(definition.encode())


def size(database: str, before: datetime, seconds: float) -> Size:
    """Measure the table, and a prune for which nothing is old."""
    began = time.perf_counter()
    assert prune(database, before).messages == 0
    took = time.perf_counter() - began
    with psycopg.connect(database) as connection:
        table, indexes, vacuums = connection.execute(SIZES).fetchone() or (0, 0, 0)
    return Size(table / MIB, indexes / MIB, vacuums, seconds, took * 1_000)


def alone(database: str, before: datetime) -> Deleted:
    """Count what is left that is old, and delete it."""
    began = time.perf_counter()
    counted = prunable(database, before).messages
    between = time.perf_counter()
    pruned = prune(database, before, rest=0)
    took = time.perf_counter() - between
    assert pruned.messages == counted
    return Deleted(counted / took, pruned.longest * 1_000, counted / (between - began))


@dataclass
class Written:
    """What a writer came to."""

    rate: float
    commits_ms: list[float]
    seconds: float
    gone: float = 0
    longest_ms: float = 0

    def percentile(self, number: int) -> float:
        return quantiles(self.commits_ms, n=100)[number - 1]


def beside(database: str, before: datetime, seconds: float, batch: int, rate: float | None) -> Beside:
    """Write alone and beside a prune."""
    alone, restless, resting = (
        write_beside(database, before, seconds, batch, rate, rest) for rest in (None, 0.0, REST)
    )
    return Beside(
        alone.rate, restless.rate, resting.rate,
        alone.percentile(50), alone.percentile(99),
        restless.percentile(50), restless.percentile(99),
        resting.percentile(50), resting.percentile(99),
        restless.gone, resting.gone, max(restless.longest_ms, resting.longest_ms),
    )  # fmt: skip


class EnoughError(Exception):
    """The writer has ended, so the prune may, too."""


def write_beside(
    database: str, before: datetime, seconds: float, batch: int, rate: float | None, rest: float | None
) -> Written:
    """Store batches as the flow does, so many a second or as many as go, perhaps beside a prune."""
    ended = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            deleting = pool.submit(prune_until, ended, database, before, rest)
            written = write(database, seconds, batch, rate, lambda: rest is not None and deleting.done())
        finally:
            ended.set()
        pruned = deleting.result()
    return Written(
        written.rate, written.commits_ms, written.seconds, pruned.messages / written.seconds, pruned.longest * 1_000
    )


def prune_until(ended: threading.Event, database: str, before: datetime, rest: float | None) -> Pruned:
    """Prune until others have ended; not at all where it is not said how long to rest."""
    so_far = Pruned()

    def note(pruned: Pruned) -> None:
        so_far.messages, so_far.longest = pruned.messages, pruned.longest
        if ended.is_set():
            raise EnoughError

    if rest is None:
        return so_far
    with suppress(EnoughError):
        prune(database, before, rest=rest, note=note)
    return so_far


def write(database: str, seconds: float, batch: int, rate: float | None, is_over: Callable[[], bool]) -> Written:
    """Store batches for so many seconds, or until it is over."""
    commits: list[float] = []
    with Writer(database) as writer, closing(Store(messages(database, Redactor()))) as store:
        store.store(made(writer, batch))
        began = time.perf_counter()
        while (so_far := time.perf_counter() - began) < seconds and not is_over():
            items = made(writer, batch)
            if rate:
                time.sleep(max(0, len(commits) / rate - so_far))
            start = time.perf_counter()
            store.store(items)
            commits.append((time.perf_counter() - start) * 1_000)
    return Written(len(commits) * batch / so_far, commits, so_far)


def made(writer: Writer, number: int) -> list[Ready | Duplicate]:
    """Return messages of some new runs, ready to be stored."""
    words = "read the file and ran the tests; " * 9
    return [
        ready(writer.message(words, run=f"new-{index % 50}", dedupe_key=uuid4().hex, attrs={"runtime": "native"}))
        for index in range(number)
    ]
