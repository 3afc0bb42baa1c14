"""How much is read ahead and stored at once, and how long to rest then: what comes live waits behind all of it."""

import os
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

from psycopg import Connection

import sql

# A transaction holds the lock of all writers. Alone, it is as large as pays; beside others, so that they notice little.
ALONE_ROWS, ALONE_BYTES = 2_000, 4 * 1024 * 1024
BESIDE_ROWS, BESIDE_BYTES = 30, 40 * 1024
# What is read and not yet stored. Alone, so much that who stores never waits; beside others, about as much as is looked
# up together: whoever reads as fast as it can, for as long as that is, takes the cores from them.
ALONE_AHEAD_BYTES, BESIDE_AHEAD_BYTES = 32 * 1024 * 1024, 256 * 1024
# Beside others, of the time that a batch took.
REST = 3.0
MAX_REST_S = 2.0
# Who has stored something is taken to go on for so long.
YOUNG = timedelta(seconds=10)
NICENESS = 10


class Courtesy:
    """Knows whether others store messages as they come, and how to behave then; who backfills is no such other."""

    def __init__(self) -> None:
        self._newest: int | None = None
        # When others were last seen to have stored something; a monotonic clock's time.
        self._others_at: float | None = None

    @property
    def is_alone(self) -> bool:
        """Whether nobody else has stored anything for a while."""
        return self._others_at is None or time.monotonic() - self._others_at > YOUNG.total_seconds()

    @property
    def rows(self) -> int:
        """How many messages to store at once."""
        return ALONE_ROWS if self.is_alone else BESIDE_ROWS

    @property
    def bytes(self) -> int:
        """How many bytes of them."""
        return ALONE_BYTES if self.is_alone else BESIDE_BYTES

    def at_once(self, sizes: Iterable[int]) -> int:
        """Return how many messages are stored at once, of more than none that have such sizes, in bytes."""
        number = total = 0
        for size in sizes:
            number, total = number + 1, total + size
            if number >= self.rows or total >= self.bytes:
                break
        return number

    @property
    def ahead_bytes(self) -> int:
        """How many bytes of what was read may wait to be stored."""
        return ALONE_AHEAD_BYTES if self.is_alone else BESIDE_AHEAD_BYTES

    def look(self, connection: Connection[Any], stored: int) -> None:
        """Find out whether anybody else has stored something since the last look.

        Args:
            connection: that reads messages.
            stored: how many we have stored since then.
        """
        if self._newest is None:
            row = connection.execute(sql.query("newest_stored"), {"young": YOUNG}).fetchone()
            self._newest, others = row or (0, False)
        else:
            count, newest = connection.execute(sql.query("stored_since"), {"seq": self._newest}).fetchall()[0]
            others = count > stored and self._is_live(connection, self._newest)
            self._newest = newest or self._newest
        if others:
            self._others_at = time.monotonic()

    @staticmethod
    def _is_live(connection: Connection[Any], newest: int) -> bool:
        row = connection.execute(sql.query("live_since"), {"seq": newest}).fetchone()
        return bool(row and row[0])

    def rest(self, took: float) -> float:
        """Return how long to rest after a batch that took so many seconds."""
        return 0.0 if self.is_alone else min(REST * took, MAX_REST_S)


def step_back() -> None:
    """Have this thread, and whatever it starts from now on, leave the cores to others who want them."""
    with suppress(OSError, AttributeError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
