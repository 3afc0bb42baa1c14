"""Keeps messages ours while they can't be stored."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Keeper(threading.Thread):
    """Says every so often what is still being worked on, so that the server doesn't deliver it again.

    In a thread of its own: whoever holds the messages may be waiting for a lock or a server.

    Args:
        keep: called every so often; an error is noted and the next call made all the same.
        every_s: seconds between two calls, well under half an ack wait.
    """

    def __init__(self, keep: Callable[[], None], every_s: float) -> None:
        super().__init__(name="keeper", daemon=True)
        self._keep = keep
        self._every_s = every_s
        self._ended = threading.Event()

    def run(self) -> None:
        """Keep, until `end`."""
        while not self._ended.wait(self._every_s):
            try:
                self._keep()
            except Exception as error:
                todo = "see to NATS; what comes again is known, and stored once"
                log.warning("keeper: not said, so these messages may come again: %s", error, extra={"todo": todo})

    def end(self) -> None:
        """Keep no more; returns once no call is under way."""
        self._ended.set()
        self.join()
