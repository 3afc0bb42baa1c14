"""A set of whole numbers, kept as ranges: what is done mostly follows what is done already."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class Ranges:
    """Numbers from a first one up to before a last one, and such again.

    Args:
        ranges: as iterating over another one gave them.
    """

    __slots__ = ("_begins", "_ends")

    def __init__(self, ranges: Iterable[tuple[int, int]] = ()) -> None:
        self._begins: list[int] = []
        self._ends: list[int] = []
        for begin, end in ranges:
            self.add(begin, end)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(list(self._begins), list(self._ends), strict=True)

    def __len__(self) -> int:
        """How many numbers they are."""
        return sum(self._ends) - sum(self._begins)

    def add(self, begin: int, end: int) -> None:
        """Put in all from `begin` to before `end`."""
        if begin >= end:
            return
        # Those that this one touches become one with it.
        first = bisect_right(self._begins, begin)
        if first and self._ends[first - 1] >= begin:
            first -= 1
        last = bisect_right(self._begins, end)
        if first < last:
            begin = min(begin, self._begins[first])
            end = max(end, self._ends[last - 1])
        self._begins[first:last] = [begin]
        self._ends[first:last] = [end]

    def remove(self, begin: int, end: int) -> None:
        """Take out all from `begin` to before `end`."""
        first = bisect_right(self._begins, begin)
        if first and self._ends[first - 1] > begin:
            first -= 1
        last = bisect_right(self._begins, end - 1)
        if begin >= end or first >= last:
            return
        before, after = self._begins[first], self._ends[last - 1]
        left = [each for each in ((before, begin), (end, after)) if each[0] < each[1]]
        self._begins[first:last] = [each[0] for each in left]
        self._ends[first:last] = [each[1] for each in left]

    def end_of(self, number: int) -> int:
        """Return where the range that holds a number ends; the number itself where none does."""
        place = bisect_right(self._begins, number)
        return max(number, self._ends[place - 1]) if place else number
