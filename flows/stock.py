"""Which messages are stored already, asked for in bulk."""

from collections.abc import Sequence
from datetime import UTC, datetime
from struct import Struct
from typing import Any

import polars
import psycopg

import sql
from flows.finished import Key

# Of a run's messages so many are looked through for each key that is asked for; beyond that, keys are looked up.
WORTH = 4
KEY_CHARS = 32
_ROW = Struct(f"!{KEY_CHARS}sq")
# From the Unix epoch to Postgres', in microseconds.
_EPOCH_US = 946_684_800_000_000
SCHEMA = {"key": polars.String, "time": polars.Int64}


class Stock:
    """Reads what is stored over one connection, made when it is needed and anew after a failure.

    Args:
        conninfo: any libpq connection string.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection: psycopg.Connection[Any] | None = None

    def times(self, runs: Sequence[tuple[Key, int]], keys: Sequence[str]) -> polars.DataFrame:
        """Return which of some keys are stored, and the times of their messages.

        One scan of the runs' messages where they are about as many as the keys: that costs 2 µs a
        message, and looking keys up costs ten times as much.

        Args:
            runs: that the keys are of, and about how many messages are stored of each.
            keys: of messages.

        Returns:
            Rows of `key` and `time`, in microseconds since the Unix epoch; more than was asked for, perhaps.
        """
        wanted = [key for key, messages in runs if messages]
        if not wanted or not keys:
            return polars.DataFrame(schema=SCHEMA)
        if sum(messages for _, messages in runs) <= WORTH * len(keys):
            arguments: dict[str, Any] = {"namespaces": [key[0] for key in wanted], "uids": [key[1] for key in wanted]}
            return self._read(sql.query("stored_of_runs"), arguments)
        return self._read(sql.query("stored_of_keys"), {"keys": list(keys)})

    def _read(self, query: str, arguments: dict[str, Any]) -> polars.DataFrame:
        row = self._open().execute(query.encode(), arguments, binary=True).fetchone()
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
        row = self._open().execute(sql.query("next_stored"), arguments).fetchone()
        return round(row[0].timestamp() * 1_000_000) if row and row[0] else None

    def agents(self, keys: Sequence[str]) -> dict[str, str]:
        """Return who said some stored messages, by their keys."""
        if not keys:
            return {}
        return dict(self._open().execute(sql.query("agents_of_keys"), {"keys": list(keys)}).fetchall())

    def _open(self) -> psycopg.Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._conninfo, autocommit=True)
        return self._connection

    def close(self) -> None:
        """Drop the connection; the next question makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
