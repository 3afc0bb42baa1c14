"""Indexes messages for those who look for words, a moment after they are stored and off everybody's path.

Each web process has an indexer, and one of them works: the one that got the lock. What
is not indexed yet is at most a few thousand messages when it is quiet, and is looked
through as it is (see `web.search`), so nobody waits for the index to find something.
"""

import logging
import threading
import time
from collections.abc import Callable

import psycopg
from psycopg import Connection

import sql
from flows.message import Event
from web.queries import PAGE_BYTES, newest_seq, tail
from web.reach import show, take_role
from web.segment import Block, parts, segments
from web.sight import EVERYTHING
from web.turn import Turn

log = logging.getLogger(__name__)

# So many messages, or so many bytes of them, are indexed at once.
ROWS = 2_048
# They are read in such pieces, lest others of this process wait.
PIECE = 64
POLL_S = 1.0
# How long one waits that isn't the one that works.
IDLE_S = 10.0
LEAST_BACKOFF_S = 1.0
MOST_BACKOFF_S = 30.0
# While messages come faster than they are indexed, storing them goes first: it rests that many times as long.
REST = 2.0
# How often it looks whether messages are gone that are indexed, and how many stretches of them it forgets at once.
FORGET_S = 600.0
FORGOTTEN = 20
CLOSE_S = 3.0

SESSION = b"""
    SET timezone = 'UTC';
    SET statement_timeout = '60s';
    SET plan_cache_mode = force_custom_plan;
    SET enable_seqscan = off;
    SET jit = off
"""


class Indexer:
    """Keeps the index up, in a thread.

    Args:
        conninfo: any libpq connection string.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._warned = False
        # What is live takes several steps from its row to a client: the others have as long a turn.
        self._turn = Turn(self._stopping.wait)

    def start(self) -> None:
        """Start, once; after the fork of a worker, never before."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="indexer", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End after what is under way."""
        self._stopping.set()
        if self._thread:
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        backoff = LEAST_BACKOFF_S
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self._conninfo, autocommit=True) as connection:
                    connection.execute(SESSION)
                    take_role(connection)
                    show(connection, EVERYTHING)
                    backoff = LEAST_BACKOFF_S
                    self._work(connection)
            except psycopg.errors.InsufficientPrivilege as error:
                self._warn(error)
            except psycopg.Error as error:
                # Whether Postgres is there, and whether its schema is up to date, is said elsewhere.
                log.debug("indexer: %s", " ".join(str(error).split()))
            except Exception:
                log.exception("indexer: failed; starting again", extra={"todo": "report it with this line"})
            self._stopping.wait(backoff)
            backoff = min(2 * backoff, MOST_BACKOFF_S)

    def _work(self, connection: Connection) -> None:
        while not self._stopping.is_set() and not take_turn(connection):
            self._stopping.wait(IDLE_S)
        seen, forgot = -1, -FORGET_S
        while not self._stopping.is_set():
            head = newest_seq(connection)
            began = time.monotonic()
            self._turn.begin()
            if began - forgot > FORGET_S and not forget(connection):
                forgot = began
            # Nothing new, nothing to do: a quiet database is left alone.
            if head == seen or not index_next(connection, self._turn.breathe):
                seen = head
                self._stopping.wait(POLL_S)
            elif newest_seq(connection) - head > ROWS:
                self._stopping.wait(REST * (time.monotonic() - began))

    def _warn(self, error: psycopg.Error) -> None:
        if not self._warned:
            self._warned = True
            words = " ".join(str(error).split())
            todo = "run `agent-comms migrate`, which grants it, or search grows slow"
            log.warning("indexer: %s; %s", words, todo, extra={"todo": todo})


def take_turn(connection: Connection) -> bool:
    """Become the one that indexes, for as long as the connection is open; False where another one is."""
    row = connection.execute(sql.query("search_lock")).fetchone()
    return bool(row and row[0])


def index_next(connection: Connection, breathe: Callable[[], object] = lambda: None) -> bool:
    """Index the next messages, in one transaction; return False where those that wait are too few.

    Args:
        connection: in autocommit mode, of the one whose turn it is.
        breathe: called now and then, so that others of this process get their turn.
    """
    segment, upto = progress(connection)
    if newest_seq(connection) < upto:
        connection.execute(sql.query("search_reset"))
        segment, upto = 0, 0
    row = connection.execute(sql.query("search_pending"), {"seq": upto, "limit": ROWS}).fetchone()
    rows, size = row or (0, 0)
    if rows < ROWS and size < PAGE_BYTES:
        return False
    _write(connection, segment, _read(connection, upto, breathe), breathe)
    return True


def forget(connection: Connection) -> bool:
    """Forget some of the oldest messages that were indexed and are gone; return False where there are none left."""
    row = connection.execute(sql.query("search_forget"), {"limit": FORGOTTEN}).fetchone()
    return bool(row and row[0] == FORGOTTEN)


def progress(connection: Connection) -> tuple[int, int]:
    """Return the newest segment and the cursor up to which messages are indexed; zeros where none are."""
    row = connection.execute(sql.query("search_progress")).fetchone()
    return row or (0, 0)


def _read(connection: Connection, upto: int, breathe: Callable[[], object]) -> list[Event]:
    events: list[Event] = []
    size = 0
    while len(events) < ROWS and size < PAGE_BYTES:
        piece, _ = tail(connection, events[-1].seq if events else upto, min(PIECE, ROWS - len(events)))
        if not piece:
            break
        events += piece
        size += sum(len(event.content) for event in piece)
        breathe()
    return events


def _write(connection: Connection, segment: int, events: list[Event], breathe: Callable[[], object]) -> None:
    upto = events[-1].seq
    made = [(blocks, parts(blocks, breathe)) for blocks in segments(events, breathe)]
    with connection.transaction(), connection.cursor() as cursor:
        for number, (blocks, slices) in enumerate(made, segment + 1):
            cursor.execute(sql.query("insert_search_segment"), _segment_row(number, upto, blocks))
            cursor.executemany(sql.query("insert_search_block"), [*_block_rows(number, blocks)])
            cursor.execute(sql.query("insert_search_slices"), {"segment": number, "parts": slices})


def _segment_row(segment: int, upto: int, blocks: list[Block]) -> dict[str, object]:
    return {"segment": segment, "upto": upto, "first_at": blocks[0].first_at, "last_at": blocks[-1].last_at}


def _block_rows(segment: int, blocks: list[Block]) -> list[dict[str, object]]:
    return [
        {
            "segment": segment,
            "block": number,
            "first_at": block.first_at,
            "last_at": block.last_at,
            "seqs": block.seqs,
        }
        for number, block in enumerate(blocks)
    ]
