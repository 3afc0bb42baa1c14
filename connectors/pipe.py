"""Reads a pipe as fast as its writer writes, so that the writer never waits for what is done with it."""

import fcntl
import os
import select
import struct
import termios
import threading
from collections import deque
from collections.abc import Callable

from connectors.lines import Loss

CHUNK_BYTES = 64 * 1024
# What is read and not taken yet; beyond it is counted and lost.
MAX_WAITING_BYTES = 64 * 1024 * 1024


class PipeReader:
    """A thread that empties a pipe.

    Args:
        source: the file descriptor to read.
        wake: called from the thread when there is something to take, and at the end.
        copy_to: a file descriptor that everything is written to first, unchanged. Once nobody reads
            it any more the source is closed, as if its writer had written there itself. Where it takes
            nothing for another reason, as a full disk, the source is read on and copied no longer.
        uncopied: told that reason, once, from the thread.
    """

    def __init__(
        self,
        source: int,
        wake: Callable[[], None],
        *,
        copy_to: int | None = None,
        uncopied: Callable[[OSError], None] = lambda _: None,
    ) -> None:
        self._source = source
        self._wake = wake
        self._copy_to = copy_to
        self._uncopied = uncopied
        self._lock = threading.Lock()
        # Bytes as they were written, or the memory that there were some.
        self._chunks: deque[bytes | Loss] = deque()
        self._waiting = 0
        # Bytes that were read, and those of them that were copied and put.
        self._read_bytes = 0
        self.passed_bytes = 0
        self._is_stopped = False
        self.is_over = False
        self._thread = threading.Thread(target=self._run, name="pipe", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more than what is being read, though somebody may write on."""
        self._is_stopped = True

    def take(self, most: int = 4) -> list[bytes | Loss]:
        """Return the next of what has come since; never waits.

        Args:
            most: so many pieces of `CHUNK_BYTES` or less.
        """
        with self._lock:
            chunks = [self._chunks.popleft() for _ in range(min(most, len(self._chunks)))]
            self._waiting -= sum(len(chunk) for chunk in chunks if isinstance(chunk, bytes))
        return chunks

    @property
    def written_bytes(self) -> int:
        """How many bytes its writers have written by now."""
        with self._lock:
            return self._read_bytes + (0 if self.is_over else self._unread())

    @property
    def is_done(self) -> bool:
        """Whether the pipe is at its end and everything was taken."""
        return self.is_over and not self._chunks

    def _run(self) -> None:
        ready = select.poll()
        ready.register(self._source, select.POLLIN)
        try:
            # Read at once when there is something, so that what is no longer in the pipe is counted.
            while not self._is_stopped and ready.poll() and (data := self._read()):
                is_wanted = self._copy(data)
                self._put(data)
                if not is_wanted:
                    # Its writer has written it while it was told of nothing.
                    self._put(self._read() if self._unread() else b"")
                    break
        finally:
            with self._lock:
                self.is_over = True
                os.close(self._source)
            self._wake()

    def _read(self) -> bytes:
        with self._lock:
            try:
                data = os.read(self._source, CHUNK_BYTES)
            except OSError:
                # A terminal says so when its other side is closed.
                return b""
            self._read_bytes += len(data)
            return data

    def _unread(self) -> int:
        (number,) = struct.unpack("i", fcntl.ioctl(self._source, termios.FIONREAD, b"\0" * 4))
        return int(number)

    def _copy(self, data: bytes) -> bool:
        """Copy what was read; returns whether its writer may go on."""
        if self._copy_to is None:
            return True
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._copy_to, rest) :]
            except BlockingIOError:
                # Somebody has set it so, for whom we wait as the writer would.
                select.select([], [self._copy_to], [])
            except BrokenPipeError:
                return False
            except OSError as error:
                self._copy_to = None
                self._uncopied(error)
                break
        return True

    def _put(self, data: bytes) -> None:
        with self._lock:
            self.passed_bytes += len(data)
            if self._waiting + len(data) <= MAX_WAITING_BYTES:
                self._waiting += len(data)
                self._chunks.append(data)
            elif self._chunks and isinstance(last := self._chunks[-1], Loss):
                # However much a writer writes, one note of it is all that is kept.
                last.add(Loss.of(data))
            else:
                self._chunks.append(Loss.of(data))
            first = len(self._chunks) == 1
        if first:
            self._wake()
