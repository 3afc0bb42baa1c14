"""Items that failed alone, set aside so that they delay nobody, until they are tried again."""

import heapq
import itertools
from dataclasses import dataclass, field
from typing import Generic, TypeVar

X = TypeVar("X")


@dataclass(frozen=True)
class Failure(Generic[X]):
    """A try of one item, alone.

    Attributes:
        item: what was tried.
        why: the error in one line.
        counts: whether it speaks against the item.
    """

    item: X
    why: str
    counts: bool


@dataclass
class Suspect(Generic[X]):
    """An item under suspicion.

    Attributes:
        item: what is tried again.
        failures: how often it has failed.
        tries: how many of these speak against it.
        why: the last error, in one line.
    """

    item: X
    failures: int = 0
    tries: int = 0
    why: str = ""

    def add(self, failure: Failure[X]) -> None:
        """Note one more failure."""
        self.failures += 1
        self.tries += failure.counts
        self.why = failure.why


@dataclass(order=True)
class _Entry(Generic[X]):
    due: float
    number: int
    suspect: Suspect[X] = field(compare=False)


class Suspects(Generic[X]):
    """Suspects by the time when each is due. Times are seconds on any one clock."""

    def __init__(self) -> None:
        self._heap: list[_Entry[X]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def items(self) -> list[X]:
        """What is set aside."""
        return [entry.suspect.item for entry in self._heap]

    @property
    def next_due(self) -> float | None:
        """When the first is due; None where there is none."""
        return self._heap[0].due if self._heap else None

    def put(self, suspect: Suspect[X], due: float) -> None:
        """Set an item aside until a time."""
        heapq.heappush(self._heap, _Entry(due, next(self._numbers), suspect))

    def take(self, now: float) -> Suspect[X] | None:
        """Take the one that has been due for longest, where one is."""
        due = self.next_due
        return heapq.heappop(self._heap).suspect if due is not None and due <= now else None
