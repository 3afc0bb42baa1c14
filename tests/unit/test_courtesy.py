"""How much of a backfill is stored at once, alone and beside others."""

import pytest

from flows.courtesy import ALONE_ROWS, BESIDE_BYTES, BESIDE_ROWS, Courtesy

KIB = 1024


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> Courtesy:
    monkeypatch.setattr(Courtesy, "is_alone", False)
    return Courtesy()


def test_alone_as_many_messages_as_pay_are_stored_at_once() -> None:
    assert Courtesy().at_once([400] * 10_000) == ALONE_ROWS
    assert Courtesy().at_once([400] * 7) == 7


def test_large_messages_are_fewer_at_once() -> None:
    assert Courtesy().at_once([KIB * KIB] * 100) == 4


def test_beside_others_what_was_gathered_alone_is_stored_a_little_at_a_time(beside: Courtesy) -> None:
    assert beside.at_once([400] * ALONE_ROWS) == BESIDE_ROWS
    assert beside.at_once([4 * KIB] * ALONE_ROWS) == BESIDE_BYTES // (4 * KIB)


def test_beside_others_a_message_larger_than_all_that_is_stored_at_once_is_stored_by_itself(beside: Courtesy) -> None:
    assert beside.at_once([KIB * KIB] * 3) == 1
    assert beside.rest(0.01) > 0
