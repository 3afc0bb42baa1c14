"""How many live connections one process holds."""

import random
import threading
import time
from collections.abc import Callable
from http import HTTPStatus

from web.problems import Problem

# Those who are turned away come again at different times.
RETRY_AFTER_S = (2, 10)
# In a full house it is looked at most so often whether somebody has left, and waited so long for their places.
LOOK_S = 1.0
LEAVING_S = 0.5
_GLANCE_S = 0.01


class Gate:
    """Lets so many in at once.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._inside: set[Ticket] = set()
        self._looked = float("-inf")

    def enter(self) -> "Ticket":
        """Count a connection in.

        Raises:
            Problem: there are too many.
        """
        ticket = Ticket(self._leave)
        if not self._let_in(ticket) and not (self._make_room() and self._let_in(ticket)):
            message = f"This process holds {self._most:,} live connections and takes no more. Come again later."
            wait = random.randint(*RETRY_AFTER_S)  # noqa: S311  # no secret
            raise Problem(message, None, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": str(wait)})
        return ticket

    def _let_in(self, ticket: "Ticket") -> bool:
        with self._lock:
            if len(self._inside) >= self._most:
                return False
            self._inside.add(ticket)
            return True

    def _make_room(self) -> bool:
        """End the connections of those who have left, which a quiet one notices late; return whether there is room."""
        if time.monotonic() - self._looked < LOOK_S:
            return False
        self._looked = time.monotonic()
        with self._lock:
            inside = [*self._inside]
        if not sum([ticket.end_if_left() for ticket in inside]):
            return False
        while len(self._inside) >= self._most and time.monotonic() - self._looked < LEAVING_S:
            time.sleep(_GLANCE_S)
        return True

    def _leave(self, ticket: "Ticket") -> None:
        with self._lock:
            self._inside.discard(ticket)


class Ticket:
    """A connection's place; called, however often, it is given back.

    Args:
        leave: gives it back.
    """

    def __init__(self, leave: Callable[["Ticket"], None]) -> None:
        self._leave = leave
        self._end_if_left: Callable[[], bool] = lambda: False

    def __call__(self) -> None:
        """Give the place back."""
        self._end_if_left = lambda: False
        self._leave(self)

    def note(self, end_if_left: Callable[[], bool]) -> None:
        """Note what ends the connection where its client has left, and tells whether it has; must not wait."""
        self._end_if_left = end_if_left

    def end_if_left(self) -> bool:
        """End the connection where its client has left; return whether it has."""
        return self._end_if_left()
