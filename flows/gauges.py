"""What recovering runs from their artifacts tells Prometheus: reconciliation and backfill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from prometheus_client import Counter, Gauge

from flows import exposition
from flows.exposition import registry_of

if TYPE_CHECKING:
    from flows.reconcile import Outcome
    from flows.recovery import Recovery
    from flows.report import RunReport
    from flows.settings import Settings


class Progress(Protocol):
    """How far a backfill is: `flows.backfill.Progress`."""

    bytes: int
    done_bytes: int
    lines: int


class RecoveryMetrics:
    """The metrics of one process that recovers runs, in a registry of their own.

    Args:
        program: `reconcile` or `backfill`.
    """

    def __init__(self, program: str) -> None:
        self.registry = registry_of(program)
        self._recovered = self._counter("recovered_messages", "Messages that were recovered from artifacts.")
        self._runs = self._counter("recovered_runs", "Runs that were looked at, by whether they are whole.", "complete")
        self._unreadable = self._counter(
            "unreadable_artifacts", "Artifacts that can't be had, or not be read to their end; again at each try."
        )
        self._refused = self._counter("refused_messages", "Messages of artifacts that can't be stored.")
        for complete in ("true", "false"):
            self._runs.labels(complete)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"agent_comms_{name}", documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(f"agent_comms_{name}", documentation, labels, registry=self.registry)

    def note_report(self, report: RunReport | None) -> None:
        """Count what a run's artifacts came to."""
        if report is None:
            return
        self._recovered.inc(report.inserted)
        self._runs.labels("true" if report.complete else "false").inc()
        self._unreadable.inc(len(report.absent) + len(report.damaged))
        self._refused.inc(report.refused)


class ReconcileMetrics(RecoveryMetrics):
    """The metrics of one process that works on the queue."""

    def __init__(self) -> None:
        super().__init__("reconcile")
        self._queue = self._gauge(
            "reconcile_queue_runs", "Completed runs by where they stand in the queue of the reconciliation.", "state"
        )
        self._worked = self._counter(
            "reconciled_runs", "Runs that this process has worked on, by where they stood then.", "state"
        )
        for state in ("queued", "done", "failed"):
            self._worked.labels(state)

    def serve(self, settings: Settings) -> None:
        """Serve the metrics on a port. A port that is taken is a warning."""
        exposition.serve(self.registry, settings, lasting=True)

    def show_queue(self, counts: Mapping[str, int]) -> None:
        """Show how many runs stand where."""
        for state, number in counts.items():
            self._queue.labels(state).set(number)

    def note(self, outcome: Outcome) -> None:
        """Count a run that was worked on."""
        self._worked.labels(outcome.state).inc()
        self.note_report(outcome.report)


class BackfillMetrics(RecoveryMetrics):
    """The metrics of one backfill, for as long as it runs."""

    def __init__(self) -> None:
        super().__init__("backfill")
        self._bytes = self._gauge("backfill_bytes", "Bytes of artifacts that there is anything to do about.")
        self._done_bytes = self._gauge("backfill_done_bytes", "Of these, the ones that were read.")
        self._lines = self._gauge("backfill_lines", "Lines that were read.")

    def serve(self, settings: Settings) -> None:
        """Serve the metrics where AGENT_COMMS_METRICS_PORT says so."""
        exposition.serve(self.registry, settings, lasting=False)

    def show(self, progress: Progress) -> None:
        """Show how far it is."""
        self._bytes.set(progress.bytes)
        self._done_bytes.set(progress.done_bytes)
        self._lines.set(progress.lines)

    def note(self, run: Recovery) -> None:
        """Count a run that is over."""
        self.note_report(run.report)
