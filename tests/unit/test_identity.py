from datetime import UTC, datetime
from uuid import RFC_4122

from hypothesis import given
from hypothesis import strategies as st

from flows.identity import key_of_id, row_id

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@given(st.lists(st.text(max_size=6), min_size=4, max_size=4), st.lists(st.text(max_size=6), min_size=4, max_size=4))
def test_different_parts_never_read_the_same(one: list[str], other: list[str]) -> None:
    assert (key_of_id(*one) == key_of_id(*other)) == (one == other)


def test_parts_do_not_run_into_each_other() -> None:
    assert key_of_id("run", "a", "bc", "d") != key_of_id("run", "ab", "c", "d")


def test_an_id_is_a_uuid_7_of_the_messages_time() -> None:
    row = row_id(key_of_id("run", "agents", "uid", "m-1"), NOON)
    assert (row.version, row.variant) == (7, RFC_4122)
    assert row.int >> 80 == int(NOON.timestamp() * 1000)


def test_the_same_message_has_the_same_id() -> None:
    key = key_of_id("run", "agents", "uid", "m-1")
    assert row_id(key, NOON) == row_id(key, NOON)
    assert row_id(key, NOON) != row_id(key_of_id("run", "agents", "uid", "m-2"), NOON)
