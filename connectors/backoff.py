"""How long to wait before Postgres is tried again."""

import random

BACKOFF_S = (0.1, 5.0)


def backoff(failures: int, between: tuple[float, float] | None = None) -> float:
    """Return seconds to wait after so many failures in a row, from the least to the most."""
    least, most = between or BACKOFF_S
    jitter = random.uniform(0.5, 1)  # noqa: S311 - no secret
    return float(min(most, least * 2 ** min(failures, 10)) * jitter)
