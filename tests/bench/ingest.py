"""Catch-up ingestion against a bare binary COPY of the same rows, in the same run.

The two take turns, three times each in the full menu, and the best of each counts: what else
runs on a machine only ever makes either slower.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import psycopg

from connectors.copy import CopyTable, register_dumpers
from connectors.delivery import JetStreamMessage
from flows.message import Message
from flows.normalize import normalize
from flows.storage import MESSAGES, message_row
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
REFERENCE_TABLE = CopyTable(("public", "reference"), MESSAGES.columns, MESSAGES.types, MESSAGES.key)
LIMIT = 1024 * 1024


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


def measure(bench: Bench) -> Results:
    """Measure with messages of 400 bytes, and with such as real agents send."""
    results: dict[str, Any] = {}
    for load, corpus, full in (("400 bytes", plain, 300_000), ("realistic", realistic, 300_000)):
        number = bench.messages(full)
        rounds = _take_turns(bench, corpus, number)
        copied = sorted((copied for copied, _ in rounds), key=lambda copied: copied.rate)
        caught = sorted((caught for _, caught in rounds), key=lambda caught: caught.rate)
        load = f"{number:,} messages, {load}"
        results[load] = Ratio(caught[-1].rate / copied[-1].rate, caught[0].rate / copied[0].rate)
        results[f"{load}: COPY"] = copied[-1]
        results[f"{load}: flow"] = caught[-1]
    return results


def _take_turns(bench: Bench, corpus: Corpus, number: int) -> list[tuple[Copied, CatchUp]]:
    rows = rows_of(corpus, number)
    bench.fill(corpus, number)
    return [(_copy(bench, rows), catch_up(bench, number)) for _ in range(bench.rounds)]


def rows_of(corpus: Corpus, number: int) -> list[Sequence[Any]]:
    """Return the first messages of a corpus as the flow would store them."""
    rows = []
    for index in range(number):
        published = corpus(index)
        row = normalize(delivered(published.subject, published.payload, index), LIMIT)
        assert isinstance(row, Message), row
        values = message_row(row)
        assert values is not None
        rows.append(values)
    return rows


def delivered(subject: str, payload: bytes, number: int) -> JetStreamMessage:
    """Return a message as the server would deliver it."""
    return JetStreamMessage(subject, payload, f"$JS.ACK.s.c.1.{number}.{number}.1.0")


def _copy(bench: Bench, rows: list[Sequence[Any]]) -> Copied:
    with bench.database() as database, psycopg.connect(database) as connection:
        connection.execute(REFERENCE)
        connection.commit()
        register_dumpers(connection)
        meter = Meter(postgres=bench.postgres.pid)
        began = time.perf_counter()
        with connection.cursor() as cursor:
            REFERENCE_TABLE.insert(cursor, rows)
        connection.commit()
        took = time.perf_counter() - began
        return Copied(len(rows) / took, meter.cpu()["postgres"] / len(rows) * 1e6)
