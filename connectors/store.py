"""Stores batches in Postgres, each key once, and keeps one bad item from costing its batch."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import psycopg
from psycopg import Connection, Cursor
from psycopg.conninfo import make_conninfo
from psycopg.errors import LockNotAvailable, UniqueViolation

from connectors.blame import Blame, blame, in_one_line, is_timeout
from connectors.conninfo import with_defaults
from connectors.copy import CopyTable, Row
from connectors.suspects import Failure

log = logging.getLogger(__name__)
X = TypeVar("X")

# A timeout speaks against an item only where the sample takes less than this share of its time.
QUICK = 0.1
# So few rows go with all that belongs to their transaction, at once, and one answer is waited for instead of eight.
# From four on a COPY is less work.
FEW = 3
# Whoever asks what a session waits for is answered at once, or not at all.
ASK_S = 3
_WAITS_FOR = """
    SELECT wait_event_type, wait_event, array_remove(pg_blocking_pids(pid), 0) FROM pg_stat_activity WHERE pid = %s
"""
# A wait for somebody's lock is to end as such (55P03, the server's fault) and not as a statement
# timeout, which might be the message's.
_NAME_LOCK_WAITS = """
    SELECT set_config('lock_timeout', (setting::bigint * 3 / 4)::text, false) FROM pg_settings AS statement
    WHERE name = 'statement_timeout' AND setting <> '0' AND NOT EXISTS (
        SELECT FROM pg_settings AS lock
        WHERE lock.name = 'lock_timeout' AND lock.setting <> '0' AND lock.setting::bigint < statement.setting::bigint)
"""


@dataclass(frozen=True, kw_only=True)
class Destination(Generic[X]):
    """Where items become rows, and what goes with it.

    Attributes:
        conninfo: any libpq connection string.
        table: where to.
        row: an item's values in the order of the table's columns; None for an item that needs no row.
        lock: a statement executed in the transaction before rows get their place.
        free: a statement executed where the lock was not to be had in its time; `%(waited)s` is how long that was, in
            seconds. It ends whoever holds the lock and stands still, and returns a row for each.
        within: called in the transaction with the cursor and the items that were new; it reads no result.
        reject: called in a transaction of its own with an item that can't be stored, and why, in one line.
        sample: an item that fits whenever the table, its triggers and the server are well. It is written and
            rolled back to tell an item that is bad from a set-up that is; without one nothing is ever an
            item's fault that Postgres doesn't call so.
    """

    conninfo: str
    table: CopyTable
    row: Callable[[X], Row | None]
    lock: bytes | None = None
    free: bytes | None = None
    within: Callable[[Cursor[Any], Sequence[X]], None] | None = None
    reject: Callable[[Cursor[Any], X, str], None] | None = None
    sample: X | None = None


@dataclass
class Written(Generic[X]):
    """What a batch came to.

    Attributes:
        new: items that were stored.
        rejected: items that can't be stored, and that `reject` took.
        failed: items that failed alone, while Postgres takes others.
        duplicates: how many were stored already, or needed no row.
        seconds: how long it took, retries included.
    """

    new: list[X] = field(default_factory=list)
    rejected: list[X] = field(default_factory=list)
    failed: list[Failure[X]] = field(default_factory=list)
    duplicates: int = 0
    seconds: float = 0.0


class Store(Generic[X]):
    """Stores batches over one connection, which is made anew after a failure.

    For those who store outside of a dataflow: it acks nothing and retries nothing.

    What is the fault of the server or of the whole set-up (see `connectors.blame`) is
    raised. Otherwise the batch is halved until the culprit is alone, and all others are
    stored. Where Postgres itself names the data, the culprit is rejected at once. Where
    the error tells nothing, the sample decides: does it go through the same transaction
    now (it is rolled back), then Postgres takes other work, and the try speaks against
    the item; if not, the whole batch is raised. A timeout has one more condition, since
    a slow server lets small things pass: the sample must be through in less than a tenth
    of the time that the item had. Waits for locks never count: they end as such.
    """

    def __init__(self, destination: Destination[X]) -> None:
        self._destination = destination
        self._connection: Connection[Any] | None = None
        self._session = 0
        # After a duplicate, the next batches are likely to hold some too (a redelivery, a replay).
        self._expect_duplicates = False

    def store(self, items: Sequence[X]) -> Written[X]:
        """Commit what is new among the items.

        Raises:
            Exception: nothing was committed of the part that failed, for a reason that is not the items'.
        """
        written: Written[X] = Written()
        pairs = self._pairs(items, written)
        if pairs:
            self._store_pairs(pairs, written)
        written.duplicates = len(items) - len(written.new) - len(written.rejected) - len(written.failed)
        return written

    def needs_row(self, item: X) -> bool:
        """Say whether an item is to become a row."""
        return self._destination.row(item) is not None

    def reject(self, item: X, why: str) -> None:
        """Commit that an item can't be stored.

        Raises:
            Exception: that could not be committed either.
        """
        if self._destination.reject is None:
            message = f"nobody takes what {'.'.join(self._destination.table.name)} refuses"
            raise LookupError(message)
        with self._transaction() as cursor:
            self._destination.reject(cursor, item, why)

    def _pairs(self, items: Sequence[X], written: Written[X]) -> list[tuple[X, Row]]:
        make = self._destination.row
        try:
            return [(item, row) for item in items if (row := make(item)) is not None]
        except Exception as error:
            if len(items) == 1:
                self._note_failure(items[0], error, 0.0, written)
                return []
        middle = len(items) // 2
        return self._pairs(items[:middle], written) + self._pairs(items[middle:], written)

    def _store_pairs(self, pairs: list[tuple[X, Row]], written: Written[X]) -> None:
        error, took = self._try(pairs, written)
        if error is None:
            return
        if len(pairs) == 1:
            self._note_failure(pairs[0][0], error, took, written)
            return
        self._require_others_to_pass(error)
        middle = len(pairs) // 2
        self._store_pairs(pairs[:middle], written)
        self._store_pairs(pairs[middle:], written)

    def _try(self, pairs: list[tuple[X, Row]], written: Written[X]) -> tuple[Exception | None, float]:
        """Return the error, where there was one, and how long it took."""
        began = time.monotonic()
        try:
            written.new += self._commit(pairs)
        except Exception as error:
            return error, time.monotonic() - began
        return None, 0.0

    def _note_failure(self, item: X, error: Exception, took: float, written: Written[X]) -> None:
        """Reject an item that failed alone, or note that it did."""
        sample_took = self._require_others_to_pass(error)
        why = in_one_line(error)
        if blame(error) is Blame.DATA:
            try:
                self.reject(item, why)
            except Exception as second:
                if blame(second) is Blame.SERVER:
                    raise
                written.failed.append(Failure(item, f"{why}; not kept: {in_one_line(second)}", counts=False))
            else:
                written.rejected.append(item)
            return
        counts = not is_timeout(error) or sample_took < QUICK * took
        written.failed.append(Failure(item, why, counts))

    def _require_others_to_pass(self, error: Exception) -> float:
        """Return how long the sample took; raise the error where it is not the fault of an item."""
        whose = blame(error)
        if whose is Blame.DATA:
            return 0.0
        took = None if whose is Blame.SERVER else self._try_sample()
        if took is None:
            raise error
        return took

    def _try_sample(self) -> float | None:
        """Return in how many seconds Postgres takes the sample; None where it doesn't."""
        sample = self._destination.sample
        if sample is None:
            return None
        began = time.monotonic()
        try:
            row = self._destination.row(sample)
            with self._transaction(keep=False) as cursor:
                self._take_lock(cursor)
                self._destination.table.insert(cursor, [row] if row else [])
                if self._destination.within:
                    self._destination.within(cursor, [sample])
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        except Exception as error:
            # A server that says what it doesn't like about the sample's data is at work.
            if blame(error) is not Blame.DATA:
                return None
        return time.monotonic() - began

    def _commit(self, pairs: list[tuple[X, Row]]) -> list[X]:
        """Return the items that were new."""
        if not self._expect_duplicates:
            try:
                return self._commit_straight(pairs)
            except UniqueViolation:
                self._expect_duplicates = True
        new = self._commit_staged(pairs)
        self._expect_duplicates = len(new) < len(pairs)
        return new

    def _commit_straight(self, pairs: list[tuple[X, Row]]) -> list[X]:
        items, rows = [item for item, _ in pairs], [row for _, row in pairs]
        table = self._destination.table
        together = len(rows) <= FEW
        with self._transaction(together=together) as cursor:
            self._take_lock(cursor)
            (table.insert_few if together else table.insert)(cursor, rows)
            if self._destination.within:
                self._destination.within(cursor, items)
        return items

    def _commit_staged(self, pairs: list[tuple[X, Row]]) -> list[X]:
        table = self._destination.table
        new: list[X] = []
        with self._transaction() as cursor:
            table.stage(cursor, (row for _, row in pairs))
            self._take_lock(cursor)
            unseen = table.insert_staged(cursor)
            for item, row in pairs:
                if row.key in unseen:
                    unseen.remove(row.key)
                    new.append(item)
            if new and self._destination.within:
                self._destination.within(cursor, new)
        return new

    def _take_lock(self, cursor: Cursor[Any]) -> None:
        if self._destination.lock:
            cursor.execute(self._destination.lock)

    def _free_lock(self, waited: float) -> None:
        if not self._destination.free:
            return
        try:
            with self._connect() as connection:
                ended = connection.execute(self._destination.free, {"waited": waited}).rowcount
        except psycopg.Error as error:
            log.debug("postgres: the lock is not freed: %s", in_one_line(error))
            return
        if ended:
            todo = "see whether a writer's process or network stands still"
            log.warning("postgres: ended a writer that others waited for, %.0f s", waited, extra={"todo": todo})

    @contextmanager
    def _transaction(self, *, keep: bool = True, together: bool = False) -> Iterator[Cursor[Any]]:
        """Give the cursor of a transaction.

        Args:
            keep: whether it ends in a commit.
            together: whether its statements are sent at once; whatever is wrong with one is raised at the end.
        """
        connection = self._ready()
        began = time.monotonic()
        try:
            with (
                connection.pipeline() if together else nullcontext(),
                connection.transaction(force_rollback=not keep),
                connection.cursor() as cursor,
            ):
                yield cursor
        except LockNotAvailable:
            self._free_lock(time.monotonic() - began)
            raise

    def _ready(self) -> Connection[Any]:
        if self._connection is None:
            connection = self._connect()
            self._session = connection.info.backend_pid
            try:
                self._destination.table.prepare(connection)
                connection.execute(_NAME_LOCK_WAITS)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def waits_for(self) -> str:
        """Return, for a person, what a store that is under way waits for; to be called in another thread."""
        try:
            with psycopg.connect(make_conninfo(self._conninfo, connect_timeout=ASK_S), autocommit=True) as connection:
                row = connection.execute(_WAITS_FOR, (self._session,)).fetchone()
        except psycopg.Error as error:
            return f"nobody else gets one ({in_one_line(error)})"
        if row is None:
            return "Postgres knows nothing of it"
        kind, event, holders = row
        if holders:
            return f"it waits for a lock of process {', '.join(map(str, holders))} ({kind} {event})"
        return f"Postgres is at work on it{f' ({kind} {event})' if kind else ''}"

    @property
    def _conninfo(self) -> str:
        return with_defaults(self._destination.conninfo, f"agent-comms {self._destination.table.name[1]}")

    def _connect(self) -> Connection[Any]:
        return psycopg.connect(self._conninfo, autocommit=True)

    def close(self) -> None:
        """Drop the connection; the next store makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
