"""Deletes what is past the retention, a batch a transaction, so that nobody waits for it."""

from collections.abc import Callable
from datetime import datetime

import psycopg
from msgspec import Struct

import sql
from flows.message import CHANNEL_GENERAL, CHANNEL_RUN

BATCH = 5_000


class Pruned(Struct):
    """How much was deleted."""

    messages: int = 0
    dead_letters: int = 0


def prunable(conninfo: str, before: datetime) -> Pruned:
    """Return what `prune` would delete."""
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(sql.query("prunable").encode(), {"before": before}).fetchone()
    messages, letters = row or (0, 0)
    return Pruned(messages, letters)


def prune(
    conninfo: str, before: datetime, batch: int = BATCH, note: Callable[[Pruned], None] = lambda _: None
) -> Pruned:
    """Delete messages and dead letters that were stored before a time.

    A run's row stays and counts what is gone. Safe beside the ingest and beside itself:
    a batch holds its locks for some tens of milliseconds, and only on rows that nobody writes.

    Args:
        conninfo: any libpq connection string.
        before: what was stored earlier goes.
        batch: messages a transaction.
        note: told the sums after each batch.
    """
    pruned = Pruned()
    with psycopg.connect(conninfo, autocommit=True) as connection:
        for channel in (CHANNEL_RUN, CHANNEL_GENERAL):
            arguments = {"channel": channel, "before": before, "batch": batch}
            while (gone := _messages(connection, arguments)) > 0:
                pruned.messages += gone
                note(pruned)
        while gone := connection.execute(
            sql.query("prune_letters").encode(), {"before": before, "batch": batch}
        ).rowcount:
            pruned.dead_letters += gone
            note(pruned)
    return pruned


def _messages(connection: psycopg.Connection, arguments: dict[str, object]) -> int:
    row = connection.execute(sql.query("prune_messages").encode(), arguments).fetchone()
    return int(row[0]) if row else 0
