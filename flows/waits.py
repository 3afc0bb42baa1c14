"""Why what is to be stored waits, if it does."""

import threading

from prometheus_client import CollectorRegistry, Gauge

# Where Postgres names no class of error, the connection is gone.
NO_CONNECTION = "08"
# Beside the classes of error codes.
UNANSWERED = "unanswered"
# Besides, where it is shut down or starts.
_GONE = (NO_CONNECTION, "57P", UNANSWERED)


class Waits:
    """Tells Prometheus for each sink why it waits, until it has stored something.

    Args:
        registry: takes the metric.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}
        self._gauge = Gauge(
            "agent_comms_store_waits",
            "1 while a batch waits since Postgres refuses it, by the class of its error code, or does not answer it.",
            ["class"],
            registry=registry,
        )
        self._gauge.labels(UNANSWERED)

    @property
    def are_answered(self) -> bool:
        """Whether Postgres answers every sink, be it by a refusal."""
        with self._lock:
            return not any(state.startswith(_GONE) for state in self._states.values())

    def begin(self, sink: str, state: str) -> None:
        """Note why a sink waits: an error code, or `UNANSWERED`."""
        self._change(sink, state)

    def end(self, sink: str) -> None:
        """Note that a sink has stored something."""
        # Of each batch it is told, and there is mostly nothing to change.
        if sink in self._states:
            self._change(sink, None)

    def _change(self, sink: str, state: str | None) -> None:
        with self._lock:
            before = self._states.pop(sink, None)
            if state:
                self._states[sink] = state
            now = {class_of(each) for each in self._states.values()}
            for label in now | ({class_of(before)} if before else set()):
                self._gauge.labels(label).set(label in now)


def class_of(state: str) -> str:
    """Return the class of an error code; of anything else itself."""
    return state if state == UNANSWERED else state[:2]
