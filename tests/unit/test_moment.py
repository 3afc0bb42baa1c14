from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.moment import EARLIEST_US, LAST_US, NEIGHBOURS, RUN, SECOND, STEP, THREAD, Place, Window, place

BEGIN = 1_700_000_000 * SECOND
END = BEGIN + 600 * SECOND
RUNS = Window(BEGIN, END, written=BEGIN + 1_000 * SECOND)


def times(placed: list[tuple[int, str]]) -> list[int]:
    return [time for time, _ in placed]


def sources(placed: list[tuple[int, str]]) -> list[str]:
    return [source for _, source in placed]


def test_a_file_is_spread_over_its_run_from_its_thread_on() -> None:
    placed = place([None] * 5, {}, {0: BEGIN + 100 * SECOND}, RUNS, Place())
    assert times(placed) == [BEGIN + (100 + 100 * at) * SECOND for at in range(5)]
    assert set(sources(placed)) == {THREAD}


def test_without_a_thread_it_is_spread_over_the_whole_run() -> None:
    placed = place([None] * 5, {}, {}, RUNS, Place())
    assert times(placed) == [BEGIN + 100 * at * SECOND for at in range(1, 6)]
    assert set(sources(placed)) == {RUN}


@pytest.mark.parametrize("begun", [BEGIN - 3 * SECOND, END + 3 * SECOND])
def test_a_thread_that_can_not_be_of_this_run_tells_nothing(begun: int) -> None:
    assert set(sources(place([None] * 5, {}, {0: begun}, RUNS, Place()))) == {RUN}


@pytest.mark.parametrize("begun", [BEGIN - SECOND, END + SECOND])
def test_a_window_of_whole_seconds_is_taken_leniently(begun: int) -> None:
    assert place([None] * 5, {}, {0: begun}, RUNS, Place())[0] == (begun, THREAD)


def test_a_thread_that_is_taken_up_again_does_not_go_back() -> None:
    begun = BEGIN + 100 * SECOND
    placed = place([None] * 6, {}, {0: begun, 3: begun}, RUNS, Place())
    assert times(placed) == sorted(set(times(placed)))


def test_what_is_missing_lies_between_what_is_known() -> None:
    first, last = BEGIN + 10 * SECOND, BEGIN + 20 * SECOND
    placed = place([first, None, None, None, last], {}, {}, RUNS, Place())
    assert times(placed) == [first, *(first + at * 2_500_000 for at in (1, 2, 3)), last]
    assert set(sources(placed)) == {NEIGHBOURS}


def test_where_there_is_no_room_it_comes_with_the_one_before() -> None:
    first = BEGIN + 10 * SECOND
    placed = place([first, None, None, None, first + 2], {}, {}, RUNS, Place())
    assert times(placed) == [first, first + 1, first + 1, first + 1, first + 2]
    assert times(place([first, None, first], {}, {}, RUNS, Place())) == [first] * 3


def test_what_follows_a_clock_that_went_back_follows_what_is_before_it() -> None:
    late, early = BEGIN + 20 * SECOND, BEGIN + 10 * SECOND
    assert times(place([late, None, early], {}, {}, RUNS, Place()))[1] >= late


def test_a_line_that_says_its_time_is_believed() -> None:
    said = BEGIN + 7 * SECOND
    placed = place([None, None, None], {1: said}, {}, RUNS, Place())
    assert placed[1] == (said, "event")
    assert placed[0][0] < said < placed[2][0]


@pytest.mark.parametrize(
    ("said", "believed"),
    [
        ([0, 10, 20, 5, 30], [0, 1, 2, 4]),
        ([0, 90, 10, 20, 30], [0, 2, 3, 4]),
        ([0, 20, 10, None, 15], [0, 2, 4]),
        ([0, 0, 0, 1, 1], [0, 1, 2, 3, 4]),
        ([50, 0, 10, 20, 30], [1, 2, 3, 4]),
    ],
)
def test_lines_whose_times_go_back_stay_in_the_order_of_their_file(said: list[int | None], believed: list[int]) -> None:
    told = {at: BEGIN + 100 * SECOND + time * SECOND for at, time in enumerate(said) if time is not None}
    placed = place([None] * len(said), told, {}, RUNS, Place())
    assert all(earlier < later for earlier, later in pairwise(times(placed)))
    assert [at for at, source in enumerate(sources(placed)) if source == "event"] == believed
    assert all(abs(placed[at][0] - told[at]) < STEP for at in believed)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_line_that_says_its_time_stays_beside_the_live_ones_around_it(at: int) -> None:
    known: list[int | None] = [BEGIN + SECOND] * 2
    known.insert(at, None)
    for said in (BEGIN, BEGIN + SECOND, BEGIN + 2 * SECOND):
        placed = times(place(known, {at: said}, {}, RUNS, Place()))
        assert placed == sorted(placed)
        assert [time for number, time in enumerate(placed) if number != at] == [BEGIN + SECOND] * 2


@pytest.mark.parametrize("known", [EARLIEST_US, LAST_US])
def test_no_time_lies_beyond_what_can_be_written_down(known: int) -> None:
    alone = Window(None, None, written=END)
    for place_of_known in range(4):
        all_known = [known if at == place_of_known else None for at in range(4)]
        assert all(EARLIEST_US <= time <= LAST_US for time in times(place(all_known, {}, {}, alone, Place())))


def test_a_thread_of_a_time_before_anybody_spoke_tells_nothing() -> None:
    alone = Window(None, None, written=END)
    assert set(sources(place([None] * 3, {}, {0: 5_000}, alone, Place()))) == {"artifact"}


def test_sheets_go_on_where_the_one_before_has_ended() -> None:
    so_far = Place()
    first = place([None] * 3, {}, {0: BEGIN}, RUNS, so_far, to_come=3)
    second = place([None] * 3, {}, {}, RUNS, so_far)
    together = times(first) + times(second)
    assert together == sorted(set(together))
    assert set(sources(second)) == {THREAD}
    assert together[-1] < END


def test_what_is_known_of_the_next_sheet_bounds_this_one() -> None:
    known = BEGIN + 10 * SECOND
    placed = place([known, None, None], {}, {}, RUNS, Place(), next_known=known + SECOND, to_come=10)
    assert known < placed[1][0] < placed[2][0] < known + SECOND


def test_an_attempt_has_ended_before_the_next_begins() -> None:
    begun = BEGIN + 100 * SECOND
    placed = place([None] * 5, {}, {0: begun}, RUNS, Place(), others=[begun - SECOND, begun + 10 * SECOND])
    assert placed[-1][0] < begun + 10 * SECOND


def test_a_file_was_written_before_it_was_written_for_the_last_time() -> None:
    written = Window(BEGIN, END, written=BEGIN + 60 * SECOND)
    assert place([None] * 5, {}, {}, written, Place())[-1][0] < BEGIN + 60 * SECOND


def test_without_any_end_messages_follow_each_other_at_once() -> None:
    begun = BEGIN + 100 * SECOND
    alone = Window(None, None, written=begun + 10**6 * SECOND)
    placed = place([None] * 3, {}, {0: begun}, alone, Place())
    assert times(placed) == [begun, begun + STEP, begun + 2 * STEP]


def test_without_anything_the_file_tells_when_it_was_written() -> None:
    placed = place([None] * 3, {}, {}, Window(None, None, written=END), Place())
    assert set(sources(placed)) == {"artifact"}
    assert times(placed) == sorted(set(times(placed)))
    assert END - SECOND < placed[-1][0] < END


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 5_000)), min_size=1, max_size=40),
    st.dictionaries(st.integers(0, 39), st.integers(0, 5_000), max_size=3),
    st.lists(st.integers(1, 10), max_size=5),
    st.booleans(),
)
def test_what_is_known_stays_and_all_is_in_order_where_what_is_known_is(
    gaps: list[int | None], threads: dict[int, int], cuts: list[int], has_window: bool
) -> None:
    known: list[int | None] = []
    last = BEGIN
    for gap in gaps:
        last += gap or 0
        known.append(None if gap is None else last)
    window = RUNS if has_window else Window(None, None, written=END)
    so_far, placed, begin = Place(), [], 0
    for cut in [*cuts, len(known)]:
        part = known[begin : begin + cut]
        after = next((time for time in known[begin + cut :] if time is not None), None)
        begun = {at - begin: BEGIN + time for at, time in threads.items() if begin <= at < begin + len(part)}
        if part:
            placed += place(part, {}, begun, window, so_far, next_known=after, to_come=len(known) - begin - len(part))
        begin += cut
    assert [time for time, was in zip(times(placed), known, strict=True) if was is not None] == [
        time for time in known if time is not None
    ]
    assert all(earlier <= later for earlier, later in pairwise(times(placed)))
    if all(gap is None for gap in gaps):
        assert all(earlier < later for earlier, later in pairwise(times(placed)))
