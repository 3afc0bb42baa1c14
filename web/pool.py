"""The web's connections to Postgres: they only read, in UTC, and not for long."""

import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Self, TypeVar

import psycopg
from psycopg.waiting import Ready
from psycopg_pool import ConnectionPool

from web.metrics import QUERY

T = TypeVar("T")

SIZE = 8
WAIT_S = 2.0
RECONNECT_S = 1.0
FRESH_S = 1.0
# Postgres ends a statement after 5 s by itself; one that doesn't is frozen, or the way to it is cut.
ANSWER_S = 6.0

SESSION = b"""
    SET timezone = 'UTC';
    SET statement_timeout = '5s';
    SET default_transaction_read_only = on;
    SET plan_cache_mode = force_custom_plan;
    -- A table is read from end to end where nothing else is left, and not where the planner expects little of it.
    SET enable_seqscan = off;
    SET jit = off
"""


class Connection(psycopg.Connection[Any]):
    """Waits for an answer only so long, however Postgres fails; and knows when it was last seen to work."""

    worked_at = 0.0

    @classmethod
    def open(cls, conninfo: str) -> Self:
        """Connect, outside of transactions, and set what every connection of the web keeps to."""
        connection = cls.connect(conninfo, autocommit=True)
        try:
            begin_session(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
        """Wait for an answer.

        Raises:
            psycopg.OperationalError: none came; the connection is closed.
        """
        return super().wait(self._within(gen, time.monotonic() + ANSWER_S), *args, **options)

    def _within(self, gen: Generator[Any, Any, T], deadline: float) -> Generator[Any, Any, T]:
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready == Ready.NONE and time.monotonic() > deadline:
                    self.close()
                    message = f"no answer within {ANSWER_S:g} s"
                    raise psycopg.OperationalError(message)
                wanted = gen.send(ready)
        except StopIteration as done:
            answer: T = done.value
            return answer


def begin_session(connection: Connection) -> None:
    """Set what every connection of the web keeps to."""
    connection.execute(SESSION)


class Pool:
    """A few connections, opened at the first question.

    Args:
        conninfo: any libpq connection string.
        size: at most so many.
    """

    def __init__(self, conninfo: str, size: int = SIZE) -> None:
        self._opening = threading.Lock()
        self._pool = ConnectionPool(
            conninfo,
            connection_class=Connection,
            min_size=1,
            max_size=size,
            timeout=WAIT_S,
            # Soon given up, since the next question tries anew; the pool's own pauses grow to minutes.
            reconnect_timeout=RECONNECT_S,
            open=False,
            configure=begin_session,
            check=_check,
            kwargs={"autocommit": True},
            name="agent-comms-web",
        )

    def ask(self, question: Callable[[Connection], T]) -> T:
        """Lend a connection to a question and return its answer.

        Raises:
            psycopg.OperationalError: Postgres doesn't answer.
        """
        if self._pool.closed:
            # Not in the constructor: a pool's threads don't survive the fork of a worker.
            with self._opening:
                self._pool.open()
        began, outcome = time.monotonic(), "error"
        try:
            with self._pool.connection() as connection:
                answer = question(connection)
                connection.worked_at = time.monotonic()
            outcome = "ok"
        finally:
            QUERY.labels(outcome).observe(time.monotonic() - began)
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


def _check(connection: Connection) -> None:
    # One that has just worked needs none: a question more for each of a thousand who come at once would make them wait.
    if time.monotonic() - connection.worked_at > FRESH_S:
        ConnectionPool.check_connection(connection)
