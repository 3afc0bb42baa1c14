"""The web's connections to Postgres: they only read, in UTC, not for long, and no more than whoever asks may see."""

import threading
import time
from collections.abc import Callable, Generator
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

import psycopg
from psycopg.abc import Params
from psycopg.waiting import Ready

import sql
from web.reach import Reach, check_apart, reach_of, show, take_role
from web.sight import Sight, current

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

T = TypeVar("T")
# Is told how each question ended, `ok` or `error`, and after how many seconds.
Note = Callable[[str, float], None]

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
    -- A table is read from end to end where nothing else is left, and not where the planner expects little of it.
    SET enable_seqscan = off;
    SET jit = off
"""

# Queries that are read from the same index whatever they are asked: to plan one takes longer than to run it, so its
# plan is kept. All others are planned anew each time, since what is best depends on what is asked.
PLANNED_ONCE = frozenset(
    (
        *map(
            sql.query,
            (
                "find_runs", "workflow_messages_before", "workflow_messages_after", "tail_messages", "newest_seq",
                "messages_by_seq", "run_reconciliation", "run_usage", "run_voices", "search_blocks",
                "search_blocks_after", "search_blocks_before", "search_progress", "search_segments", "search_slices",
                "search_waiting", "sift_messages", "workflow_messages_among",
            ),
        ),
        *map(sql.query_of_errors, ("workflow_messages_before", "workflow_messages_after")),
    )
)  # fmt: skip
KEEP_PLAN = b"SET plan_cache_mode = force_generic_plan"
PLAN_ANEW = b"SET plan_cache_mode = force_custom_plan"


class Connection(psycopg.Connection[Any]):
    """Waits for an answer only so long, however Postgres fails; and knows when it was last seen to work."""

    worked_at = 0.0
    reach = Reach.SOME
    _keeps_plans: bool | None = None
    _sight: Sight | None = None

    @classmethod
    def open(cls, conninfo: str, reach: Reach = Reach.SOME) -> Self:
        """Connect, outside of transactions, and set what every connection of the web keeps to; nothing is seen yet."""
        connection = cls.connect(conninfo, autocommit=True)
        try:
            connection.begin(reach)
        except BaseException:
            connection.close()
            raise
        return connection

    def begin(self, reach: Reach) -> None:
        """Set what every connection of the web keeps to, and what this one can be shown at most."""
        self.execute(SESSION)
        take_role(self, reach)
        self.reach = reach

    def see(self, sight: Sight) -> None:
        """Have Postgres show the rows of some namespaces, and no others, from here on; outside of transactions.

        Raises:
            PermissionError: this connection was made for others.
        """
        if sight != self._sight:
            if not self.reach.covers(sight):
                message = f"a connection of {self.reach.value} was lent to a reader of {', '.join(sight.namespaces)}"
                raise PermissionError(message)
            # Whether it was set isn't known where this fails.
            self._sight = None
            show(self, sight)
            self._sight = sight

    def execute(
        self, query: Any, params: Params | None = None, *, prepare: bool | None = None, binary: bool = False
    ) -> psycopg.Cursor[Any]:
        """Execute a query; with a plan that is kept, where the query is one of `PLANNED_ONCE` and may be prepared."""
        # Ours begin with a sentence; of the others nobody cares how they are planned.
        ours = isinstance(query, str) and query.startswith("-- ")
        keeps = ours and prepare is not False and query in PLANNED_ONCE
        if ours and keeps is not self._keeps_plans:
            # Whether it was set isn't known where this fails.
            self._keeps_plans = None
            super().execute(KEEP_PLAN if keeps else PLAN_ANEW)
            self._keeps_plans = keeps
        return super().execute(query, params, prepare=True if keeps else prepare, binary=binary)

    def forget_plan_mode(self) -> None:
        """Take for unknown how plans are made: a transaction that failed may have taken it back."""
        self._keeps_plans = None

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


class Pool:
    """A few connections, opened at the first question; those of each kind of reader are kept to themselves.

    Args:
        conninfo: any libpq connection string.
        size: at most so many of a kind.
        apart: whether those who ask see different rows; a user of the database who sees all is not connected as, then.
        writes: whether they write, all in the one role that may.
        note: is told of each question.
    """

    def __init__(
        self, conninfo: str, size: int = SIZE, *, apart: bool = False, writes: bool = False, note: Note | None = None
    ) -> None:
        self._apart = apart
        self._writes = writes
        self._note = note
        self._opening = threading.Lock()
        self._pools = {reach: self._pool(conninfo, size, reach) for reach in Reach}

    def _pool(self, conninfo: str, size: int, reach: Reach) -> "ConnectionPool[Connection]":
        # Not at the top: `agent-comms read` asks on one connection by the same code, and is to be prompt.
        from psycopg_pool import ConnectionPool

        return ConnectionPool(
            conninfo,
            connection_class=Connection,
            min_size=1,
            max_size=size,
            timeout=WAIT_S,
            # Soon given up, since the next question tries anew; the pool's own pauses grow to minutes.
            reconnect_timeout=RECONNECT_S,
            open=False,
            configure=partial(self._begin, reach),
            check=partial(_check, ConnectionPool.check_connection),
            kwargs={"autocommit": True},
            name="agent-comms-web",
        )

    def ask(self, question: Callable[[Connection], T]) -> T:
        """Lend a connection to a question and return its answer; it sees what is in sight here (see `web.sight`).

        Raises:
            psycopg.OperationalError: Postgres doesn't answer.
        """
        sight = current()
        pool = self._pools[Reach.SOME if self._writes else reach_of(sight)]
        if pool.closed:
            # Not in the constructor: a pool's threads don't survive the fork of a worker.
            with self._opening:
                pool.open()
        began, outcome = time.monotonic(), "error"
        try:
            with pool.connection() as connection:
                connection.see(sight)
                try:
                    answer = question(connection)
                except BaseException:
                    connection.forget_plan_mode()
                    raise
                connection.worked_at = time.monotonic()
            outcome = "ok"
        finally:
            if self._note is not None:
                self._note(outcome, time.monotonic() - began)
        return answer

    def close(self) -> None:
        """Close the connections."""
        for pool in self._pools.values():
            pool.close()

    def _begin(self, reach: Reach, connection: Connection) -> None:
        connection.begin(reach)
        if self._apart:
            check_apart(connection)


class Lone:
    """One connection, for one who asks one thing after the other; made anew where it was lost.

    Args:
        conninfo: any libpq connection string.

    Raises:
        psycopg.OperationalError: Postgres can't be reached.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection = self._open()

    def ask(self, question: Callable[[Connection], T]) -> T:
        """Answer a question; raises `psycopg.OperationalError` without Postgres."""
        if self._connection.broken or self._connection.closed or self._connection.reach is not reach_of(current()):
            self._connection.close()
            self._connection = self._open()
        self._connection.see(current())
        return question(self._connection)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _open(self) -> Connection:
        return Connection.open(self._conninfo, reach_of(current()))


def _check(check: Callable[[Connection], None], connection: Connection) -> None:
    # One that has just worked needs none: a question more for each of a thousand who come at once would make them wait.
    if time.monotonic() - connection.worked_at > FRESH_S:
        check(connection)
