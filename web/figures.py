"""What Postgres knows and Prometheus is told: how things stand, where nobody counts as they come."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from msgspec import Struct
from prometheus_client.core import GaugeMetricFamily, Metric

import sql
from flows import backlog
from web.metrics import note_question
from web.pool import Connection, Pool
from web.sight import EVERYTHING, seeing


class Standing(Struct, frozen=True):
    """How things stood when they were counted."""

    queue: dict[str, int]
    overdue: float = 0.0
    reconciled: dict[str, int] = {}
    talking: int = 0
    silent: int = 0
    letters: int = 0


def families(standing: Standing) -> Iterator[Metric]:
    """Yield the metrics that tell how things stand."""
    queue = GaugeMetricFamily(
        "agent_comms_reconcile_queue_runs",
        "Completed runs by where they stand in the queue of the reconciliation.",
        labels=["state"],
    )
    for state, number in standing.queue.items():
        queue.add_metric([state], number)
    yield queue
    yield GaugeMetricFamily(
        "agent_comms_reconcile_overdue_seconds",
        "How long the run that is due first has been waiting to be reconciled.",
        standing.overdue,
    )
    reconciled = GaugeMetricFamily(
        "agent_comms_reconciled_recently_runs",
        "Runs reconciled in the last seven days, by whether everything that they said is there; unknown: no artifacts.",
        labels=["complete"],
    )
    for complete in ("true", "false", "unknown"):
        reconciled.add_metric([complete], standing.reconciled.get(complete, 0))
    yield reconciled
    running = GaugeMetricFamily(
        "agent_comms_running_runs",
        "Runs of the last six hours that nobody has called over, by whether they still talk.",
        labels=["activity"],
    )
    running.add_metric(["talking"], standing.talking)
    running.add_metric(["silent"], standing.silent)
    yield running
    yield GaugeMetricFamily(
        "agent_comms_dead_letters_waiting",
        "Dead letters that nobody has replayed or discarded; more than 10,000 are not counted.",
        standing.letters,
    )


class Figures:
    """Counts, one question at a time over a connection of its own.

    Args:
        conninfo: any libpq connection string.
        stale_after: a running run that has been silent for so long is called silent.
    """

    def __init__(self, conninfo: str, stale_after: timedelta) -> None:
        self._pool = Pool(conninfo, 1, note=note_question)
        self._stale_after = stale_after
        self._standing: Standing | None = None

    def count(self) -> None:
        """Count anew.

        Raises:
            psycopg.Error: Postgres doesn't answer.
        """
        # Old figures would pass for new ones.
        self._standing = None
        with seeing(EVERYTHING):
            self._standing = self._pool.ask(self._count)

    def collect(self) -> Iterator[Metric]:
        """Yield what was counted last."""
        return iter(()) if self._standing is None else families(self._standing)

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()

    def _count(self, connection: Connection) -> Standing:
        def one(name: str, **values: object) -> tuple[Any, ...]:
            row = connection.execute(sql.query(name), values).fetchone()
            return row or (0,)

        (overdue,) = one("queue_delay")
        talking, silent = one("count_running", stale_after=self._stale_after)
        (letters,) = one("count_letters")
        return Standing(
            backlog.counts(connection),
            overdue,
            dict(connection.execute(sql.query("count_reconciled")).fetchall()),
            talking,
            silent,
            letters,
        )
