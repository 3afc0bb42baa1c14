"""What the client of a socket may ask, and the frames that answer it."""

import pytest

from web.operation import Ping, Publish, Subscribe, Unreadable, Unsubscribe, read
from web.problems import Problem
from web.wire import text_frame


def test_each_operation_is_read() -> None:
    assert read('{"op":"ping"}') == Ping()
    assert read('{"op":"unsubscribe","id":"a"}') == Unsubscribe("a")
    assert read('{"op":"publish","run":"r","content":"é"}') == Publish(
        '{"content":"é","run_id":"r"}'.encode(), by_run=True
    )
    assert read('{"op":"publish","content":"é","id":"m"}') == Publish('{"content":"é","id":"m"}'.encode())
    asked = read('{"op":"subscribe","run":"r","workflowNamespace":"n","kind":"error, status","lastEventId":7}')
    assert isinstance(asked, Subscribe)
    scope = asked.scope()
    assert (asked.run, scope.workflow_namespace, scope.kinds) == ("r", "n", ("error", "status"))
    assert asked.start().cursor == 7


@pytest.mark.parametrize(
    ("cursor", "expected"),
    [("null", (None, False)), ('""', (None, False)), ('"x"', (None, True)), ("-1", (None, True))],
)
def test_a_cursor_is_read_as_in_a_header(cursor: str, expected: tuple[int | None, bool]) -> None:
    asked = read(f'{{"op":"subscribe","run":"r","lastEventId":{cursor}}}')
    assert isinstance(asked, Subscribe)
    assert (asked.start().cursor, asked.start().gap) == expected


def test_a_subscription_names_a_run_or_the_general_channel() -> None:
    asked = read('{"op":"subscribe","workflowNamespace":"n"}')
    assert isinstance(asked, Subscribe)
    with pytest.raises(Problem) as raised:
        asked.scope()
    assert raised.value.parameter == "run"


@pytest.mark.parametrize("text", ["", "{", '{"op":{}}', '{"op":"subscribe","limit":1e999}', '{"a":1}', "\ud800"])
def test_whatever_comes_it_is_read_or_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read(text)


@pytest.mark.parametrize(("size", "head"), [(0, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)])
def test_a_frame_says_how_long_it_is(size: int, head: int) -> None:
    frame = text_frame(b"x" * size)
    assert frame[0] == 0x81
    assert len(frame) == head + size
    if head > 2:
        assert int.from_bytes(frame[2:head]) == size
