from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from connectors.ranges import Ranges

SPANS = st.tuples(st.integers(0, 40), st.integers(0, 40))


@given(st.lists(st.tuples(st.booleans(), SPANS)))
def test_ranges_are_a_set_of_numbers(steps: list[tuple[bool, tuple[int, int]]]) -> None:
    ranges, numbers = Ranges(), set[int]()
    for is_added, (begin, end) in steps:
        if is_added:
            ranges.add(begin, end)
            numbers |= set(range(begin, end))
        else:
            ranges.remove(begin, end)
            numbers -= set(range(begin, end))
        kept = list(ranges)
        assert {number for first, last in kept for number in range(first, last)} == numbers
        assert len(ranges) == len(numbers)
        # They are in order, and none touches the next.
        assert all(before[1] < after[0] for before, after in pairwise(kept))
        for number in range(42):
            assert ranges.end_of(number) == next((n for n in range(number, 42) if n not in numbers), 42)
