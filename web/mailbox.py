"""A bounded mailbox between the hub and one live connection."""

import threading
import time
from collections.abc import Callable

from msgspec import Struct

from web.frame import Chunk
from web.metrics import CUT
from web.sight import Sight

MAX_ITEMS = 1_000
MAX_BYTES = 1024 * 1024
# A connection whose mailbox is full and whose client took nothing for so long is cut loose;
# one that is only behind reads the rest from Postgres at its own pace.
PATIENCE_S = 5.0
# One that wrote nothing for so long, full or not, has a client that is gone or never reads.
STUCK_S = 40.0

# Sends a chunk at once; returns what of it the connection has to send itself, None where nothing is left.
Express = Callable[[Chunk], memoryview | None]


class Mail(Struct, frozen=True):
    """What a connection finds in its mailbox.

    Attributes:
        rest: comes before all else: what an express has left half sent.
        chunks: what came, in commit order.
        lapsed: something came that is not in `chunks`: Postgres has it.
        ended: nothing more will come.
    """

    rest: memoryview | None
    chunks: list[Chunk]
    lapsed: bool
    ended: bool


class Mailbox:
    """Holds what a connection has not written yet; putting never waits.

    Args:
        on_cut: ends the connection, though its writer is stuck in a write.
        sight: what its client may read; nothing else is to be put into it.
    """

    __slots__ = (
        "_bytes",
        "_chunks",
        "_ended",
        "_express",
        "_items",
        "_lapsed",
        "_lock",
        "_on_cut",
        "_rest",
        "_touched",
        "_waiting",
        "_wake",
        "sight",
    )

    def __init__(self, on_cut: Callable[[], None], sight: Sight) -> None:
        self.sight = sight
        self._on_cut = on_cut
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._express: Express | None = None
        self._rest: memoryview | None = None
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

    @property
    def queued(self) -> int:
        """How many messages wait for the connection to write them."""
        return self._items

    def put(self, chunk: Chunk) -> bool:
        """Add a chunk; a full mailbox forgets what it holds and lapses.

        Returns:
            Whether the client has it already: its connection had nothing else to write.
        """
        with self._lock:
            if self._ended:
                return False
            if self._express is not None and self._send(self._express, chunk):
                return True
            if self._express is None:
                self._keep(chunk)
            self._express = None
            overdue = self._lapsed and self._silent_for() > PATIENCE_S
        self._wake.set()
        if overdue:
            self.cut()
        return False

    def lapse(self) -> None:
        """Have the connection read on from Postgres."""
        with self._lock:
            self._forget()
            self._lapsed = True
            self._express = None
        self._wake.set()

    def nudge(self) -> None:
        """Have the connection look around, with nothing in its mailbox."""
        self._wake.set()

    def end(self) -> None:
        """Have the connection end; the client is to come again."""
        with self._lock:
            self._ended = True
            self._express = None
            self._forget()
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
            self._forget()
            self._lapsed = False

    def take(self, timeout: float, express: Express | None = None) -> Mail:
        """Wait for something at most so many seconds and take all there is.

        Args:
            timeout: see above.
            express: what comes while the connection waits goes this way instead, as long as the client keeps up.
        """
        with self._lock:
            self._waiting = True
            if not self._chunks and not self._lapsed and not self._ended:
                self._express = express
        self._wake.wait(timeout)
        with self._lock:
            self._wake.clear()
            mail = Mail(self._rest, self._chunks, self._lapsed, self._ended)
            self._rest = self._express = None
            self._forget()
            self._waiting = False
            self._touched = time.monotonic()
        return mail

    def _send(self, express: Express, chunk: Chunk) -> bool:
        try:
            self._rest = express(chunk)
        except OSError:
            # The client is gone.
            self._ended = True
            return False
        # What is left wakes the connection, which is behind from here on.
        return self._rest is None

    def _keep(self, chunk: Chunk) -> None:
        full = self._items + len(chunk.items) > MAX_ITEMS or self._bytes + chunk.size > MAX_BYTES
        if self._lapsed or (full and self._items):
            self._forget()
            self._lapsed = True
        else:
            self._chunks.append(chunk)
            self._items += len(chunk.items)
            self._bytes += chunk.size

    def _silent_for(self) -> float:
        return 0.0 if self._waiting else time.monotonic() - self._touched

    def _forget(self) -> None:
        self._chunks = []
        self._items = 0
        self._bytes = 0
