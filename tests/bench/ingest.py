"""Catch-up ingestion against a bare binary COPY of the same rows, in the same run.

The two take turns, three times each in the full menu, and the best of each counts: what else
runs on a machine only ever makes either slower. Where its speed changes by the second, as a
shared one's does, the two of one turn tell more, since they follow each other.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Any
from uuid import UUID

import msgspec
import psycopg
from psycopg.types.json import Jsonb

from connectors.delivery import JetStreamMessage
from flows.identity import row_id
from flows.message import Message
from flows.normalize import normalize
from tests.bench.bench import Bench
from tests.bench.catchup import CatchUp, catch_up
from tests.bench.corpus import Corpus, plain, realistic
from tests.bench.figure import Figure, Results
from tests.bench.usage import Meter

# The contract's columns and what any table of messages would have: the key of a row, the
# key of a message, a run in order, a channel in order.
REFERENCE = """
    CREATE TABLE public.reference (LIKE workflow_comms.agent_messages INCLUDING DEFAULTS INCLUDING IDENTITY);
    ALTER TABLE public.reference ADD PRIMARY KEY (id), ADD UNIQUE (dedupe_key);
    CREATE INDEX ON public.reference (workflow_namespace, workflow_uid, seq);
    CREATE INDEX ON public.reference (channel, seq);
"""
COLUMNS = {
    "id": "uuid",
    "workflow_uid": "text",
    "workflow_name": "text",
    "workflow_namespace": "text",
    "run_id": "text",
    "step_id": "text",
    "agent_id": "text",
    "role": "text",
    "kind": "text",
    "timestamp": "timestamptz",
    "channel": "text",
    "stage": "text",
    "content": "text",
    "attrs": "jsonb",
    "dedupe_key": "text",
}
LIMIT = 1024 * 1024
# 2026-11-24, after what the corpora say.
STORED_AT = 1_795_564_800_000_000_000


@dataclass(frozen=True)
class Copied:
    """All rows copied in one transaction into the reference table."""

    rate: Annotated[float, Figure("bare binary COPY of the same rows", "rows/s")]
    postgres_us: Annotated[float, Figure("Postgres' CPU a row of that COPY", "µs")]


@dataclass(frozen=True)
class Ratio:
    """The flow against the COPY."""

    ratio: Annotated[float, Figure("catch-up by COPY, each at its best", "", "≥ 0.4, try for 0.55")]
    worst: Annotated[float, Figure("the same, each at its worst")]
    typical: Annotated[float, Figure("the same, each turn's own: the one in the middle")]


def measure(bench: Bench) -> Results:
    """Measure with messages of 400 bytes, and with such as real agents send."""
    results: dict[str, Any] = {}
    for load, corpus, full in (("400 bytes", plain, 300_000), ("realistic", realistic, 300_000)):
        number = bench.messages(full)
        rounds = _take_turns(bench, corpus, number)
        copied = sorted((copied for copied, _ in rounds), key=lambda copied: copied.rate)
        caught = sorted((caught for _, caught in rounds), key=lambda caught: caught.rate)
        load = f"{number:,} messages, {load}"
        results[load] = Ratio(
            caught[-1].rate / copied[-1].rate,
            caught[0].rate / copied[0].rate,
            median(caught.rate / copied.rate for copied, caught in rounds),
        )
        results[f"{load}: COPY"] = copied[-1]
        results[f"{load}: flow"] = caught[-1]
    return results


def _take_turns(bench: Bench, corpus: Corpus, number: int) -> list[tuple[Copied, CatchUp]]:
    rows = rows_of(corpus, number)
    bench.fill(corpus, number)
    return [(copy(bench, rows), catch_up(bench, number)) for _ in range(bench.rounds)]


def rows_of(corpus: Corpus, number: int) -> list[Sequence[Any]]:
    """Return the first messages of a corpus as the values that the flow would store."""
    rows: list[Sequence[Any]] = []
    for index in range(number):
        published = corpus(index)
        row = normalize(delivered(published.subject, published.payload, index), LIMIT)
        assert isinstance(row, Message), row
        rows.append([value(row, column) for column in COLUMNS])
    return rows


def value(row: Message, column: str) -> Any:
    if column == "id":
        return UUID(bytes=row_id(row.dedupe_key, int(row.timestamp.timestamp() * 1000)))
    if column == "attrs":
        # Encoded beforehand: the COPY is to be as quick as it can be.
        return Jsonb(msgspec.json.encode(row.attrs), dumps=lambda encoded: encoded)
    return getattr(row, column)


def delivered(subject: str, payload: bytes, number: int) -> JetStreamMessage:
    """Return a message as the server would deliver it."""
    return JetStreamMessage(subject, payload, f"$JS.ACK.s.c.1.{number}.{number}.{STORED_AT}.0")


def copy(bench: Bench, rows: Sequence[Sequence[Any]]) -> Copied:
    with bench.database() as database, psycopg.connect(database) as connection:
        connection.execute(REFERENCE)
        connection.commit()
        meter = Meter(postgres=bench.postgres.pid)
        began = time.perf_counter()
        statement = f"COPY public.reference ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)"
        with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            copy.set_types(list(COLUMNS.values()))
            for row in rows:
                copy.write_row(row)
        connection.commit()
        took = time.perf_counter() - began
        return Copied(len(rows) / took, meter.cpu()["postgres"] / len(rows) * 1e6)
