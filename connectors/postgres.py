"""A Bytewax sink that writes batches to Postgres and then acks them."""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import psycopg
from bytewax.outputs import DynamicSink, StatelessSinkPartition

from connectors.store import Destination, Store, Written

log = logging.getLogger(__name__)
X = TypeVar("X")

MIB = 1024 * 1024
BACKOFF_S = (0.1, 5.0)
# A third of JetStream's default ack wait of 30 s.
IN_PROGRESS_EVERY_S = 10.0
STOP_TIMEOUT_S = 30.0


class Acks(Protocol):
    """Where a sink reports what it holds and what it has made safe."""

    def open(self) -> None:
        """Get ready; each `open` is followed by a `close`."""

    def ack(self, replies: Sequence[str]) -> None:
        """These messages are safe."""

    def in_progress(self, replies: Sequence[str]) -> None:
        """These messages are still being worked on."""

    def close(self) -> None:
        """Send what is unsent."""


@dataclass(frozen=True)
class PostgresSink(DynamicSink[X], Generic[X]):
    """Writes items in batches, one transaction each, and acks them after the commit.

    The dataflow goes on while a second thread writes: whatever has gathered
    meanwhile is the next batch, so one message is written at once when it is quiet,
    and up to `batch_rows` or `batch_bytes` together when there is a backlog.
    A batch goes straight into the table; only one that meets a row which is there
    already is done again by way of a staging table that leaves those out. A batch
    that Postgres refuses for a reason of its data is halved until the culprit is
    alone, and `reject` writes that one somewhere else. Any other failure (the server
    away, full, read-only, a deadlock, a timeout) is nobody's fault: the batch is
    tried again for ever, with backoff, and its messages are kept in progress.

    Attributes:
        destination: where and how items become rows.
        reply: where an item is acked; empty for nowhere.
        size: an item's bytes, for bounding batches.
        acks: takes the replies.
        done: called after the commit and before the acks with what it came to.

    Delivery guarantee: at least once, and each key once in the table. An item is
    acked after the commit that stored it, or that found it stored, and never before.
    """

    destination: Destination[X]
    reply: Callable[[X], str]
    size: Callable[[X], int]
    acks: Acks
    done: Callable[[Written[X]], None] | None = None
    batch_rows: int = 8_000
    batch_bytes: int = 16 * MIB

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_Partition[X]":  # noqa: ARG002
        """Start this worker's writer."""
        return _Partition(self)


class _Partition(StatelessSinkPartition[X]):
    def __init__(self, sink: PostgresSink[X]) -> None:
        self._writer = _Writer(sink)
        self._writer.start()

    def write_batch(self, items: list[X]) -> None:
        self._writer.put(items)

    def close(self) -> None:
        self._writer.finish()


class _Writer(threading.Thread, Generic[X]):
    """Takes what has gathered, stores it, acks it; for ever."""

    def __init__(self, sink: PostgresSink[X]) -> None:
        super().__init__(name=f"postgres:{sink.destination.table.name[1]}", daemon=True)
        self._sink = sink
        self._store = Store(sink.destination)
        self._changed = threading.Condition()
        self._waiting: list[X] = []
        self._waiting_bytes = 0
        self._writing: list[X] = []
        self._finishing = False
        self._failure: BaseException | None = None

    def put(self, items: list[X]) -> None:
        """Take items to be written; waits while a full batch is waiting already."""
        size = sum(map(self._sink.size, items))
        with self._changed:
            while self._is_full() and self._failure is None:
                self._changed.wait()
            self._raise_failure()
            self._waiting += items
            self._waiting_bytes += size
            self._changed.notify_all()

    def finish(self) -> None:
        """Write what is waiting, and end."""
        with self._changed:
            self._finishing = True
            self._changed.notify_all()
        self.join(STOP_TIMEOUT_S)
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            message = "the writer has failed"
            raise RuntimeError(message) from self._failure

    def _is_full(self) -> bool:
        return len(self._waiting) >= self._sink.batch_rows or self._waiting_bytes >= self._sink.batch_bytes

    def run(self) -> None:
        opened = False
        try:
            while batch := self._next():
                if not opened:
                    # Not sooner: an end that is asked for before anything came must not wait for a server.
                    self._sink.acks.open()
                    opened = True
                self._write(batch)
        except BaseException as error:  # it is raised again where the dataflow sees it
            with self._changed:
                self._failure = error
                self._changed.notify_all()
        finally:
            self._store.close()
            if opened:
                self._sink.acks.close()

    def _next(self) -> list[X]:
        with self._changed:
            while not self._waiting and not self._finishing:
                self._changed.wait()
            self._writing, self._waiting, self._waiting_bytes = self._waiting, [], 0
            self._changed.notify_all()
        return self._writing

    def _write(self, batch: list[X]) -> None:
        failures = 0
        began = held_at = time.monotonic()
        while True:
            try:
                written = self._store.store(batch)
                break
            except psycopg.Error as error:
                failures += 1
                if failures == 1:
                    log.warning("postgres: a batch of %d waits: %s", len(batch), _in_one_line(error))
                self._store.close()
                self._pause(failures)
            if time.monotonic() - held_at >= IN_PROGRESS_EVERY_S:
                held_at = time.monotonic()
                self._keep_in_progress()
        if failures:
            log.info("postgres: back after %d failed tries; a batch of %d is stored", failures, len(batch))
        written.seconds = time.monotonic() - began
        if self._sink.done:
            self._sink.done(written)
        self._sink.acks.ack(self._replies(batch))
        self._writing = []

    def _pause(self, failures: int) -> None:
        least, most = BACKOFF_S
        delay = min(most, least * 2 ** min(failures, 10)) * random.uniform(0.5, 1)  # noqa: S311 - jitter
        with self._changed:
            self._changed.wait(delay)

    def _keep_in_progress(self) -> None:
        with self._changed:
            held = self._writing + self._waiting
        self._sink.acks.in_progress(self._replies(held))

    def _replies(self, items: list[X]) -> list[str]:
        return [reply for reply in map(self._sink.reply, items) if reply]


def _in_one_line(error: psycopg.Error) -> str:
    text = " ".join(str(error).split())
    return f"{error.sqlstate or type(error).__name__}: {text}"
