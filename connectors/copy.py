"""Idempotent inserts into a table that has a unique key: many rows by binary COPY, a few by a statement each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from msgspec import Struct
from psycopg import Connection, Cursor, pq, sql
from psycopg.adapt import Dumper, PyFormat

from connectors import binary

STAGE = sql.Identifier("pg_temp", "staged")
# A piece that is sent gives the interpreter up, and a thread beside a busy one gets it back
# only after a switch interval: small pieces would be paid for in waiting. These have about 256 KiB.
PIECE_ROWS = 512


class Row(Struct, frozen=True, gc=False):
    """One row, ready to be sent.

    Attributes:
        key: the value of the table's key.
        fields: every column's field in the binary format (`connectors.binary`), in their order.
    """

    key: str
    fields: bytes


@dataclass(frozen=True)
class CopyTable:
    """A table, the columns that are written, and the key that makes a write idempotent.

    Attributes:
        name: schema and table.
        columns: what is written, in the order of a row's fields.
        key: the column under a unique constraint, of a text type.
    """

    name: tuple[str, str]
    columns: tuple[str, ...]
    key: str

    def insert(self, cursor: Cursor[Any], rows: Iterable[Row]) -> None:
        """Copy rows straight into the table.

        Raises:
            psycopg.errors.UniqueViolation: one of them is there already; the transaction is lost.
        """
        self._copy(cursor, self._copy_statement, len(self.columns), [row.fields for row in rows])

    def insert_few(self, cursor: Cursor[Any], rows: Iterable[Row]) -> None:
        """Insert rows by a statement each, which may be sent without waiting for an answer; a COPY may not.

        The connection must have been prepared. Raises what `insert` does, in a pipeline at its end.
        """
        for row in rows:
            cursor.execute(self._insert_statement, [_field(value) for value in binary.parted(row.fields)], prepare=True)

    def prepare(self, connection: Connection[Any]) -> None:
        """Make a connection ready, once: the session's staging table, and fields that go as they are."""
        connection.adapters.register_dumper(_Field, _FieldDumper)
        connection.execute(
            sql.SQL(
                "CREATE TEMPORARY TABLE IF NOT EXISTS staged ON COMMIT DELETE ROWS AS"
                " SELECT {columns}, 0::integer AS ordinal FROM {table} WITH NO DATA"
            ).format(columns=self._columns_sql, table=sql.Identifier(*self.name))
        )

    def stage(self, cursor: Cursor[Any], rows: Iterable[Row]) -> None:
        """Copy rows into the staging table, numbered."""
        numbered = [row.fields + binary.int4(ordinal) for ordinal, row in enumerate(rows)]
        self._copy(cursor, self._stage_statement, len(self.columns) + 1, numbered)

    def insert_staged(self, cursor: Cursor[Any]) -> set[Any]:
        """Move the staged rows that are new into the table, in their order; return their keys."""
        cursor.execute(self._move_statement)
        return {key for (key,) in cursor.fetchall()}

    # As text, once: composing one takes as long as sending it.

    @cached_property
    def _copy_statement(self) -> bytes:
        return _copy_into(sql.Identifier(*self.name), self._columns_sql)

    @cached_property
    def _stage_statement(self) -> bytes:
        return _copy_into(STAGE, sql.SQL("{}, ordinal").format(self._columns_sql))

    @cached_property
    def _insert_statement(self) -> bytes:
        values = sql.SQL(", ").join([sql.Placeholder(format=PyFormat.BINARY)] * len(self.columns))
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})")
        return statement.format(sql.Identifier(*self.name), self._columns_sql, values).as_bytes()

    @cached_property
    def _move_statement(self) -> bytes:
        statement = sql.SQL(
            "INSERT INTO {table} ({columns}) SELECT {columns} FROM {stage} ORDER BY ordinal"
            " ON CONFLICT DO NOTHING RETURNING {key}"
        )
        names = {"table": sql.Identifier(*self.name), "columns": self._columns_sql, "key": sql.Identifier(self.key)}
        return statement.format(stage=STAGE, **names).as_bytes()

    @cached_property
    def _columns_sql(self) -> sql.Composed:
        return sql.SQL(", ").join(map(sql.Identifier, self.columns))

    @staticmethod
    def _copy(cursor: Cursor[Any], statement: bytes, columns: int, rows: Sequence[bytes]) -> None:
        with cursor.copy(statement) as copy:
            for piece in _pieces(rows, binary.count(columns)):
                copy.write(piece)


class _Field(bytes):
    """A field's value as Postgres' binary format has it."""


class _FieldDumper(Dumper):
    """Sends a field as it is; its type is its column's."""

    format = pq.Format.BINARY
    oid = 0

    def dump(self, obj: _Field) -> bytes:
        return obj


def _field(value: bytes | None) -> _Field | None:
    return None if value is None else _Field(value)


def _copy_into(table: sql.Identifier, columns: sql.Composable) -> bytes:
    return sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(table, columns).as_bytes()


def _pieces(rows: Sequence[bytes], head: bytes) -> Iterator[bytes]:
    """Join rows, each behind its head, and what goes before and after them all, to pieces worth sending."""
    piece = [binary.SIGNATURE]
    for first in range(0, len(rows), PIECE_ROWS):
        if first:
            yield b"".join(piece)
            piece = []
        piece += (head, head.join(rows[first : first + PIECE_ROWS]))
    yield b"".join((*piece, binary.TRAILER))
