"""The live hub: one connection to Postgres that feeds every watcher of this process.

A LISTEN wakes the tailer, which reads each new row once, encodes it once and
puts the same bytes into the mailbox of everybody who watches it. Commits come
in the order of `seq` (see sql/queries/lock_seq.sql), so reading after the head
skips nothing. What a mailbox cannot hold, or what the hub skips, its connection
reads from Postgres by its own cursor: the hub's memory is bounded, its loss is none.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import msgspec
import psycopg
from psycopg import Notify

from flows.message import Event
from web.mailbox import Mailbox
from web.metrics import SUBSCRIBERS
from web.pool import Connection
from web.queries import Key, Scope, newest_seq, read_gone_silent, read_runs, tail
from web.reach import reach_of
from web.sight import EVERYTHING, Sight
from web.watchers import Watchers

log = logging.getLogger(__name__)

CHANNEL = "agent_comms"
# A run that changed though nobody spoke in it: its key as a JSON array.
RUNS_CHANNEL = "agent_comms_runs"
# Read at least so often, should a notification be lost.
POLL_S = 2.0
BATCH = 500
# A hub further behind than so many rows jumps: each watcher reads its own few instead.
JUMP = 20_000
# The run list's watchers are told of a run no more often.
RUN_PAUSE_S = 0.5
RUNS_AT_ONCE = 200
# A run goes silent without a word, and shows it no later than so.
SILENCE_EVERY_S = 2.0
MOST_SILENT = 10_000
SWEEP_S = 1.0
LEAST_BACKOFF_S = 0.1
MOST_BACKOFF_S = 2.0
# A tailer that has been silent for so long hangs: Postgres took its question and doesn't answer.
HANGS_S = 8.0
# A hand-out that takes long is followed by a rest as long, so that others get a turn and the next one carries more.
LEAST_REST_S = 0.001
MOST_REST_S = 0.02
CLOSE_S = 3.0


class Hub:
    """Hands new messages, and runs that changed, to mailboxes.

    Args:
        conninfo: any libpq connection string.
        stale_after: a running run that has been silent for so long is stale.
    """

    def __init__(self, conninfo: str, stale_after: timedelta) -> None:
        self._conninfo = conninfo
        self._stale_after = stale_after
        # Called with what was handed out.
        self.note_handed_out: Callable[[list[Event]], None] | None = None
        self._watchers = Watchers()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._draining = False
        self._farewells: set[Callable[[], None]] = set()
        self._head: int | None = None
        self._heard = time.monotonic()
        self._away_since: datetime | None = None
        self._touched: dict[Key, None] = {}
        self._silent_until: datetime | None = None
        self._announced = 0.0
        self._announced_head = 0
        self._swept = 0.0

    @property
    def head(self) -> int | None:
        """The cursor up to which everything was handed out; None before the first look at Postgres."""
        return self._head

    @property
    def draining(self) -> bool:
        """Whether this process is about to end."""
        return self._draining

    @property
    def stale_since(self) -> datetime | None:
        """Since when Postgres has been away; None while it is there."""
        silence = time.monotonic() - self._heard
        if self._away_since is None and self._thread and silence > HANGS_S:
            return datetime.now(UTC) - timedelta(seconds=silence)
        return self._away_since

    @property
    def queued(self) -> int:
        """How many messages lie in mailboxes."""
        return sum([mailbox.queued for mailbox in self._watchers])

    def start(self) -> None:
        """Start the tailer, once; after the fork of a worker, never before."""
        with self._starting:
            if self._thread is None:
                self._heard = time.monotonic()
                self._thread = threading.Thread(target=self._run, name="live", daemon=True)
                self._thread.start()

    def drain(self) -> None:
        """End all connections, and those that come later at once; then the tailer."""
        self._draining = True
        self._watchers.end()
        for farewell in [*self._farewells]:
            # Each in its own time: a client that doesn't read keeps the others waiting otherwise.
            threading.Thread(target=farewell, name="farewell", daemon=True).start()
        self._stopping.set()

    def close(self) -> None:
        """Drain, and wait for the tailer to end."""
        self.drain()
        if self._thread:
            self._thread.join(CLOSE_S)

    @contextmanager
    def farewell(self, farewell: Callable[[], None]) -> Iterator[None]:
        """Have something called, in a thread of its own, should the process be about to end within the context."""
        self._farewells.add(farewell)
        try:
            yield
        finally:
            self._farewells.discard(farewell)

    @contextmanager
    def mailbox(self, on_cut: Callable[[], None], sight: Sight) -> Iterator[Mailbox]:
        """Open a mailbox for one connection, whose client may read so much; it ends with the context."""
        self.start()
        mailbox = Mailbox(on_cut, sight)
        self._watchers.add(mailbox)
        SUBSCRIBERS.inc()
        try:
            yield mailbox
        finally:
            SUBSCRIBERS.dec()
            self._watchers.remove(mailbox)

    def watch(self, mailbox: Mailbox, scope: Scope) -> None:
        """Put the messages of a scope into a mailbox from now on; a run's scope names its workflow in full."""
        self._watchers.watch(mailbox, scope)

    def watch_runs(self, mailbox: Mailbox, namespace: str | None) -> None:
        """Put the runs that change into a mailbox from now on."""
        self._watchers.watch_runs(mailbox, namespace)

    def await_run(self, mailbox: Mailbox, name: str, namespace: str | None) -> None:
        """Lapse a mailbox whenever somebody speaks in a run of this name."""
        self._watchers.await_run(mailbox, name, namespace)

    def _run(self) -> None:
        backoff = LEAST_BACKOFF_S
        while not self._stopping.is_set():
            try:
                with Connection.open(self._conninfo, reach_of(EVERYTHING)) as connection:
                    self._begin(connection)
                    backoff = LEAST_BACKOFF_S
                    self._follow(connection)
            except psycopg.Error as error:
                self._say_away(str(error))
            except Exception as error:
                log.exception("live: the tailer failed; starting it again", extra={"todo": "report it with this line"})
                self._say_away(str(error))
            self._stopping.wait(backoff * random.uniform(0.5, 1.5))  # noqa: S311  # no secret
            backoff = min(2 * backoff, MOST_BACKOFF_S)

    def _begin(self, connection: Connection) -> None:
        # What is handed out to whom is decided by the mailboxes.
        connection.see(EVERYTHING)
        connection.execute(f"LISTEN {CHANNEL}; LISTEN {RUNS_CHANNEL}")
        newest = newest_seq(connection)
        # Smaller than what was handed out: the database is another one than before.
        if self._head is None or newest < self._head:
            self._jump(newest)
        self._advance(connection)
        if self._away_since is not None:
            log.info("live: Postgres is back")
            self._away_since = None
            self._nudge()

    def _follow(self, connection: Connection) -> None:
        while not self._stopping.is_set():
            due = self._announced + RUN_PAUSE_S - time.monotonic() if self._touched else POLL_S
            for notice in connection.notifies(timeout=max(0.0, due), stop_after=1):
                self._note(notice)
            self._advance(connection)
            self._look_for_silence(connection)
            self._announce(connection)
            self._sweep()

    def _note(self, notice: Notify) -> None:
        if notice.channel == RUNS_CHANNEL and self._watchers.want_runs:
            # Anybody who may connect may send one.
            with suppress(msgspec.MsgspecError):
                self._touched[msgspec.json.decode(notice.payload, type=Key)] = None

    def _sweep(self) -> None:
        if time.monotonic() - self._swept > SWEEP_S:
            self._swept = time.monotonic()
            for mailbox in self._watchers:
                mailbox.cut_if_stuck()

    def _advance(self, connection: Connection) -> None:
        if not self._watchers:
            self._jump(newest_seq(connection))
        more = True
        while more:
            events, more = tail(connection, self._head or 0, BATCH)
            if events:
                self._hand_out(events)
            if more and newest_seq(connection) - (self._head or 0) > JUMP:
                self._jump(newest_seq(connection))
        self._heard = time.monotonic()

    def _hand_out(self, events: list[Event]) -> None:
        began = time.monotonic()
        touched = self._watchers.hand_out(events)
        if self.note_handed_out is not None:
            self.note_handed_out(events)
        if self._watchers.want_runs:
            self._touched.update(dict.fromkeys(touched))
        self._head = events[-1].seq
        self._heard = time.monotonic()
        if self._heard - began > LEAST_REST_S:
            self._stopping.wait(min(self._heard - began, MOST_REST_S))

    def _jump(self, head: int) -> None:
        self._head = head
        if not self._touched:
            self._announced_head = head
        # Whoever came while the head was being read may have missed what lies before it.
        for mailbox in self._watchers:
            mailbox.lapse()

    def _look_for_silence(self, connection: Connection) -> None:
        until = datetime.now(UTC) - self._stale_after
        since = self._silent_until or until
        if until - since < timedelta(seconds=SILENCE_EVERY_S):
            # Whoever comes looks for itself at what was before.
            self._silent_until = since
            return
        self._silent_until = until
        if self._watchers.want_runs:
            self._touched.update(dict.fromkeys(read_gone_silent(connection, since, until, MOST_SILENT)))

    def _announce(self, connection: Connection) -> None:
        if not self._touched or time.monotonic() - self._announced < RUN_PAUSE_S:
            return
        self._announced = time.monotonic()
        keys = [*self._touched][:RUNS_AT_ONCE]
        runs = read_runs(
            connection,
            "runs_by_key",
            self._stale_after,
            {"namespaces": [namespace for namespace, _ in keys], "uids": [uid for _, uid in keys]},
        )
        for key in keys:
            del self._touched[key]
        # Who resumes at a cursor has seen all runs up to it, so it moves when none is left.
        if not self._touched:
            self._announced_head = self._head or 0
        self._watchers.hand_out_runs(runs, self._announced_head)

    def _say_away(self, reason: str) -> None:
        if self._away_since is None and not self._stopping.is_set():
            todo = "see to Postgres; who watches is told, and misses nothing"
            log.warning("live: Postgres is away; trying again: %s", " ".join(reason.split()), extra={"todo": todo})
            self._away_since = datetime.now(UTC)
            self._nudge()

    def _nudge(self) -> None:
        for mailbox in self._watchers:
            mailbox.nudge()
