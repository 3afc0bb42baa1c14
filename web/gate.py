"""How many live connections one process holds."""

import random
import threading
from collections.abc import Callable
from http import HTTPStatus

from web.problems import Problem

# Those who are turned away come again at different times.
RETRY_AFTER_S = (2, 10)


class Gate:
    """Lets so many in at once.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._inside = 0

    def enter(self) -> Callable[[], None]:
        """Count a connection in; return what counts it out, however often it is called.

        Raises:
            Problem: there are too many.
        """
        with self._lock:
            if self._inside >= self._most:
                message = f"This process holds {self._most:,} live connections and takes no more. Come again later."
                wait = random.randint(*RETRY_AFTER_S)  # noqa: S311  # no secret
                raise Problem(message, None, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": str(wait)})
            self._inside += 1
        return _Ticket(self._leave)

    def _leave(self) -> None:
        with self._lock:
            self._inside -= 1


class _Ticket:
    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave: Callable[[], None] | None = leave

    def __call__(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()
