"""How often something may be done."""

import math
import threading
import time
from collections import OrderedDict
from http import HTTPStatus

from web.problems import Problem

# So many are remembered; of more, those who came longest ago are forgotten.
MOST = 10_000


class Limit:
    """So many a minute for each, all of them at once if need be.

    Args:
        a_minute: how many.
        sentence: tells whoever comes too often.
    """

    def __init__(self, a_minute: int, sentence: str) -> None:
        self._most = float(a_minute)
        self._rate = a_minute / 60
        self._sentence = sentence
        self._lock = threading.Lock()
        # What each had left, and when.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def check(self, whose: str) -> None:
        """Refuse whoever has nothing left.

        Raises:
            Problem: 429, with when to come again.
        """
        with self._lock:
            left = self._now(whose)
        if left < 1:
            wait = math.ceil((1 - left) / self._rate)
            raise Problem(self._sentence, None, HTTPStatus.TOO_MANY_REQUESTS, {"Retry-After": str(wait)})

    def take(self, whose: str) -> None:
        """Count one; raises what `check` raises."""
        self.check(whose)
        self.count(whose)

    def count(self, whose: str) -> None:
        """Count one."""
        with self._lock:
            self._left[whose] = (max(0.0, self._now(whose) - 1), time.monotonic())
            self._left.move_to_end(whose)
            while len(self._left) > MOST:
                self._left.popitem(last=False)

    def _now(self, whose: str) -> float:
        left, at = self._left.get(whose, (self._most, 0.0))
        return min(self._most, left + (time.monotonic() - at) * self._rate)
