"""Who holds what a session of Postgres waits for, as a second session sees it."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import psycopg
from psycopg import Connection
from psycopg.rows import class_row

LOOK_EVERY_S = 0.5

# Postgres says 0 for a transaction that was prepared and has no session any more. What a session does, and since when,
# it tells its own role alone, and who may see all.
_DOES = """
    SELECT DISTINCT holder.pid, activity.usename AS role,
        coalesce(nullif(activity.application_name, ''), activity.backend_type) AS name,
        activity.state, coalesce(activity.xact_start, activity.state_change) AS since
    FROM ({holders}) AS holder (pid) LEFT JOIN pg_stat_activity AS activity USING (pid) ORDER BY holder.pid
"""
_BLOCKING = _DOES.format(holders="SELECT unnest(pg_blocking_pids(%s))")
_ADVISORY = _DOES.format(
    holders="""
        SELECT lock.pid FROM pg_locks AS lock JOIN pg_database ON pg_database.oid = lock.database
        WHERE lock.locktype = 'advisory' AND lock.granted AND pg_database.datname = current_database()
            AND lock.objsubid = 1 AND (lock.classid::bigint << 32) | lock.objid::bigint = %s
    """
)


@dataclass(frozen=True)
class Holder:
    """A session that keeps others waiting.

    Attributes:
        pid: its process on the server; 0 of a prepared transaction.
        role: as whom it is connected.
        name: what its program calls itself.
        state: such as `idle in transaction`; None where that is not for us to see.
        since: when its transaction began, or else its state.
    """

    pid: int
    role: str | None
    name: str | None
    state: str | None
    since: datetime | None

    def __str__(self) -> str:
        """Return it in words."""
        if not self.pid:
            return "a prepared transaction"
        what = " of ".join(filter(None, [self.name, self.role]))
        since = f"since {self.since:%Y-%m-%d %H:%M:%S %Z}" if self.since else ""
        known = ", ".join(filter(None, [what, self.state, since]))
        return f"process {self.pid}{f' ({known})' if known else ''}"


def holders_of_advisory(connection: Connection[Any], key: int) -> list[Holder]:
    """Return who has taken an advisory lock of this database by its one 64-bit key."""
    return _ask(connection, _ADVISORY, key)


def _ask(connection: Connection[Any], query: str, value: int) -> list[Holder]:
    with connection.cursor(row_factory=class_row(Holder)) as cursor:
        return cursor.execute(query.encode(), [value]).fetchall()


class Lookout(threading.Thread):
    """Looks every so often whom a session waits for, over a connection of its own.

    Args:
        conninfo: any libpq connection string, of the same database.
        pid: the session's process.
    """

    def __init__(self, conninfo: str, pid: int) -> None:
        super().__init__(name="lookout", daemon=True)
        self._conninfo = conninfo
        self._pid = pid
        self._ended = threading.Event()
        self._seen: Sequence[Holder] = ()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        # It isn't waited for: it may be asking a Postgres that doesn't answer.
        self._ended.set()

    def take(self) -> Sequence[Holder]:
        """Return those who were seen last since this was asked; none where nobody was."""
        seen, self._seen = self._seen, ()
        return seen

    def run(self) -> None:
        """Look, until the end of the `with`."""
        while not self._ended.wait(LOOK_EVERY_S):
            try:
                with psycopg.connect(self._conninfo, autocommit=True) as connection:
                    while not self._ended.wait(LOOK_EVERY_S):
                        self._seen = _ask(connection, _BLOCKING, self._pid) or self._seen
            except psycopg.Error:
                # Without it nobody is named, and all else goes on.
                continue
