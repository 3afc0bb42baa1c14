"""Long work in short turns: one thread serves everybody of a process, and all others wait while it works."""

import time
from collections.abc import Callable

# Whoever works does so for so long at a time, and then lets the others work for as long.
TURN_S = 0.002


class Turn:
    """The turns of one piece of work, of which the first begins now.

    Args:
        wait: lets so many seconds go by; under gevent that is when the others work.
    """

    def __init__(self, wait: Callable[[float], object] = time.sleep) -> None:
        self._wait = wait
        self._began = time.monotonic()

    def begin(self) -> None:
        """Begin a turn after a pause of another kind."""
        self._began = time.monotonic()

    def breathe(self) -> None:
        """Let the others have as long a turn, where this one has been long enough."""
        worked = time.monotonic() - self._began
        if worked > TURN_S:
            self._wait(worked)
            self._began = time.monotonic()
