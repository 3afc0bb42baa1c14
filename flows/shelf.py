"""Stores recovered messages, and keeps account of what they were recovered from."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import msgspec
import psycopg
from psycopg import Connection, Cursor

import sql
from connectors.blame import Blame, blame
from connectors.store import Store
from flows import account
from flows.completion import complete
from flows.courtesy import Courtesy
from flows.duplicate import Duplicate
from flows.patience import insist
from flows.recovered import Recovered
from flows.recovery import Recovery, Tally, in_order, now
from flows.redact import Redactor
from flows.report import RunReport, Tokens
from flows.sheet import Over
from flows.storage import Ready, messages

log = logging.getLogger(__name__)
T = TypeVar("T")
Concluded = tuple[Recovery, RunReport, Tokens]

# Runs whose account is settled at once.
BATCH_RUNS = 100


class Shelf:
    """Stores messages in batches, one transaction each, together with the count of what they were recovered from.

    Each message is stored once, whoever else stores it. What a kill leaves undone is done by the next
    backfill: an artifact counts as read only once all of its messages are stored.

    Args:
        conninfo: any libpq connection string.
        redactor: for what becomes a dead letter.
        courtesy: towards whoever else stores messages; it has looked for them.
        runs: by their numbers; they are kept up to date.
        done: called with each run that is settled.
        patience: how long an absent Postgres is waited for.
        dry_run: count, and store nothing.
    """

    def __init__(
        self,
        conninfo: str,
        redactor: Redactor,
        courtesy: Courtesy,
        runs: Mapping[int, Recovery],
        done: Callable[[Recovery], None],
        *,
        patience: timedelta,
        dry_run: bool = False,
    ) -> None:
        self._conninfo = conninfo
        self._runs = runs
        self._done = done
        self._patience = patience
        self._dry_run = dry_run
        destination = messages(conninfo, redactor)
        self._roll_up = destination.within
        self._store: Store[Ready | Duplicate] = Store(replace(destination, within=self._add_with_account))
        self._waiting: list[Recovered] = []
        self._waiting_bytes = 0
        self._over: list[Recovery] = []
        self._connection: Connection[Any] | None = None
        self._courtesy = courtesy
        self._writer = ThreadPoolExecutor(1, "shelf")
        # At once, while this thread has its full priority: who holds the lock of all writers must not wait for a core.
        self._writing: Future[None] | None = self._writer.submit(lambda: None)

    def put(self, steps: Sequence[Recovered | Over]) -> None:
        """Take what comes next; waits while what came before is written, once there is a batch of it.

        Raises:
            Exception: what came before can't be written.
        """
        for step in steps:
            if isinstance(step, Recovered):
                self._waiting.append(step)
                self._waiting_bytes += step.size
                if len(self._waiting) >= self._courtesy.rows or self._waiting_bytes >= self._courtesy.bytes:
                    self._hand_over()
            else:
                # All of its messages are written, or wait; none comes any more.
                self._over.append(self._runs[step.run])
                if len(self._over) >= BATCH_RUNS:
                    self._hand_over()

    def finish(self) -> None:
        """Write what waits, and settle what is over.

        Raises:
            Exception: it can't be.
        """
        self._hand_over()
        self._wait()

    def _hand_over(self) -> None:
        """Have the writing thread write what has come, while more comes."""
        self._wait()
        batch, over = self._waiting, self._over
        self._waiting, self._waiting_bytes, self._over = [], 0, []
        self._writing = self._writer.submit(self._write, batch, over)
        if not self._courtesy.is_alone:
            # Nor for this thread to let it have the interpreter.
            self._wait()

    def _wait(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def _write(self, batch: Sequence[Recovered], over: Sequence[Recovery]) -> None:
        if self._dry_run:
            for place, number in _count(batch).items():
                self._tally(*place).inserted += number
        elif batch:
            self._store_batch(batch)
        if over:
            self._settle(over)

    def _store_batch(self, batch: Sequence[Recovered]) -> None:
        while batch:
            # What was gathered while nobody else wrote is too much beside others.
            number = self._courtesy.at_once(each.size for each in batch)
            some, batch = batch[:number], batch[number:]
            began = time.monotonic()
            stored = self._store_some(some)
            rest = self._courtesy.rest(time.monotonic() - began)
            self._look(stored)
            time.sleep(rest)

    def _look(self, stored: int) -> None:
        self._insist(lambda: self._courtesy.look(self._open(), stored))

    def _store_some(self, batch: Sequence[Recovered]) -> int:
        """Return how many of a batch were stored."""
        written = self._insist(lambda: self._store.store(batch))
        refused = [*written.rejected, *(failure.item for failure in written.failed)]
        for place, number in _count(batch).items():
            # Whoever has stored the others has done so since they were looked for.
            self._tally(*place).stored += number
        for place, number in _count(written.new).items():
            tally = self._tally(*place)
            tally.inserted += number
            tally.stored -= number
        for place, number in _count(refused).items():
            tally = self._tally(*place)
            tally.refused += number
            tally.stored -= number
        for failure in written.failed:
            log.warning(
                "a message can't be stored: %s",
                failure.why,
                extra={"todo": "see the run's page for how many; Postgres' words tell what is wrong with it"},
            )
        return len(written.new)

    def _add_with_account(self, cursor: Cursor[Any], new: Sequence[Ready | Duplicate]) -> None:
        if self._roll_up is not None:
            self._roll_up(cursor, new)
        lines = [self._runs[run].line(part, number) for (run, part), number in _count(new).items()]
        account.add_inserted(cursor, lines)

    def _tally(self, run: int, part: int) -> Tally:
        return self._runs[run].tallies[part]

    def _settle(self, over: Sequence[Recovery]) -> None:
        """Write down how runs stand all of whose messages are written."""
        runs = in_order(over)
        if self._dry_run:
            for run in runs:
                _concluded(run)
        else:
            self._note([run for run in runs if not run.failure])
        for run in over:
            self._done(run)

    def _note(self, runs: Sequence[Recovery]) -> None:
        """Write down how runs stand; of each by itself, where that can't be done together."""
        if not runs:
            return
        try:
            self._insist(lambda: self._write_down(runs))
        except Exception as error:  # whatever one run is like, the others are done
            if isinstance(error, psycopg.Error) and blame(error) is not Blame.DATA:
                raise
            if len(runs) == 1:
                runs[0].give_up(error)
                return
            for run in runs:
                self._note([run])

    def _write_down(self, runs: Sequence[Recovery]) -> None:
        connection = self._open()
        keys = {"namespaces": [run.key[0] for run in runs], "uids": [run.key[1] for run in runs]}
        with connection.transaction():
            # Whoever is about the same runs at the same time comes before or after.
            connection.execute(sql.query("hold_runs"), keys)
            entries = account.entries(connection, [run.key for run in runs])
            for run in runs:
                run.recount(entries.get(run.key, {}))
            concluded = [each for run in runs if (each := _concluded(run)) is not None]
            with connection.pipeline():
                _write_accounts(connection, concluded)
                connection.execute(sql.query("notify_runs"), keys)

    def _insist(self, action: Callable[[], T]) -> T:
        return insist(action, self._patience, self._reset)

    def _open(self) -> Connection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(self._conninfo, autocommit=True)
        return self._connection

    def close(self) -> None:
        """End; what has not been written is left."""
        self._writer.shutdown()
        self._reset()

    def _reset(self) -> None:
        """Drop the connections; what comes next makes new ones."""
        self._store.close()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _write_accounts(connection: Connection[Any], concluded: Sequence[Concluded]) -> None:
    """Write down how runs stand, and their artifacts."""
    for run, _, _ in concluded:
        if run.run.completion is not None and run.is_to_be_completed:
            complete(connection, run.run.completion)
    noted = [
        {"workflow_namespace": run.key[0], "workflow_uid": run.key[1], "report": report, "tokens": tokens}
        for run, report, tokens in concluded
    ]
    connection.execute(sql.query("note_backfills"), {"runs": _json(noted)})
    account.settle(connection, [line for run, _, _ in concluded for line in run.lines()])


def _concluded(run: Recovery) -> Concluded | None:
    """Return a run with what it came to; None where it can't be recovered."""
    if run.failure:
        return None
    try:
        return (run, *run.conclude(now()))
    except Exception as error:  # whatever one run is like, the others are done
        run.give_up(error)
        return None


def _count(items: Sequence[Ready | Duplicate]) -> Counter[tuple[int, int]]:
    """Return how many come from each artifact of each run."""
    return Counter([(item.run, item.part) for item in items if isinstance(item, Recovered)])


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
