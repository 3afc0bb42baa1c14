"""How old the oldest unsettled message is, from the few that were seen."""

import random

from flows.lag import MOST_MARKS, Arrivals


def test_a_message_that_was_seen_is_as_old_as_it_is() -> None:
    arrivals = Arrivals()
    arrivals.note(1, 100.0)
    arrivals.note(5, 140.0)
    assert arrivals.since(5) == 140.0


def test_of_any_other_the_one_before_it_gives_the_bound() -> None:
    arrivals = Arrivals()
    arrivals.note(1, 100.0)
    arrivals.note(5, 140.0)
    assert arrivals.since(4) == 100.0
    assert arrivals.since(900) == 140.0


def test_where_nothing_is_known_nothing_is_said() -> None:
    assert Arrivals().since(1) is None


def test_a_message_before_all_that_are_known_counts_from_the_earliest() -> None:
    arrivals = Arrivals()
    arrivals.note(7, 100.0)
    assert arrivals.since(3) == 100.0


def test_what_is_delivered_again_moves_nothing_but_what_comes_before_it() -> None:
    arrivals = Arrivals()
    arrivals.note(50, 150.0)
    arrivals.note(10, 110.0)
    assert arrivals.since(12) == 110.0
    assert arrivals.since(50) == 150.0


def test_a_quiet_night_is_no_age() -> None:
    arrivals = Arrivals()
    arrivals.note(10, 100.0)
    # In the morning the consumer has had everything up to 10, and then 11 comes.
    arrivals.note(11, 30_000.0)
    assert arrivals.since(11) == 30_000.0


def test_a_stream_that_was_made_anew_begins_anew() -> None:
    arrivals = Arrivals()
    for seq in range(1, 100):
        arrivals.note(seq, 1_000.0 + seq)
    arrivals.note(1, 5_000.0)
    assert arrivals.since(1) == 5_000.0
    assert arrivals.since(60) == 5_000.0


def test_it_keeps_few_marks_and_no_bound_is_ever_too_young() -> None:
    arrivals, chance = Arrivals(), random.Random(9)
    floor = 0
    for seq in range(1, 4 * MOST_MARKS):
        arrivals.note(seq, float(seq))
        if chance.random() < 0.01:
            floor = chance.randint(floor, seq)
            since = arrivals.since(floor + 1)
            assert since is not None
            assert since <= floor + 1
    assert len(arrivals._seqs) <= MOST_MARKS + 1
