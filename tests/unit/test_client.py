"""The reading of NATS' wire, whatever way it is cut into pieces."""

import asyncio
import tracemalloc
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import ProtocolError

from connectors.client import RawMessage, TolerantClient

RAW_SID, OTHER_SID = 7, 8

word = st.text(alphabet="abc.-_$", min_size=1, max_size=8).map(str.encode)
body = st.binary(max_size=40) | st.sampled_from([b"", b"\r\n", b"MSG a 7 3\r\nabc\r\n", b"PING\r\n", b"\xff\xfe"])
message = st.tuples(word, st.none() | word, st.none() | body, body)


def wire(subject: bytes, reply: bytes | None, headers: bytes | None, data: bytes, sid: int = RAW_SID) -> bytes:
    words = [b"HMSG" if headers else b"MSG", subject, b"%d" % sid, *([reply] if reply else [])]
    words += [b"%d" % len(headers), b"%d" % (len(headers) + len(data))] if headers else [b"%d" % len(data)]
    return b" ".join(words) + b"\r\n" + (headers or b"") + data + b"\r\n"


def heard(pieces: Sequence[bytes]) -> list[RawMessage]:
    """Return what a raw subscription is handed of these pieces."""
    messages: list[RawMessage] = []

    async def listen() -> None:
        client = TolerantClient()
        client._raw[str(RAW_SID)] = messages.extend
        for piece in pieces:
            await client._ps.parse(piece)

    asyncio.run(listen())
    return messages


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    ends = [*sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@given(st.lists(message, max_size=6), st.lists(st.integers(min_value=0, max_value=2_000), max_size=8))
def test_every_message_is_handed_over_once_and_whole(
    messages: list[tuple[bytes, bytes | None, bytes | None, bytes]], places: list[int]
) -> None:
    expected = [
        (subject.decode(), (reply or b"").decode(), data, headers or b"") for subject, reply, headers, data in messages
    ]
    between = b"+OK\r\n" + wire(b"a", None, None, b"not ours", sid=OTHER_SID)
    data = between.join(wire(*one) for one in messages) + between
    assert heard(cut(data, places)) == expected


def test_each_byte_may_come_by_itself() -> None:
    data = wire(b"a", b"r", b"NATS/1.0\r\n\r\n", b"one") + wire(b"b", None, None, b"two")
    assert heard([bytes([byte]) for byte in data]) == [("a", "r", b"one", b"NATS/1.0\r\n\r\n"), ("b", "", b"two", b"")]


def test_what_no_raw_subscription_waits_for_is_left_to_the_client() -> None:
    data = wire(b"a", None, None, b"not ours", sid=OTHER_SID) + wire(b"b", None, None, b"ours")
    assert heard([data]) == [("b", "", b"ours", b"")]


def test_a_subject_that_is_no_text_is_handed_over_all_the_same() -> None:
    assert heard([wire(b"a\xffb", None, None, b"")]) == [("a�b", "", b"", b"")]


@pytest.mark.parametrize(
    "line",
    [
        b"HELLO\r\n",
        b"MSG\r\n",
        b"MSG a\r\n",
        b"MSG a 7 x\r\n",
        b"HMSG a 7 5\r\n",
        b"MSG a 7 -9\r\n",
        b"MSG a 8 -9\r\n",
        b"HMSG a 7 9 5\r\n",
        b"x" * 2_000_000,
    ],
)
def test_what_is_no_protocol_ends_the_connection(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        heard([line])


def test_a_large_message_in_many_pieces_is_joined_once() -> None:
    size = 4_000_000
    data = wire(b"a", None, None, bytes(size))
    pieces = [data[start : start + 32_768] for start in range(0, len(data), 32_768)]
    tracemalloc.start()
    try:
        ((_, _, body, _),) = heard(pieces)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(body) == size
    assert peak < 3 * size
