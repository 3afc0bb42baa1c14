"""Writes what has gathered, while the dataflow goes on."""

import logging
import threading
import time
from typing import TYPE_CHECKING, Generic, TypeVar

import psycopg

from connectors.backoff import BACKOFF_S, backoff
from connectors.blame import in_one_line
from connectors.keeper import Keeper
from connectors.store import Store, Written
from connectors.suspects import Suspect, Suspects
from connectors.vigil import Vigil

if TYPE_CHECKING:
    from connectors.postgres import PostgresSink

log = logging.getLogger(__name__)
X = TypeVar("X")

COMPLAIN_EVERY_S = 60.0
LOOK_EVERY_S = 0.5


class Writer(threading.Thread, Generic[X]):
    """A sink's second thread: takes what has gathered, stores it, acks it; for ever.

    What it does, and why, is the sink's promise: see `connectors.postgres.PostgresSink`.
    """

    def __init__(self, sink: "PostgresSink[X]") -> None:
        super().__init__(name=f"postgres:{sink.destination.table.name[1]}", daemon=True)
        self._sink = sink
        self._store = Store(sink.destination)
        self._keeper = Keeper(self._keep_in_progress, sink.in_progress_every_s)
        self._vigil = Vigil(self._store.waits_for, sink.unanswered, sink.long_s)
        self._changed = threading.Condition()
        # What is held, from its arrival to its ack.
        self._arriving: list[X] = []
        self._waiting: list[X] = []
        self._waiting_bytes = 0
        self._writing: list[X] = []
        self._writing_since = 0.0
        self._suspects: Suspects[X] = Suspects()
        # An item without a row is acked no sooner than what it may be a copy of: a suspect, perhaps.
        self._rowless: list[X] = []
        self._finishing = False
        self._refused = 0
        self._failure: BaseException | None = None

    def put(self, items: list[X]) -> None:
        """Take items to be written; waits while a full batch is waiting already.

        At the end of the dataflow it waits no longer than the sink's patience: what finds no room then is let go.
        """
        sizes = list(map(self._sink.size, items))
        total = sum(sizes)
        with self._changed:
            self._arriving = items
            if self._waiting_bytes + total <= self._sink.batch_bytes:
                self._take_in(items, total)
            else:
                # One by one, or a batch would be as large as whatever comes at once.
                for item, size in zip(items, sizes, strict=True):
                    self._take_in([item], size)
            self._arriving = []

    def _take_in(self, items: list[X], size: int) -> None:
        if not self._wait_for_room():
            self._refused += len(items)
            return
        self._waiting += items
        self._waiting_bytes += size
        self._changed.notify_all()

    def _wait_for_room(self) -> bool:
        """Return once there is room; False where the dataflow ends and there was none for so long."""
        ending_since: float | None = None
        while self._is_full() and self._failure is None:
            if self._sink.ending():
                ending_since = ending_since or time.monotonic()
                if self._refused or time.monotonic() - ending_since > self._sink.patience_s:
                    return False
            # A signal that asks for the end wakes nobody who waits here.
            self._changed.wait(LOOK_EVERY_S)
        self._raise_failure()
        return True

    def finish(self) -> None:
        """Write what is waiting, and end."""
        with self._changed:
            self._finishing = True
            self._changed.notify_all()
        self.join(2 * self._sink.patience_s)
        self._raise_failure()
        left = self._refused + len(self._writing) + len(self._waiting) + len(self._suspects) + len(self._rowless)
        if left:
            todo = "see to Postgres, and start it again"
            log.warning(
                "postgres: ends with %d messages not stored; they will be delivered again", left, extra={"todo": todo}
            )

    def _raise_failure(self) -> None:
        if self._failure is not None:
            message = "the writer has failed"
            raise RuntimeError(message) from self._failure

    def _is_full(self) -> bool:
        return len(self._waiting) >= self._sink.batch_rows or self._waiting_bytes >= self._sink.batch_bytes

    def run(self) -> None:
        """Write until `finish`."""
        opened = False
        try:
            while self._wait_for_work():
                if not opened:
                    # Not sooner: an end that is asked for before anything came must not wait for a server.
                    self._sink.acks.open()
                    self._keeper.start()
                    self._vigil.start()
                    opened = True
                if batch := self._take_waiting():
                    self._write(batch)
                self._retry_suspect()
        except BaseException as error:  # it is raised again where the dataflow sees it
            with self._changed:
                self._failure = error
                self._changed.notify_all()
        finally:
            self._store.close()
            if opened:
                self._vigil.end()
                self._keeper.end()
                self._sink.acks.close()

    def _wait_for_work(self) -> bool:
        """Return once there is something to do; False once there is nothing, and nothing to come."""
        with self._changed:
            while not self._waiting and not self._finishing:
                due = self._suspects.next_due
                left = None if due is None else due - time.monotonic()
                if left is not None and left <= 0:
                    return True
                self._changed.wait(left)
            return bool(self._waiting)

    def _take_waiting(self) -> list[X]:
        with self._changed:
            self._writing, self._waiting, self._waiting_bytes = self._waiting, [], 0
            self._writing_since = time.monotonic()
            self._changed.notify_all()
        return self._writing

    def _write(self, batch: list[X]) -> None:
        failures = 0
        began = time.monotonic()
        complaint = _Complaint()
        while True:
            try:
                with self._vigil.over(len(batch)):
                    written = self._store.store(batch)
                break
            except Exception as error:
                failures += 1
                complaint.about(len(batch), error)
                if self._sink.failed:
                    self._sink.failed(error)
                self._store.close()
                time.sleep(backoff(failures))
        written.seconds = time.monotonic() - began
        self._say_back(failures, len(batch), written.seconds)
        self._set_aside(written)
        self._settle(written, self._without_held_back(batch, written))
        with self._changed:
            self._writing = []

    def _say_back(self, failures: int, number: int, seconds: float) -> None:
        silences = self._vigil.settle()
        if failures:
            log.info("postgres: back after %d failed tries; a batch of %d is stored", failures, number)
        elif silences:
            log.info("postgres: answers again; a batch of %d is stored after %.0f s", number, seconds)

    def _set_aside(self, written: Written[X]) -> None:
        if not written.failed:
            return
        log.warning(
            "postgres: %d failed alone and will be tried again, %d times at most; the first: %s",
            len(written.failed), self._sink.max_tries, written.failed[0].why,
            extra={"todo": "nothing yet; what can't be stored in the end is kept with the reason"},
        )  # fmt: skip
        for failure in written.failed:
            suspect = Suspect(failure.item)
            suspect.add(failure)
            self._put_back(suspect)

    def _put_back(self, suspect: Suspect[X]) -> None:
        with self._changed:
            self._suspects.put(suspect, time.monotonic() + backoff(suspect.failures))

    def _without_held_back(self, batch: list[X], written: Written[X]) -> list[X]:
        """Return what of a batch can be acked."""
        if not self._suspects:
            return batch
        failed = {id(failure.item) for failure in written.failed}
        others = [item for item in batch if id(item) not in failed]
        rowless = {id(item) for item in others if not self._store.needs_row(item)}
        with self._changed:
            self._rowless += [item for item in others if id(item) in rowless]
        return [item for item in others if id(item) not in rowless]

    def _retry_suspect(self) -> None:
        """Try the suspect that has been due for longest; one only, since the next batch may have come."""
        with self._changed:
            suspect = self._suspects.take(time.monotonic())
            self._writing = [suspect.item] if suspect else []
        if suspect is None:
            return
        began = time.monotonic()
        try:
            with self._vigil.over(1):
                written = self._judge(suspect)
        except Exception as error:
            # The server's failure, or the set-up's: it doesn't count.
            suspect.failures += 1
            log.debug("postgres: a suspect waits: %s", in_one_line(error))
            self._store.close()
            written = None
            # The others that are due would meet the same at once.
            time.sleep(BACKOFF_S[0])
        if written is None:
            self._put_back(suspect)
        else:
            written.seconds = time.monotonic() - began
            self._say_back(0, 1, written.seconds)
            self._settle(written, [suspect.item, *self._no_longer_held_back()])
        with self._changed:
            self._writing = []

    def _judge(self, suspect: Suspect[X]) -> Written[X] | None:
        """Return what became of a suspect; None where it stays one."""
        written = self._store.store([suspect.item])
        if not written.failed:
            return written
        suspect.add(written.failed[0])
        if suspect.tries < self._sink.max_tries:
            return None
        self._store.reject(suspect.item, f"{suspect.why} (tried {suspect.tries} times)")
        return Written(rejected=[suspect.item])

    def _no_longer_held_back(self) -> list[X]:
        with self._changed:
            if self._suspects:
                return []
            rowless, self._rowless = self._rowless, []
        return rowless

    def _settle(self, written: Written[X], safe: list[X]) -> None:
        if self._sink.done:
            self._sink.done(written)
        self._sink.acks.ack(self._replies(safe))

    def _keep_in_progress(self) -> None:
        with self._changed:
            held = [*self._suspects.items, *self._rowless]
            # While batches come and go, what waits is young.
            if self._writing and time.monotonic() - self._writing_since > self._sink.in_progress_every_s / 2:
                # Some of what arrives may wait already; saying so twice does no harm.
                held += [*self._writing, *self._waiting, *self._arriving]
        self._sink.acks.in_progress(self._replies(held))

    def _replies(self, items: list[X]) -> list[str]:
        return [reply for reply in map(self._sink.reply, items) if reply]


class _Complaint:
    """Says why a batch waits: at first, when the reason becomes another one, and once a minute."""

    def __init__(self) -> None:
        self._reason = ""
        self._said_at = 0.0

    def about(self, number: int, error: Exception) -> None:
        line, now = in_one_line(error), time.monotonic()
        reason = line.partition(":")[0]
        if reason == self._reason and now - self._said_at < COMPLAIN_EVERY_S:
            return
        self._reason, self._said_at = reason, now
        # What isn't Postgres' word is a defect: somebody will want to see where.
        defect = None if isinstance(error, psycopg.Error) else error
        todo = "report this defect" if defect else "see to Postgres; it is tried again, and nothing is lost"
        log.warning("postgres: a batch of %d waits: %s", number, line, exc_info=defect, extra={"todo": todo})
