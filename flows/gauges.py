"""What the reconciliation tells Prometheus."""

import logging
from collections.abc import Mapping
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Info, start_http_server

from flows.reconcile import Outcome

log = logging.getLogger(__name__)


class ReconcileMetrics:
    """The metrics of one process that works on the queue, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._queue = Gauge(
            "agent_comms_reconcile_queue_runs",
            "Completed runs by where they stand in the queue of the reconciliation.",
            ["state"],
            registry=self.registry,
        )
        self._runs = Counter(
            "agent_comms_reconciled_runs",
            "Runs that this process has worked on, by where they stood then.",
            ["state"],
            registry=self.registry,
        )
        self._recovered = Counter(
            "agent_comms_recovered_messages", "Messages that were recovered from artifacts.", registry=self.registry
        )
        Info("agent_comms_build", "The running version.", registry=self.registry).info(
            {"version": version("agent-comms"), "program": "reconcile"}
        )

    def serve(self, port: int) -> None:
        """Serve the metrics on a port; 0 for none. A port that is taken is a warning."""
        if not port:
            return
        try:
            start_http_server(port, registry=self.registry)
        except OSError as error:
            log.warning("metrics: port %d can't be had (%s); it runs without", port, error.strerror)

    def show_queue(self, counts: Mapping[str, int]) -> None:
        """Show how many runs stand where."""
        for state, number in counts.items():
            self._queue.labels(state).set(number)

    def note(self, outcome: Outcome) -> None:
        """Count a run that was worked on."""
        self._runs.labels(outcome.state).inc()
        if outcome.report is not None:
            self._recovered.inc(outcome.report.inserted)
