"""Notices that Postgres says nothing, neither yes nor no."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

LONG_S = 10.0
LOOK_EVERY_S = 1.0


class Vigil(threading.Thread):
    """Says once that a batch has had no answer for long, and what it waits for; from then on it counts.

    In a thread of its own: whoever has asked waits for the answer.

    Args:
        waits_for: returns in words what the answer waits for; it may take some seconds.
        unanswered: called each time when there has been no answer for long.
        long_s: how long that is, in seconds.
    """

    def __init__(self, waits_for: Callable[[], str], unanswered: Callable[[], None] | None, long_s: float) -> None:
        super().__init__(name="vigil", daemon=True)
        self._waits_for = waits_for
        self._unanswered = unanswered
        self._long_s = long_s
        self._ended = threading.Event()
        self._lock = threading.Lock()
        # Since when, and for how many.
        self._asked: tuple[float, int] | None = None
        self._noted: tuple[float, int] | None = None
        # Since something was stored.
        self._silences = 0

    @contextmanager
    def over(self, number: int) -> Iterator[None]:
        """Watch over what is asked of Postgres for so many messages."""
        self._asked = time.monotonic(), number
        try:
            yield
        finally:
            # Whatever is told after this is newer than what a look has told.
            with self._lock:
                self._asked = None

    def settle(self) -> int:
        """Begin anew, since something was stored; returns how often there had been no answer for long."""
        silences, self._silences = self._silences, 0
        return silences

    def run(self) -> None:
        """Look, until `end`."""
        while not self._ended.wait(min(LOOK_EVERY_S, self._long_s)):
            if (asked := self._note()) and self._silences == 1:
                self._tell(asked)

    def _note(self) -> tuple[float, int] | None:
        """Return what has just become long without an answer."""
        with self._lock:
            asked = self._asked
            if asked is None or asked is self._noted or time.monotonic() - asked[0] < self._long_s:
                return None
            self._noted = asked
            self._silences += 1
            if self._unanswered:
                self._unanswered()
        return asked

    def _tell(self, asked: tuple[float, int]) -> None:
        why = self._waits_for()
        if asked is not self._asked:
            # Meanwhile it was answered, and what became of it is told already.
            return
        since, number = asked
        todo = "see to Postgres: pg_stat_activity, its log and its disk; it is waited for, and nothing is lost"
        log.warning(
            "postgres: a batch of %d has had no answer for %.0f s: %s", number, time.monotonic() - since, why,
            extra={"todo": todo},
        )  # fmt: skip

    def end(self) -> None:
        """Look no more. It isn't waited for: it may be asking a Postgres that doesn't answer it, either."""
        self._ended.set()
