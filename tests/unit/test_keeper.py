"""What takes a look at all that a run said is looked for once, until the run is another."""

from tests.unit.events import run
from web.keeper import MOST_KEPT, Keeper


class Reading:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> int:
        self.times += 1
        return self.times


def test_it_is_read_again_once_the_run_has_changed() -> None:
    keeper, read = Keeper[int](), Reading()
    assert [keeper.get(run(messages=3), read) for _ in range(3)] == [1, 1, 1]
    assert keeper.get(run(messages=4), read) == 2
    assert keeper.get(run(messages=4, state="failed"), read) == 3


def test_what_is_large_is_not_kept_and_what_was_asked_for_long_ago_is_let_go() -> None:
    keeper, read = Keeper[int](lambda number: number != 1), Reading()
    assert [keeper.get(run(), read) for _ in range(3)] == [1, 2, 2]
    for number in range(MOST_KEPT):
        keeper.get(run(messages=number + 100), read)
    assert keeper.get(run(), read) == 2 + MOST_KEPT + 1
