"""Keeps what takes a look at all that a run said, as long as the run is what it was."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from web.queries import RunRow

T = TypeVar("T")

MOST_KEPT = 64


class Keeper(Generic[T]):
    """Keeps one answer a run, those that were asked for last.

    Args:
        is_small: whether an answer may be kept.
    """

    def __init__(self, is_small: Callable[[T], bool] = lambda _: True) -> None:
        self._is_small = is_small
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, T] = OrderedDict()

    def get(self, run: RunRow, read: Callable[[], T]) -> T:
        """Return the answer about a run; it is read where the run's row has changed since."""
        name = msgspec.json.encode(run)
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        found = read()
        if self._is_small(found):
            with self._lock:
                self._kept[name] = found
                while len(self._kept) > MOST_KEPT:
                    self._kept.popitem(last=False)
        return found
