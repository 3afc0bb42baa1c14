"""Idempotent bulk inserts: binary COPY into a table that has a unique key."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import Connection, Cursor, sql
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format

JSONB_OID = 3802
UUID_OID = 2950
STAGE = sql.Identifier("pg_temp", "staged")

Row = Sequence[Any]


class _EncodedJsonbDumper(Dumper):
    """Takes JSON that is encoded already; encoding it once more would cost more than the rest of the row."""

    format = Format.BINARY
    oid = JSONB_OID

    def dump(self, obj: bytes) -> Buffer | None:
        return b"\x01" + obj


class _UuidBytesDumper(Dumper):
    """Takes the 16 bytes of a UUID: making an object of them first costs more than the rest."""

    format = Format.BINARY
    oid = UUID_OID

    def dump(self, obj: bytes) -> Buffer | None:
        return obj


def register_dumpers(context: AdaptContext) -> None:
    """Make a connection take `bytes` for the jsonb and uuid columns of a binary COPY."""
    context.adapters.register_dumper(None, _EncodedJsonbDumper)
    context.adapters.register_dumper(None, _UuidBytesDumper)


@dataclass(frozen=True)
class CopyTable:
    """A table, the columns that are written, and the key that makes a write idempotent.

    Attributes:
        name: schema and table.
        columns: what is written, in the order of a row's values.
        types: their Postgres types; jsonb and uuid values are given as bytes.
        key: the column under a unique constraint.
    """

    name: tuple[str, str]
    columns: tuple[str, ...]
    types: tuple[str, ...]
    key: str
    _key_at: int = field(init=False)

    def __post_init__(self) -> None:
        if len(self.columns) != len(self.types):
            message = f"{self.name}: {len(self.columns)} columns, but {len(self.types)} types"
            raise ValueError(message)
        object.__setattr__(self, "_key_at", self.columns.index(self.key))

    def key_of(self, row: Row) -> Any:
        """Return a row's key."""
        return row[self._key_at]

    def insert(self, cursor: Cursor[Any], rows: Iterable[Row]) -> None:
        """Copy rows straight into the table.

        Raises:
            psycopg.errors.UniqueViolation: one of them is there already; the transaction is lost.
        """
        self._copy(cursor, sql.Identifier(*self.name), self.columns, self.types, rows)

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
        numbered = ((*row, ordinal) for ordinal, row in enumerate(rows))
        self._copy(cursor, STAGE, (*self.columns, "ordinal"), (*self.types, "int4"), numbered)

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
    def _copy(
        cursor: Cursor[Any], table: sql.Identifier, columns: Sequence[str], types: Sequence[str], rows: Iterable[Row]
    ) -> None:
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(
            table, sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        with cursor.copy(statement) as copy:
            copy.set_types(types)
            write = copy.write_row
            for row in rows:
                write(row)
