"""Reads a pipe as fast as its writer writes, so that the writer never waits for what is done with it."""

import os
import threading
from collections import deque
from collections.abc import Callable

CHUNK_BYTES = 64 * 1024
# What is read and not taken yet; beyond it is counted and lost.
MAX_WAITING_BYTES = 64 * 1024 * 1024


class Chunk:
    """Some bytes, or the memory that there were some.

    Attributes:
        data: as they were written.
        kept: otherwise there was no room for them, and only their lines count.
    """

    __slots__ = ("data", "kept")

    def __init__(self, data: bytes, *, kept: bool) -> None:
        self.data = data
        self.kept = kept


class PipeReader:
    """A thread that empties a pipe.

    Args:
        source: the file descriptor to read.
        wake: called from the thread when there is something to take, and at the end.
        copy_to: a file descriptor that everything is written to first, unchanged. Once nobody reads
            it any more the source is closed, as if its writer had written there itself.
    """

    def __init__(self, source: int, wake: Callable[[], None], *, copy_to: int | None = None) -> None:
        self._source = source
        self._wake = wake
        self._copy_to = copy_to
        self._lock = threading.Lock()
        self._chunks: deque[Chunk] = deque()
        self._waiting = 0
        self.is_over = False
        self._thread = threading.Thread(target=self._run, name="pipe", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def take(self, most: int = 4) -> list[Chunk]:
        """Return the next of what has come since; never waits.

        Args:
            most: so many pieces of `CHUNK_BYTES` or less.
        """
        with self._lock:
            chunks = [self._chunks.popleft() for _ in range(min(most, len(self._chunks)))]
            self._waiting -= sum(len(chunk.data) for chunk in chunks if chunk.kept)
        return chunks

    @property
    def is_done(self) -> bool:
        """Whether the pipe is at its end and everything was taken."""
        return self.is_over and not self._chunks

    def _run(self) -> None:
        try:
            while data := self._read():
                if self._copy_to is not None and not self._copied(data):
                    break
                self._put(data)
        finally:
            self.is_over = True
            os.close(self._source)
            self._wake()

    def _read(self) -> bytes:
        try:
            return os.read(self._source, CHUNK_BYTES)
        except OSError:
            # A terminal says so when its other side is closed.
            return b""

    def _copied(self, data: bytes) -> bool:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._copy_to or 1, rest) :]
        except OSError:
            return False
        return True

    def _put(self, data: bytes) -> None:
        with self._lock:
            kept = self._waiting + len(data) <= MAX_WAITING_BYTES
            if kept:
                self._waiting += len(data)
                self._chunks.append(Chunk(data, kept=True))
            else:
                # Its lines are still counted; a note of them takes no room.
                lines = data.count(b"\n")
                rest = data[data.rfind(b"\n") + 1 :]
                self._chunks.append(Chunk(b"\n" * lines + b"x" * bool(rest), kept=False))
            first = len(self._chunks) == 1
        if first:
            self._wake()
