"""A bounded mailbox between the hub and one live connection."""

import threading
import time
from collections.abc import Callable

from msgspec import Struct

from web.frame import Chunk
from web.metrics import CUT

MAX_ITEMS = 2_000
MAX_BYTES = 8 * 1024 * 1024
# A connection whose mailbox is full and whose client took nothing for so long is cut loose;
# one that is only behind reads the rest from Postgres at its own pace.
PATIENCE_S = 5.0
# One that wrote nothing for so long, full or not, has a client that is gone or never reads.
STUCK_S = 40.0


class Mail(Struct, frozen=True):
    """What a connection finds in its mailbox.

    Attributes:
        chunks: what came, in commit order.
        lapsed: something came that is not in `chunks`: Postgres has it.
        ended: nothing more will come.
    """

    chunks: list[Chunk]
    lapsed: bool
    ended: bool


class Mailbox:
    """Holds what a connection has not written yet; putting never waits.

    Args:
        on_cut: ends the connection, though its writer is stuck in a write.
    """

    def __init__(self, on_cut: Callable[[], None]) -> None:
        self._on_cut = on_cut
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._chunks: list[Chunk] = []
        self._items = 0
        self._bytes = 0
        self._lapsed = False
        self._ended = False
        self._waiting = False
        self._touched = time.monotonic()

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended

    def put(self, chunk: Chunk) -> None:
        """Add a chunk; a full mailbox forgets what it holds and lapses."""
        with self._lock:
            if self._ended:
                return
            full = self._items + len(chunk.items) > MAX_ITEMS or self._bytes + chunk.size > MAX_BYTES
            if self._lapsed or (full and self._items):
                self._empty()
                self._lapsed = True
            else:
                self._chunks.append(chunk)
                self._items += len(chunk.items)
                self._bytes += chunk.size
            overdue = self._lapsed and self._silent_for() > PATIENCE_S
        self._wake.set()
        if overdue:
            self.cut()

    def lapse(self) -> None:
        """Have the connection read on from Postgres."""
        with self._lock:
            self._empty()
            self._lapsed = True
        self._wake.set()

    def nudge(self) -> None:
        """Have the connection look around, with nothing in its mailbox."""
        self._wake.set()

    def end(self) -> None:
        """Have the connection end; the client is to come again."""
        with self._lock:
            self._ended = True
            self._empty()
        self._wake.set()

    def cut(self) -> None:
        """End the connection at once, whatever it is writing."""
        with self._lock:
            if self._ended:
                return
        self.end()
        CUT.inc()
        self._on_cut()

    def cut_if_stuck(self) -> None:
        """Cut the connection where it has written nothing for too long."""
        if self._silent_for() > STUCK_S:
            self.cut()

    def touch(self) -> None:
        """Note that the client took something."""
        self._touched = time.monotonic()

    def rewind(self) -> None:
        """Forget what came so far: the connection is about to read it from Postgres."""
        with self._lock:
            self._empty()
            self._lapsed = False

    def take(self, timeout: float) -> Mail:
        """Wait for something at most so many seconds and take all there is."""
        self._waiting = True
        self._wake.wait(timeout)
        with self._lock:
            self._wake.clear()
            mail = Mail(self._chunks, self._lapsed, self._ended)
            self._empty()
            self._waiting = False
        self.touch()
        return mail

    def _silent_for(self) -> float:
        return 0.0 if self._waiting else time.monotonic() - self._touched

    def _empty(self) -> None:
        self._chunks = []
        self._items = 0
        self._bytes = 0
