"""Which messages are stored already, asked for in bulk."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import Any

import polars
import psycopg

import sql
from flows.finished import Key
from flows.patience import insist

KEY_CHARS = 32
_ROW = Struct(f"!{KEY_CHARS}sq")
# From the Unix epoch to Postgres', in microseconds.
_EPOCH_US = 946_684_800_000_000
SCHEMA = {"key": polars.String, "time": polars.Int64}


class Stock:
    """Reads what is stored over one connection, made when it is needed and anew after a failure.

    Args:
        conninfo: any libpq connection string.
        patience: how long an absent Postgres is waited for.
    """

    def __init__(self, conninfo: str, patience: timedelta) -> None:
        self._conninfo = conninfo
        self._patience = patience
        self._connection: psycopg.Connection[Any] | None = None

    def of_runs(self, runs: Sequence[Key]) -> polars.DataFrame:
        """Return the keys and times of everything that some runs have said, at 2 µs a message.

        Returns:
            Rows of `key` and `time`, in microseconds since the Unix epoch.
        """
        if not runs:
            return polars.DataFrame(schema=SCHEMA)
        arguments = {"namespaces": [key[0] for key in runs], "uids": [key[1] for key in runs]}
        return self._read(sql.query("stored_of_runs"), arguments)

    def keys_of_runs(self, runs: Sequence[Key]) -> polars.DataFrame:
        """Return the keys alone, a column `key`: they come as one text, which nobody takes apart but polars."""
        if not runs:
            return polars.DataFrame(schema={"key": polars.String})
        arguments = {"namespaces": [key[0] for key in runs], "uids": [key[1] for key in runs]}
        row = self._first(sql.query("stored_keys_of_runs"), arguments)
        text: str = row[0] or "" if row else ""
        return polars.DataFrame({"key": [text]}).select(polars.col("key").str.split(",").explode())

    def of_keys(self, keys: Sequence[str]) -> polars.DataFrame:
        """Return which of some messages are stored, and their times; each costs ten times as much."""
        if not keys:
            return polars.DataFrame(schema=SCHEMA)
        return self._read(sql.query("stored_of_keys"), {"keys": list(keys)})

    def _read(self, query: str, arguments: dict[str, Any]) -> polars.DataFrame:
        row = self._first(query, arguments)
        data: bytes = row[0] or b"" if row else b""
        keys: list[str] = []
        times: list[int] = []
        for key, time in _ROW.iter_unpack(data):
            keys.append(key.decode())
            times.append(time + _EPOCH_US)
        return polars.DataFrame({"key": keys, "time": times}, schema=SCHEMA)

    def next_time(self, key: Key, artifact: str, after: int) -> int | None:
        """Return when the next stored message of an artifact was said after a time, in microseconds."""
        arguments = {
            "namespace": key[0],
            "uid": key[1],
            "artifact": artifact,
            "after": datetime.fromtimestamp(after / 1_000_000, UTC),
        }
        row = self._first(sql.query("next_stored"), arguments)
        return round(row[0].timestamp() * 1_000_000) if row and row[0] else None

    def agents(self, keys: Sequence[str]) -> dict[str, str]:
        """Return who said some stored messages, by their keys."""
        if not keys:
            return {}
        return dict(self._rows(sql.query("agents_of_keys"), {"keys": list(keys)}))

    def _first(self, query: str, arguments: dict[str, Any]) -> tuple[Any, ...] | None:
        return next(iter(self._rows(query, arguments)), None)

    def _rows(self, query: str, arguments: dict[str, Any]) -> list[tuple[Any, ...]]:
        def ask() -> list[tuple[Any, ...]]:
            return self._open().execute(query.encode(), arguments, binary=True).fetchall()

        return insist(ask, self._patience, self.close)

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._conninfo, autocommit=True)
        return self._connection

    def close(self) -> None:
        """Drop the connection; the next question makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
