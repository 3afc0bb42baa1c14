"""A run over time, a lane an agent."""

from datetime import timedelta

from tests.unit.events import NOON
from web.lanes import MOST_LANES, OTHERS, Lanes, Row, lanes_of


def test_those_who_say_most_have_a_lane_each_and_the_general_channel_comes_last() -> None:
    many: dict[str, list[Row]] = {f"agent-{n}": [(n, 100 - n, 1, 0, None)] for n in range(12)}
    lanes = lanes_of({**many, "": [(3, 2, 0, 0, None)]})
    assert [lane.agent for lane in lanes] == [*(f"agent-{n}" for n in range(MOST_LANES - 1)), OTHERS, ""]
    assert lanes[-2].messages == sum(100 - n for n in range(MOST_LANES - 1, 12))


def test_a_failure_is_marked_where_it_was_first() -> None:
    first = NOON + timedelta(seconds=5)
    (lane,) = lanes_of({"executor": [(4, 10, 5, 2, first), (9, 1, 1, 1, NOON + timedelta(minutes=1))]})
    assert lane.failures == 3
    assert [(mark.slice, mark.at, mark.count) for mark in lane.marks] == [
        (4, first, 2),
        (9, NOON + timedelta(minutes=1), 1),
    ]
    assert lane.bars.startswith("M4 10v-10.0h1V10z")
    assert lane.ticks == "M4 0h1v3h-1zM9 0h1v3h-1z"
    assert Lanes(NOON, 60.0, [lane]).last_at == NOON + timedelta(minutes=1)
