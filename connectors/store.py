"""Stores batches in Postgres, each key once, and keeps one bad item from costing its batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import psycopg
from psycopg import Connection, Cursor
from psycopg.errors import UniqueViolation

from connectors.conninfo import with_defaults
from connectors.copy import CopyTable, Row

X = TypeVar("X")


@dataclass(frozen=True, kw_only=True)
class Destination(Generic[X]):
    """Where items become rows, and what goes with it.

    Attributes:
        conninfo: any libpq connection string.
        table: where to.
        row: an item's values in the order of the table's columns; None for an item that needs no row.
        lock: a statement executed in the transaction before rows get their place.
        within: called in the transaction with the cursor and the items that were new.
        reject: called in a transaction of its own with an item that Postgres refuses, and why.
    """

    conninfo: str
    table: CopyTable
    row: Callable[[X], Row | None]
    lock: bytes | None = None
    within: Callable[[Cursor[Any], Sequence[X]], None] | None = None
    reject: Callable[[Cursor[Any], X, psycopg.Error], None] | None = None


@dataclass
class Written(Generic[X]):
    """What a batch came to.

    Attributes:
        new: items that were stored.
        rejected: items that Postgres refused and `reject` took.
        duplicates: how many were stored already, or needed no row.
        seconds: how long it took, retries included.
    """

    new: list[X]
    rejected: list[X]
    duplicates: int = 0
    seconds: float = 0.0


class Store(Generic[X]):
    """Stores batches over one connection, which is made anew after a failure.

    For those who store outside of a dataflow: it acks nothing and retries nothing.
    """

    def __init__(self, destination: Destination[X]) -> None:
        self._destination = destination
        self._connection: Connection[Any] | None = None
        # After a duplicate, the next batches are likely to hold some too (a redelivery, a replay).
        self._expect_duplicates = False

    def store(self, items: Sequence[X]) -> Written[X]:
        """Commit what is new among the items.

        Raises:
            psycopg.Error: nothing was committed of the part that failed, for a reason that is not the items'.
        """
        written: Written[X] = Written([], [])
        pairs = [(item, row) for item in items if (row := self._destination.row(item)) is not None]
        if pairs:
            self._store_pairs(pairs, written)
        written.duplicates = len(items) - len(written.new) - len(written.rejected)
        return written

    def _store_pairs(self, pairs: list[tuple[X, Row]], written: Written[X]) -> None:
        try:
            written.new += self._commit(pairs)
        except psycopg.Error as error:
            if not _is_about_the_data(error):
                raise
            if len(pairs) > 1:
                middle = len(pairs) // 2
                self._store_pairs(pairs[:middle], written)
                self._store_pairs(pairs[middle:], written)
            else:
                self._reject(pairs[0][0], error)
                written.rejected.append(pairs[0][0])

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
        items = [item for item, _ in pairs]
        with self._transaction() as cursor:
            self._take_lock(cursor)
            self._destination.table.insert(cursor, (row for _, row in pairs))
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

    def _reject(self, item: X, error: psycopg.Error) -> None:
        if self._destination.reject is None:
            raise error
        with self._transaction() as cursor:
            self._destination.reject(cursor, item, error)

    def _take_lock(self, cursor: Cursor[Any]) -> None:
        if self._destination.lock:
            cursor.execute(self._destination.lock)

    def _transaction(self) -> "_Transaction":
        if self._connection is None:
            application = f"agent-comms {self._destination.table.name[1]}"
            connection = psycopg.connect(with_defaults(self._destination.conninfo, application), autocommit=True)
            try:
                self._destination.table.create_stage(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return _Transaction(self._connection)

    def close(self) -> None:
        """Drop the connection; the next store makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _Transaction:
    """One transaction with one cursor."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._transaction = connection.transaction()
        self._cursor = connection.cursor()

    def __enter__(self) -> Cursor[Any]:
        self._transaction.__enter__()
        return self._cursor

    def __exit__(self, *raised: Any) -> None:
        self._cursor.close()
        self._transaction.__exit__(*raised)


def _is_about_the_data(error: psycopg.Error) -> bool:
    # Class 54 is a limit of Postgres' own, such as an index entry that is too large: operational
    # by the driver's word, but the same again however often it is tried.
    return isinstance(error, psycopg.DataError | psycopg.IntegrityError) or (error.sqlstate or "").startswith("54")
