from connectors.suspects import Failure, Suspect, Suspects


def test_suspects_come_back_when_they_are_due_and_the_longest_due_first() -> None:
    suspects: Suspects[str] = Suspects()
    for item, due in (("late", 3.0), ("early", 1.0), ("early too", 1.0)):
        suspects.put(Suspect(item), due)
    assert (len(suspects), suspects.next_due) == (3, 1.0)
    assert suspects.take(0.5) is None
    taken = [suspects.take(2.0) for _ in range(3)]
    assert [suspect.item if suspect else None for suspect in taken] == ["early", "early too", None]
    assert suspects.items == ["late"]
    assert suspects.take(3.0) is not None
    assert suspects.next_due is None


def test_only_what_counts_is_a_try() -> None:
    suspect = Suspect("it")
    suspect.add(Failure("it", "P0001: no", counts=True))
    suspect.add(Failure("it", "57014: too slow", counts=False))
    assert (suspect.failures, suspect.tries, suspect.why) == (2, 1, "57014: too slow")
