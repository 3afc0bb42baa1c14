"""A flow's word, every few seconds, on how far it is: beside its work, in Postgres, where readers see it.

What readers miss may not have been said, or may not be stored yet. The page can't ask NATS which; this tells it.
"""

import logging
import math
import os
import socket
import threading
from datetime import UTC, datetime

import psycopg
from prometheus_client import CollectorRegistry

import sql

log = logging.getLogger(__name__)

EVERY_S = 2.0
# Whoever waits longer for Postgres says nothing this time: silence tells enough.
PATIENCE_MS = 2_000
_NAMES = (
    "agent_comms_consumer_pending_messages",
    "agent_comms_consumer_unacked_messages",
    "agent_comms_dead_letters_total",
    "agent_comms_messages_duplicate_total",
    "agent_comms_messages_received_total",
    "agent_comms_messages_stored_total",
    "agent_comms_oldest_unstored_seconds",
)


class Pulse:
    """Says how far a flow is until the process ends.

    Args:
        conninfo: any libpq connection string.
        registry: holds the flow's metrics.
    """

    def __init__(self, conninfo: str, registry: CollectorRegistry) -> None:
        self._conninfo = conninfo
        self._registry = registry
        self._flow = f"{socket.gethostname()}/{os.getpid()}"
        self._started_at = datetime.now(UTC)
        self._stored = 0
        self._stored_at: datetime | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join(EVERY_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with psycopg.connect(self._conninfo, autocommit=True) as connection:
                    connection.execute(f"SET statement_timeout = {PATIENCE_MS}")
                    while True:
                        connection.execute(sql.query("say_pulse"), self._words())
                        if self._stopping.wait(EVERY_S):
                            return
            except psycopg.Error as error:
                # The writer says at length that Postgres is away.
                log.debug("pulse: %s", error)
            self._stopping.wait(EVERY_S)

    def _words(self) -> dict[str, object]:
        told = self._registry.restricted_registry(_NAMES).collect()
        values: dict[str, float] = {}
        for sample in (sample for metric in told for sample in metric.samples):
            name = sample.name.removeprefix("agent_comms_")
            # Some are told by their reasons.
            values[name] = values.get(name, 0.0) + sample.value

        def value(name: str) -> float | None:
            return None if math.isnan(found := values.get(name, math.nan)) else found

        def whole(name: str) -> int | None:
            return None if (found := value(name)) is None else int(found)

        stored = whole("messages_stored_total") or 0
        if stored > self._stored:
            self._stored, self._stored_at = stored, datetime.now(UTC)
        return {
            "flow": self._flow,
            "started_at": self._started_at,
            "pending": whole("consumer_pending_messages"),
            "unacked": whole("consumer_unacked_messages"),
            "received": whole("messages_received_total") or 0,
            "stored": stored,
            "duplicates": whole("messages_duplicate_total") or 0,
            "dead_letters": whole("dead_letters_total") or 0,
            "stored_at": self._stored_at,
            "oldest_s": value("oldest_unstored_seconds"),
        }
