"""Which sign-ins were ended by signing out, here or at another web process: a copy of their cookie opens nothing."""

import logging
import threading
import time
from datetime import UTC, datetime, timedelta

import psycopg

import sql
from web.pool import Connection, Pool

log = logging.getLogger(__name__)

# How often it is asked what others have ended.
TICK_S = 1.0
# Whoever comes where nothing looks after it, as in a test's client, has it asked.
STALE_S = 3.0
# What was ended is seen once it is committed, which may be so much later; what is read twice is no harm.
OVERLAP = timedelta(seconds=30)


class Endings:
    """Knows which sign-ins are over, from memory; one small question a second keeps it up to date.

    Args:
        pool: of connections that may write.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self._ended: dict[str, float] = {}
        # Those that Postgres has not taken yet.
        self._unsaved: dict[str, float] = {}
        self._since: datetime | None = None
        self._read_at = 0.0
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._warned = False
        self.version = 0

    def has(self, session: str) -> bool:
        """Whether a sign-in was ended.

        Raises:
            psycopg.OperationalError: it was never told, and Postgres doesn't answer.
        """
        if self._since is None or (self._thread is None and time.monotonic() > self._read_at + STALE_S):
            self._read()
        return session in self._ended

    def end(self, session: str, expires_at: float) -> bool:
        """End a sign-in: here at once, elsewhere within seconds. Never raises; Postgres gets later what it can't take.

        Args:
            session: its id.
            expires_at: when it ends by itself, a time since the epoch.

        Returns:
            Whether it was not known to have ended.
        """
        if session in self._ended:
            return False
        self._ended[session] = self._unsaved[session] = expires_at
        self.version += 1
        try:
            self._save()
        except psycopg.Error as error:
            self._warn(error)
        return True

    def start(self) -> None:
        """Begin to look what others end, once; after the fork of a worker, never before."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="endings", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Look no longer."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            try:
                self._save()
                self._read()
                self._warned = False
            except psycopg.Error as error:
                self._warn(error)
            except Exception:
                log.exception("sign-out: failed; going on", extra={"todo": "report it with this line"})

    def _save(self) -> None:
        for session, expires_at in [*self._unsaved.items()]:
            arguments = {"session": session, "expires_at": datetime.fromtimestamp(expires_at, UTC)}
            self._pool.ask(lambda connection, arguments=arguments: _write(connection, arguments))  # type: ignore[misc]
            self._unsaved.pop(session, None)

    def _read(self) -> None:
        asked_at = time.monotonic()
        with self._lock:
            if self._read_at > asked_at:
                return
            since = self._since - OVERLAP if self._since else "-infinity"
            query = sql.query("ended_sessions")
            rows = self._pool.ask(lambda connection: connection.execute(query, {"since": since}).fetchall())
            found = {session: expires_at.timestamp() for session, expires_at, _ in rows if session is not None}
            if found.keys() - self._ended.keys():
                self.version += 1
            # In place: another thread may be ending one.
            self._ended.update(found)
            for session, expires_at in [*self._ended.items()]:
                if expires_at < time.time():
                    del self._ended[session]
            # By Postgres' clock.
            self._since = rows[0][2]
            self._read_at = time.monotonic()

    def _warn(self, error: psycopg.Error) -> None:
        if self._unsaved and not self._warned:
            self._warned = True
            words = " ".join(str(error).split())
            todo = "it is tried again every second; until then a copied cookie opens the other web processes"
            log.warning("sign-out: not stored: %s", words, extra={"todo": todo})


def _write(connection: Connection, arguments: dict[str, object]) -> None:
    with connection.transaction():
        connection.execute("SET TRANSACTION READ WRITE")
        connection.execute(sql.query("end_session"), arguments)
