"""Idempotent bulk inserts: binary COPY into a table that has a unique key."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import Struct
from psycopg import Connection, Cursor, sql

from connectors import binary

STAGE = sql.Identifier("pg_temp", "staged")
# A piece that is sent gives the interpreter up, and a thread beside a busy one gets it back
# only after a switch interval: small pieces would be paid for in waiting.
PIECE_BYTES = 256 * 1024


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
        head = binary.count(len(self.columns))
        self._copy(cursor, sql.Identifier(*self.name), self.columns, (head + row.fields for row in rows))

    def create_stage(self, connection: Connection[Any]) -> None:
        """Create the session's staging table, once a connection."""
        connection.execute(
            sql.SQL(
                "CREATE TEMPORARY TABLE IF NOT EXISTS staged ON COMMIT DELETE ROWS AS"
                " SELECT {columns}, 0::integer AS ordinal FROM {table} WITH NO DATA"
            ).format(columns=self._columns_sql(), table=sql.Identifier(*self.name))
        )

    def stage(self, cursor: Cursor[Any], rows: Iterable[Row]) -> None:
        """Copy rows into the staging table, numbered."""
        head = binary.count(len(self.columns) + 1)
        numbered = (head + row.fields + binary.int4(ordinal) for ordinal, row in enumerate(rows))
        self._copy(cursor, STAGE, (*self.columns, "ordinal"), numbered)

    def insert_staged(self, cursor: Cursor[Any]) -> set[Any]:
        """Move the staged rows that are new into the table, in their order; return their keys."""
        cursor.execute(
            sql.SQL(
                "INSERT INTO {table} ({columns}) SELECT {columns} FROM {stage} ORDER BY ordinal"
                " ON CONFLICT DO NOTHING RETURNING {key}"
            ).format(
                table=sql.Identifier(*self.name),
                columns=self._columns_sql(),
                stage=STAGE,
                key=sql.Identifier(self.key),
            )
        )
        return {key for (key,) in cursor.fetchall()}

    def _columns_sql(self) -> sql.Composed:
        return sql.SQL(", ").join(map(sql.Identifier, self.columns))

    @staticmethod
    def _copy(cursor: Cursor[Any], table: sql.Identifier, columns: Sequence[str], rows: Iterable[bytes]) -> None:
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
            table, sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        with cursor.copy(statement) as copy:
            for piece in _pieces(rows):
                copy.write(piece)


def _pieces(rows: Iterable[bytes]) -> Iterator[bytes]:
    """Join rows, and what goes before and after them, to pieces worth sending."""
    gathered = [binary.SIGNATURE]
    size = 0
    for row in rows:
        gathered.append(row)
        size += len(row)
        if size >= PIECE_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    gathered.append(binary.TRAILER)
    yield b"".join(gathered)
