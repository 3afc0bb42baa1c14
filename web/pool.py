"""The web's connections to Postgres: they only read, in UTC, not for long, and no more than whoever asks may see."""

import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Self, TypeVar

import psycopg
from psycopg.waiting import Ready
from psycopg_pool import ConnectionPool

from web.metrics import QUERY
from web.sight import Sight, current

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
# The owner of the tables would see everything and could do anything. Where this is not possible, the user is a member
# who can do no more, or the roles are not there yet.
ROLE = b"""
    SELECT set_config('role', rolname, false)
    FROM pg_roles
    WHERE rolname = 'agent_comms_web'
      AND has_schema_privilege(oid, to_regnamespace('workflow_comms')::oid, 'USAGE')
      AND pg_has_role(oid, CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END)
"""
NOT_APART = (
    "readers can't be kept apart: the database's user sees every row, and is no member of agent_comms_web; run"
    " `agent-comms migrate`, which says what is missing"
)


class Connection(psycopg.Connection[Any]):
    """Waits for an answer only so long, however Postgres fails; and knows when it was last seen to work."""

    worked_at = 0.0
    _sight: Sight | None = None

    @classmethod
    def open(cls, conninfo: str) -> Self:
        """Connect, outside of transactions, and set what every connection of the web keeps to; nothing is seen yet."""
        connection = cls.connect(conninfo, autocommit=True)
        try:
            begin_session(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def see(self, sight: Sight) -> None:
        """Have Postgres show the rows of some namespaces, and no others, from here on; outside of transactions."""
        if sight != self._sight:
            # Whether it was set isn't known where this fails.
            self._sight = None
            show(self, sight)
            self._sight = sight

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


def begin_session(connection: psycopg.Connection[Any]) -> None:
    """Set what every connection of the web keeps to."""
    connection.execute(SESSION)
    take_role(connection)


def take_role(connection: psycopg.Connection[Any]) -> None:
    """Have no more rights than the web needs, for the rest of a session."""
    connection.execute(ROLE)


def show(connection: psycopg.Connection[Any], sight: Sight) -> None:
    """Have Postgres show the rows of some namespaces, and no others, for the rest of a session."""
    connection.execute(
        "SELECT set_config('agent_comms.namespaces', %s::text[]::text, false)", [[*sight.namespaces]], prepare=True
    )


def check_apart(connection: psycopg.Connection[Any]) -> None:
    """Make sure that a session's user sees no other rows than it is to.

    Raises:
        psycopg.OperationalError: it does.
    """
    row = connection.execute("SELECT row_security_active('workflow_comms.agent_messages')").fetchone()
    if row != (True,):
        raise psycopg.OperationalError(NOT_APART)


class Pool:
    """A few connections, opened at the first question.

    Args:
        conninfo: any libpq connection string.
        size: at most so many.
        apart: whether those who ask see different rows; a user of the database who sees all is not connected as, then.
    """

    def __init__(self, conninfo: str, size: int = SIZE, *, apart: bool = False) -> None:
        self._apart = apart
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
            configure=self._begin,
            check=_check,
            kwargs={"autocommit": True},
            name="agent-comms-web",
        )

    def ask(self, question: Callable[[Connection], T]) -> T:
        """Lend a connection to a question and return its answer; it sees what is in sight here (see `web.sight`).

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
                connection.see(current())
                answer = question(connection)
                connection.worked_at = time.monotonic()
            outcome = "ok"
        finally:
            QUERY.labels(outcome).observe(time.monotonic() - began)
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _begin(self, connection: Connection) -> None:
        begin_session(connection)
        if self._apart:
            check_apart(connection)


def _check(connection: Connection) -> None:
    # One that has just worked needs none: a question more for each of a thousand who come at once would make them wait.
    if time.monotonic() - connection.worked_at > FRESH_S:
        ConnectionPool.check_connection(connection)
