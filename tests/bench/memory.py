"""The memory of the flow while it drains what has gathered, large messages among it."""

from dataclasses import dataclass
from statistics import fmean
from typing import Annotated

from tests.bench.bench import Bench
from tests.bench.catchup import CatchUp, catch_up
from tests.bench.corpus import MANY_RUNS, large, mixed, spread
from tests.bench.figure import Figure, Results


@dataclass(frozen=True)
class Drained:
    """Resident memory, sampled every 50 ms between the first delivery and the last ack."""

    peak: Annotated[float, Figure("peak, by the kernel's word", "MiB", "≤ 250")]
    first: Annotated[float, Figure("mean of the first third", "MiB")]
    last: Annotated[float, Figure("mean of the last third", "MiB")]
    growth: Annotated[float, Figure("the last third against the first", "MiB", "flat")]
    rate: Annotated[float, Figure("stored and acked", "messages/s")]


def measure(bench: Bench) -> Results:
    """Drain small messages of many runs, the same of some runs with one of 1 MB in 5,000, and large ones in a row."""
    results = {}
    for corpus, load, full in (
        (spread, f"messages of 400 bytes, {MANY_RUNS:,} runs", 1_000_000),
        (mixed, "messages, of 5,000 one with 1 MB", 1_000_000),
        (large, "messages of 1 MB in a row", 400),
    ):
        number = max(300, round(full * bench.scale)) if corpus is large else bench.messages(full)
        bench.fill(corpus, number)
        results[f"{number:,} {load}"] = _drained(catch_up(bench, number))
    return results


def _drained(caught: CatchUp) -> Drained:
    third = max(1, len(caught.memory) // 3)
    first, last = fmean(caught.memory[:third]), fmean(caught.memory[-third:])
    return Drained(caught.peak_mib, first, last, last - first, caught.rate)
