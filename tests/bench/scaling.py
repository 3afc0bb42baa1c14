"""What more flows on one durable add, and more workers in one flow."""

from dataclasses import dataclass
from typing import Annotated

from tests.bench.bench import Bench
from tests.bench.catchup import CatchUp, catch_up
from tests.bench.corpus import plain
from tests.bench.figure import Figure, Results


@dataclass(frozen=True)
class Scaled:
    """A catch-up by several, against one flow's in the same run."""

    rate: Annotated[float, Figure("stored and acked", "messages/s")]
    ratio: Annotated[float, Figure("by what one flow stores")]
    flows_us: Annotated[float, Figure("CPU a message, of all flows together", "µs")]
    idle: Annotated[float, Figure("of the cores' time: idle", "%")]


def measure(bench: Bench) -> Results:
    """Store the same stream by one, two and three flows, and by two workers."""
    number = bench.messages(300_000)
    bench.fill(plain, number)
    one = catch_up(bench, number)
    several = {
        "one flow": one,
        "two flows": catch_up(bench, number, flows=2),
        "three flows": catch_up(bench, number, flows=3),
        "one flow, -w 2": catch_up(bench, number, workers=2),
    }
    return {name: _scaled(caught, one) for name, caught in several.items()}


def _scaled(caught: CatchUp, one: CatchUp) -> Scaled:
    return Scaled(caught.rate, caught.rate / one.rate, caught.flow_us, caught.idle)
