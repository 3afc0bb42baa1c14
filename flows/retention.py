"""Deletes what is past the retention, a little at a time, so that nobody waits for it.

Why rows, and not partitions of `created_at` that go as a whole: a unique key over
partitions has to hold `created_at`, so a message that comes again a day later would be a
second row. The promise then needs a table of keys beside the partitions. It was tried:
copying a batch of 8,000 into partitions and keys takes as long as into the one table, or
a quarter longer; the keys have still to be deleted one by one, at a third of the cost,
and take 155 bytes a message; a page of a run looks into every partition, which takes
half as long again when 100 of them are empty; and to drop one the whole table is locked,
after its messages were counted for their runs. A night's messages are deleted
in about a minute (`make bench ARGS='--only prune'`).
"""

import time
from collections.abc import Callable, Iterator
from datetime import datetime

import psycopg
from msgspec import Struct
from psycopg import Connection

import sql
from flows.message import CHANNEL_GENERAL, CHANNEL_RUN

BATCH = 5_000
COUNTED = 100_000
# A transaction is meant to take so long at most, whatever its rows weigh: meanwhile others have less of the machine.
AIM_S = 0.05
LEAST = 50
# How long it rests after each, in times of what that took.
REST = 4.0
MOST_REST_S = 2.0


class Pruned(Struct):
    """How much was deleted.

    Attributes:
        deeds: rows of the audit log.
        longest: seconds that the longest transaction took.
    """

    messages: int = 0
    dead_letters: int = 0
    deeds: int = 0
    longest: float = 0.0


class Pace:
    """How many rows a transaction takes: fewer once it took too long, more once it was quick.

    Args:
        most: never more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.rows = max(1, most // 4)

    def took(self, seconds: float) -> float:
        """Learn from what a transaction took, and return that."""
        if seconds > AIM_S:
            self.rows = max(min(LEAST, self._most), self.rows // 2)
        elif seconds < AIM_S / 4:
            self.rows = min(self._most, self.rows * 2)
        return seconds


def prunable(
    conninfo: str, before: datetime, *, deeds_before: datetime | None = None, from_start: bool = False
) -> Pruned:
    """Return what `prune` would delete; reads that much and no more."""
    pace = Pace(COUNTED)
    with psycopg.connect(conninfo, autocommit=True) as connection:
        messages = sum(
            found
            for channel in (CHANNEL_RUN, CHANNEL_GENERAL)
            for found, _ in _walk(connection, "prunable_messages", channel, before, pace, from_start)
        )
        letters = connection.execute(sql.query("prunable_letters"), {"before": before}).fetchone()
        deeds = connection.execute(sql.query("prunable_deeds"), {"before": deeds_before}).fetchone()
    return Pruned(messages, letters[0] if letters else 0, deeds[0] if deeds else 0)


def prune(
    conninfo: str,
    before: datetime,
    batch: int = BATCH,
    rest: float = REST,
    note: Callable[[Pruned], None] = lambda _: None,
    *,
    deeds_before: datetime | None = None,
    from_start: bool = False,
) -> Pruned:
    """Delete messages and dead letters that were stored before a time; a run's row stays and counts what is gone.

    Messages are stored in the live order, so it walks along that from where the last prune
    ended and ends where a whole batch is young: it reads what it deletes and one batch more. It
    never takes the lock under which messages get their places, locks the rows of runs
    in the order in which the ingest does, and only once the messages are deleted: safe
    beside the ingest and beside itself, and to be interrupted at any moment.

    Args:
        conninfo: any libpq connection string.
        before: what was stored earlier goes.
        batch: rows a transaction at most; fewer where they take long.
        rest: how long it rests after each transaction, in times of what that took.
        note: told the sums after each.
        deeds_before: what the audit log says of an earlier time goes; by default nothing of it does.
        from_start: look at all messages from the first on, as after a restore of old ones.
    """
    pruned = Pruned()
    with psycopg.connect(conninfo, autocommit=True) as connection:
        # A batch that a crash brings back is deleted the next time; nobody waits for the disk until then.
        connection.execute("SET synchronous_commit = off; SET jit = off")
        for channel in (CHANNEL_RUN, CHANNEL_GENERAL):
            for gone, took in _walk(connection, "prune_messages", channel, before, Pace(batch), from_start):
                pruned.messages += gone
                _note(pruned, took, rest, note)
        for gone, took in _by_time(connection, "prune_letters", before, Pace(batch)):
            pruned.dead_letters += gone
            _note(pruned, took, rest, note)
        if deeds_before is not None:
            for gone, took in _by_time(connection, "prune_deeds", deeds_before, Pace(batch)):
                pruned.deeds += gone
                _note(pruned, took, rest, note)
    return pruned


def _note(pruned: Pruned, took: float, rest: float, note: Callable[[Pruned], None]) -> None:
    pruned.longest = max(pruned.longest, took)
    note(pruned)
    time.sleep(min(rest * took, MOST_REST_S))


def _walk(
    connection: Connection, query: str, channel: str, before: datetime, pace: Pace, from_start: bool
) -> Iterator[tuple[int, float]]:
    """Run a query along a channel's live order until it meets nothing old.

    Yields what each batch came to, and the seconds it took.
    """
    row = None if from_start else connection.execute(sql.query("prune_start"), {"channel": channel}).fetchone()
    after, is_old = row[0] if row else 0, True
    while is_old:
        began = time.monotonic()
        arguments = {"channel": channel, "before": before, "after": after, "batch": pace.rows}
        row = connection.execute(sql.query(query), arguments).fetchone()
        found, after, is_old = row or (0, 0, False)
        yield found, pace.took(time.monotonic() - began)


def _by_time(connection: Connection, query: str, before: datetime, pace: Pace) -> Iterator[tuple[int, float]]:
    gone = 1
    while gone:
        began = time.monotonic()
        gone = connection.execute(sql.query(query), {"before": before, "batch": pace.rows}).rowcount
        yield gone, pace.took(time.monotonic() - began)
