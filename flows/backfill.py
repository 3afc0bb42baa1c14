"""The batch flow: from the artifacts of finished runs to Postgres, what is missing there and nothing else.

    python -m bytewax.run flows.backfill

Reads what AGENT_COMMS_ARTIFACTS names, of everything that has changed since it was read last.
"""

import gc
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

import bytewax.operators as op
import psycopg
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from msgspec import Struct

from connectors.archive import Limits
from connectors.artifacts import ArtifactSource
from connectors.crew import CORES, Workers
from connectors.objects import ObjectError, Objects
from flows import logs, sheet
from flows.bundle import workers
from flows.catalog import Catalog
from flows.courtesy import Courtesy, step_back
from flows.database import conninfo
from flows.gauges import BackfillMetrics
from flows.listed import Listed
from flows.missing import Again, Comparison, Missing
from flows.progress import Progress
from flows.reading import SheetReader
from flows.recovered import Recovered, Rows
from flows.recovery import Recovery, now, recoveries
from flows.redact import redactor_of
from flows.settings import SettingError, Settings
from flows.sheet import Found, Over, Task
from flows.shelf import Shelf
from flows.stock import Stock

# Runs that the database is asked about at once.
PAGE = 500
PATIENCE = timedelta(minutes=2)

log = logging.getLogger(__name__)
T = TypeVar("T")


class Options(Struct, frozen=True, kw_only=True):
    """How to go about it.

    Attributes:
        processes: how many read; 0 for none beside this one.
        again: read what has not changed since it was read last, too.
        dry_run: find out what is missing, and store nothing.
        keep_other_lines: make messages of lines that are no events, too.
        is_patient: leave an attempt's log alone while its events may still come.
        every_run: conclude runs of which nothing has changed, too.
        patience: how long an absent Postgres is waited for.
    """

    processes: int = CORES
    again: bool = False
    dry_run: bool = False
    keep_other_lines: bool = False
    is_patient: bool = False
    every_run: bool = False
    patience: timedelta = PATIENCE


class Backfill:
    """Recovers runs from their artifacts.

    Args:
        settings: the environment.
        objects: under the root.
        options: how to go about it.
        watch: called now and then with how far it is.
        done: called with each run once it is over; of those of which nothing has changed, with those of which it is
            known that something in them can't be had.

    Delivery: each message of the artifacts is stored once, whoever else stores it, and an artifact counts as
    read once all of its messages are. It can be killed at any moment, and begins again with what it
    has not finished. A run that fails by itself costs no other one: it says so, and none of it counts as read.
    """

    def __init__(
        self,
        settings: Settings,
        objects: Objects,
        options: Options,
        *,
        watch: Callable[[Progress], None] = lambda _: None,
        done: Callable[[Recovery], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._objects = objects
        self._options = options
        self._watch = watch
        self._done = done
        self._database = conninfo(settings, "agent-comms-backfill")
        self._redactor = redactor_of(settings)
        self.runs: dict[int, Recovery] = {}
        self._rows = Rows(self.runs, self._redactor, settings.agent_id)
        self.progress = Progress()
        # Runs that are not read to their end yet.
        self._reading: set[int] = set()
        self._workers: Workers[Task] | None = None
        self._stopped = False
        self.failure: Exception | None = None
        self._stock = Stock(self._database, options.patience)
        self._comparison = Comparison(self._stock, self.runs)
        self._courtesy = Courtesy()
        self._shelf = Shelf(
            self._database,
            self._redactor,
            self._courtesy,
            self.runs,
            self._settled,
            patience=options.patience,
            dry_run=options.dry_run,
        )

    def stop(self) -> None:
        """End soon: what has been taken is stored."""
        self._stopped = True

    def prepare(self, listed: Sequence[Listed]) -> None:
        """Find out what there is to do.

        Raises:
            psycopg.Error: the database doesn't tell what was done before.
        """
        options = self._options
        with psycopg.connect(self._database, autocommit=True) as connection:
            self._courtesy.look(connection, 0)
            for first in range(0, len(listed), PAGE):
                page = listed[first : first + PAGE]
                for run in recoveries(
                    connection,
                    page,
                    first,
                    again=options.again,
                    is_patient=options.is_patient,
                    is_wanted=options.every_run,
                    can_skim=not options.keep_other_lines,
                ):
                    self._take(run)
        self._watch(self.progress)

    def _take(self, run: Recovery) -> None:
        if run.is_gone:
            run.leave_alone(now())
            self._done(run)
        elif run.is_to_do:
            self.runs[run.number] = run
            self.progress.expect(run)
        else:
            self.progress.unchanged += 1
            if run.is_known_to_lack:
                run.conclude(now())
                self._done(run)

    def flow(self) -> Dataflow:
        """Return the dataflow: what is in the artifacts, what of it is missing, and that stored."""
        flow = Dataflow("backfill")
        found = op.input("read", flow, self._source())
        steps = op.flat_map_batch("missing", found, self._missing)
        rows = op.flat_map_batch("make_rows", steps, self._make_rows)
        op.output("store", rows, _Sink(self))
        return flow

    def run(self) -> None:
        """Do it all in this process, whose Bytewax needs no more.

        Raises:
            Exception: why it could not be done to the end.
        """
        run_main(self.flow())  # type: ignore[no-untyped-call]
        if self.failure is not None:
            raise self.failure

    def _source(self) -> ArtifactSource[Found]:
        return ArtifactSource(self._begin, sheet.decode, lambda: self._stopped, lambda: not self._reading)

    def _begin(self) -> Workers[Task]:
        settings, options = self._settings, self._options
        limits = Limits(bytes=settings.agent_comms_artifact_bytes)
        reader = SheetReader(
            self._objects,
            self._redactor,
            settings.agent_comms_max_message_bytes,
            limits,
            keep_other_lines=options.keep_other_lines,
        )
        tasks = [run.task for run in self.runs.values()]
        self._reading = {*self.runs}
        self._workers = workers(reader, tasks, options.processes, lambda: self._courtesy.ahead_bytes)
        return self._workers

    def _missing(self, found: list[Found]) -> list[Missing | Over]:
        for each in found:
            self.progress.note(each, self.runs)
        steps = self._guard(lambda: self._comparison.missing(found)) or []
        for step in steps:
            if isinstance(step, Again) and self._workers is not None:
                self._workers.add(self.runs[step.run].task)
            elif isinstance(step, Over):
                self._reading.discard(step.run)
        self._watch(self.progress)
        return [step for step in steps if not isinstance(step, Again)]

    def _make_rows(self, steps: list[Missing | Over]) -> list[Recovered | Over]:
        made: list[Recovered | Over] = []
        for step in steps:
            if isinstance(step, Over):
                made.append(step)
            elif row := self._row(step):
                made.append(row)
        return made

    def _row(self, missing: Missing) -> Recovered | None:
        """Return what is missing with its row; None where the table takes none, or its run can't be recovered."""
        run = self.runs[missing.run]
        if run.failure:
            return None
        try:
            row = self._rows.row(missing)
        except Exception as error:  # whatever one run is like, the others are done
            run.give_up(error)
            return None
        if row is None:
            run.tallies[missing.part].refused += 1
        return row

    def store(self, steps: list[Recovered | Over]) -> None:
        """Store what comes out of the flow."""
        self._guard(lambda: self._shelf.put(steps))

    def finish(self) -> None:
        """Store the rest, and let go of everything."""
        self._guard(self._shelf.finish)
        self._shelf.close()
        self._stock.close()
        self._watch(self.progress)

    def _settled(self, run: Recovery) -> None:
        self.progress.done_runs += 1
        self._done(run)

    def _guard(self, action: Callable[[], T]) -> T | None:
        """Do something, unless something has failed; a failure ends the flow in good order."""
        if self.failure is not None:
            return None
        try:
            return action()
        except Exception as error:  # Bytewax would end in a panic, and its words are for nobody
            self.failure = error
            self.stop()
            return None


class _Sink(DynamicSink[Recovered | Over]):
    def __init__(self, backfill: Backfill) -> None:
        self._backfill = backfill

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_SinkPartition":  # noqa: ARG002
        return _SinkPartition(self._backfill)


class _SinkPartition(StatelessSinkPartition[Recovered | Over]):
    def __init__(self, backfill: Backfill) -> None:
        self._backfill = backfill

    def write_batch(self, items: list[Recovered | Over]) -> None:
        self._backfill.store(items)

    def close(self) -> None:
        self._backfill.finish()


def flow() -> Dataflow:
    """Return the dataflow as the environment sets it up; Bytewax calls this."""
    try:
        settings = Settings.from_env()
        if not settings.agent_comms_artifacts:
            message = "AGENT_COMMS_ARTIFACTS: it takes a folder or s3://bucket/prefix, and there is no default"
            raise SettingError(message)
        logs.set_up(settings)
        objects = Objects(settings.agent_comms_artifacts)
        metrics = BackfillMetrics()
        metrics.serve(settings)

        def done(run: Recovery) -> None:
            metrics.note(run)
            _log(run)

        backfill = Backfill(settings, objects, Options(), watch=metrics.show, done=done)
        backfill.prepare(Catalog(objects, settings.workflow_namespace, _note).everything())
    except (SettingError, ObjectError, psycopg.OperationalError) as error:
        sys.exit(f"agent-comms: {error}")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: backfill.stop())
    mind_garbage()
    step_back()
    return backfill.flow()


def mind_garbage() -> None:
    """Have this process look for cycles less often: messages hold none."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    # The writing thread gets the interpreter back sooner.
    sys.setswitchinterval(0.0005)


def _note(text: str) -> None:
    log.warning("%s", text, extra={"todo": "see to the artifacts under AGENT_COMMS_ARTIFACTS"})


def _log(run: Recovery) -> None:
    report = run.report
    if report is not None and (report.inserted or not report.complete):
        told = f"{report.inserted} recovered of {report.rows}; {'; '.join(report.why)}"
        if report.complete:
            log.debug("%s", told, extra={"run": "/".join(run.key)})
        else:
            todo = "see to what it names, if it can be had; then run it again"
            log.warning("not complete: %s", told, extra={"run": "/".join(run.key), "todo": todo})
