"""Catch-up ingestion against a bare binary COPY of the same rows, in the same run."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from connectors.copy import CopyTable, register_dumpers
from connectors.delivery import JetStreamMessage
from connectors.embedded import EmbeddedPostgres
from flows.message import Message
from flows.normalize import normalize
from flows.storage import MESSAGES, message_row
from tests.bench.corpus import message
from tests.ingestion import Ingest
from tests.servers import StreamHandle, fresh_database
from tests.waiting import wait_until

# The contract's columns and what any table of messages would have: the key of a row, the
# key of a message, a run in order, a channel in order.
REFERENCE = """
    CREATE TABLE public.reference (LIKE workflow_comms.agent_messages INCLUDING DEFAULTS INCLUDING IDENTITY);
    ALTER TABLE public.reference ADD PRIMARY KEY (id), ADD UNIQUE (dedupe_key);
    CREATE INDEX ON public.reference (workflow_namespace, workflow_uid, seq);
    CREATE INDEX ON public.reference (channel, seq);
"""
LIMIT = 1024 * 1024


@dataclass(frozen=True)
class CatchUp:
    """What was measured.

    Attributes:
        copied: rows a second by the bare COPY.
        ingested: messages a second, from the first row to the last ack.
        cpu_us: the flow's CPU a message, microseconds.
        peak_mib: the flow's peak resident memory.
    """

    copied: float
    ingested: float
    cpu_us: float
    peak_mib: float

    @property
    def ratio(self) -> float:
        return self.ingested / self.copied


def catch_up(stream: StreamHandle, server: EmbeddedPostgres, number: int, folder: Path) -> CatchUp:
    """Publish messages while the flow is down, then let it catch up."""
    with fresh_database(server) as database:
        copied = _copy(database, _rows(number))
    _publish(stream, number)
    with fresh_database(server) as database:
        ingest = Ingest(stream, database, folder / "bench-ingest.log")
        ingest.start()
        try:
            ingest.wait_for_rows(1)
            first, began = ingest.count(), time.perf_counter()
            wait_until(lambda: _newest(database) >= number, "the last row", patience=600)
            took = time.perf_counter() - began
            wait_until(stream.is_drained, "the last ack")
            cpu, peak = _usage(ingest.process.pid)
            assert ingest.count() == number
        finally:
            ingest.close()
    return CatchUp(copied, (number - first) / took, cpu / number * 1e6, peak)


def _rows(number: int) -> list[Sequence[Any]]:
    rows = []
    for index in range(number):
        published = message(index)
        delivered = JetStreamMessage(published.subject, published.payload, f"$JS.ACK.s.c.1.{index}.{index}.1.0")
        row = normalize(delivered, LIMIT)
        assert isinstance(row, Message)
        values = message_row(row)
        assert values is not None
        rows.append(values)
    return rows


def _copy(database: str, rows: list[Sequence[Any]]) -> float:
    """Return rows a second."""
    table = CopyTable(("public", "reference"), MESSAGES.columns, MESSAGES.types, MESSAGES.key)
    with psycopg.connect(database) as connection:
        connection.execute(REFERENCE)
        connection.commit()
        register_dumpers(connection)
        began = time.perf_counter()
        with connection.cursor() as cursor:
            table.insert(cursor, rows)
        connection.commit()
        return len(rows) / (time.perf_counter() - began)


def _publish(stream: StreamHandle, number: int) -> None:
    before = stream.info().state.messages

    async def publish() -> None:
        client = stream.connection.client
        for index in range(number):
            published = message(index)
            await client.publish(published.subject, published.payload)
            if index % 2_000 == 0:
                await client.flush()
        await client.flush()

    stream.connection.run(publish())
    wait_until(lambda: stream.info().state.messages == before + number, "the stream to hold them all")


def _newest(database: str) -> int:
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT coalesce(max(seq), 0) FROM workflow_comms.agent_messages").fetchone()
        assert row is not None
        return int(row[0])


def _usage(pid: int) -> tuple[float, float]:
    """Return a process's CPU seconds and peak resident MiB."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return ticks / 100, int(peak.split()[1]) / 1024
