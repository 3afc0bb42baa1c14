from datetime import UTC, datetime
from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from flows.identity import Scope, row_id

NOON = int(datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp() * 1000)
four = st.tuples(*[st.text(max_size=6)] * 4)


def key(domain: str = "run", namespace: str = "agents", uid: str = "uid", message_id: str = "m-1") -> str:
    return Scope(domain, namespace, uid).key_of_id(message_id)


@given(four, four)
def test_different_parts_never_read_the_same(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (key(*one) == key(*other)) == (one == other)


def test_parts_do_not_run_into_each_other() -> None:
    assert key("run", "a", "bc", "d") != key("run", "ab", "c", "d")


def test_an_id_is_a_uuid_7_of_the_messages_time() -> None:
    row = UUID(bytes=row_id(key(), NOON))
    assert (row.version, row.variant) == (7, RFC_4122)
    assert row.int >> 80 == NOON


def test_the_same_message_has_the_same_id() -> None:
    assert row_id(key(), NOON) == row_id(key(), NOON)
    assert row_id(key(), NOON) != row_id(key(message_id="m-2"), NOON)
