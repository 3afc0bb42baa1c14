"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable

# What is well takes a hundredth of it; a machine that is busy takes thirty times as long as an idle one.
PATIENCE_S = 300.0
GLANCE_S = 0.02


def wait_until(condition: Callable[[], object], what: str = "", patience: float = PATIENCE_S) -> None:
    """Return once the condition holds; fail with `what` where it doesn't in `patience` seconds."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"waited {patience:.0f} s in vain for: {what or condition}"
        time.sleep(GLANCE_S)
