"""Rows in the binary format, as Postgres reads them."""

import uuid
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.errors import UniqueViolation

from connectors import binary
from connectors.copy import CopyTable, Row

TABLE = CopyTable(("public", "copied"), ("key", "note", "id", "data", "at", "small", "large", "doc"), "key")
CREATE = """
    CREATE TABLE public.copied (
        key text PRIMARY KEY, note text, id uuid, data bytea, at timestamptz, small integer, large bigint, doc jsonb)
"""
SOME_ID = uuid.UUID(int=7 << 100 | 9)


def row(key: str, note: str | None, data: bytes, at: datetime, small: int, large: int, doc: str) -> Row:
    fields = (
        binary.text(key), binary.text(note), binary.raw(SOME_ID.bytes), binary.raw(data),
        binary.timestamptz(binary.microseconds_of(at)), binary.int4(small), binary.int8(large),
        binary.jsonb(doc.encode()),
    )  # fmt: skip
    return Row(key, b"".join(fields))


NOON = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
VALUES: dict[str, tuple[str | None, bytes, datetime, int, int, str]] = {
    "plain": ("a note", b"bytes", NOON, 1, 2, '{"a": 1}'),
    "empty": ("", b"", NOON, 0, 0, "{}"),
    "null": (None, b"\x00\xff", NOON, -1, -1, "null"),
    "wide": ("héllo 漢字 🎉 \u2028", bytes(range(256)), NOON, 2**31 - 1, 2**63 - 1, '{"é": "🎉"}'),
    "early": ("x", b"x", datetime(1, 1, 1, tzinfo=UTC), -(2**31), -(2**63), "[]"),
    "late": ("x", b"x", datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), 1, 1, '"x"'),
    "before 2000": ("x", b"x", datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), 1, 1, "1"),
    "before 1970": ("x", b"x", datetime(1969, 7, 20, 20, 17, 40, 1, tzinfo=UTC), 1, 1, "1"),
}


@pytest.fixture
def table(database: str) -> Any:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(CREATE)
        yield connection


@pytest.mark.parametrize("how", ["insert", "insert_few"])
@pytest.mark.parametrize("key", VALUES)
def test_a_row_is_read_as_it_was_meant(table: psycopg.Connection[Any], key: str, how: str) -> None:
    note, data, at, small, large, doc = VALUES[key]
    written = [row(key, note, data, at, small, large, doc)]
    TABLE.prepare(table)
    with nullcontext() if how == "insert" else table.pipeline(), table.transaction(), table.cursor() as cursor:
        getattr(TABLE, how)(cursor, written)
    found = table.execute(
        "SELECT key, note, id, data, extract(epoch FROM at) * 1000000, small, large, doc = %s::jsonb"
        " FROM public.copied",
        [doc],
    ).fetchone()
    microseconds = binary.microseconds_of(at) + 946_684_800_000_000
    assert found == (key, note, SOME_ID, data, microseconds, small, large, True)


def test_rows_that_are_there_are_left_out_in_order(table: psycopg.Connection[Any]) -> None:
    rows = [row(key, *values) for key, values in VALUES.items()]
    TABLE.prepare(table)
    with table.transaction(), table.cursor() as cursor:
        TABLE.insert(cursor, rows[:2])
    with table.transaction(), table.cursor() as cursor:
        TABLE.stage(cursor, rows)
        new = TABLE.insert_staged(cursor)
    assert new == set(list(VALUES)[2:])
    assert [key for (key,) in table.execute("SELECT key FROM public.copied ORDER BY ctid")] == list(VALUES)


def test_more_than_one_piece_arrives_whole(table: psycopg.Connection[Any]) -> None:
    many = 3_000
    with table.transaction(), table.cursor() as cursor:
        TABLE.insert(cursor, (row(f"{number}", "x" * 300, b"", NOON, number, 0, "{}") for number in range(many)))
    found = table.execute("SELECT count(*), sum(small), sum(length(note)) FROM public.copied").fetchone()
    assert found == (many, many * (many - 1) // 2, 300 * many)


def test_a_few_of_which_one_is_there_are_none_and_the_connection_goes_on(table: psycopg.Connection[Any]) -> None:
    TABLE.prepare(table)
    rows = [row(key, *values) for key, values in VALUES.items()]
    for many in (rows[1:2], rows[:3]):
        with (
            pytest.raises(UniqueViolation) if len(many) > 1 else nullcontext(),
            table.pipeline(),
            table.transaction(),
            table.cursor() as cursor,
        ):
            TABLE.insert_few(cursor, many)
    assert table.execute("SELECT key FROM public.copied").fetchall() == [(rows[1].key,)]


def test_half_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(UnicodeEncodeError):
        binary.text("\ud800")
