"""What goes over the wire to live clients."""

import json
from datetime import UTC, datetime

import pytest

from flows.message import Event
from web import frame
from web.frame import SSE, SSE_WITH_HTML, Chunk, Item, message_item


def item(seq: int, content: str = "hello", kind: str = "message") -> Item:
    now = datetime(2026, 5, 4, tzinfo=UTC)
    return message_item(
        Event(
            id="00000000-0000-0000-0000-000000000000",
            seq=seq,
            workflow_uid="u",
            workflow_name="n",
            workflow_namespace="agents",
            run_id=None,
            step_id=None,
            agent_id="planner",
            role="assistant",
            kind=kind,
            timestamp=now,
            channel="run",
            stage=None,
            content=content,
            tool=None,
            attrs={},
            created_at=now,
        )
    )


def written(chunk: Chunk, *, with_html: bool = False) -> list[str]:
    """Return the data lines of a chunk."""
    text = b"".join(chunk.pieces(SSE_WITH_HTML if with_html else SSE)).decode()
    return [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]


def test_a_frame_is_one_line_of_data_whatever_was_said() -> None:
    said = "two\nlines\r\n\rand\u2028more"
    (piece,) = Chunk([item(7, said)]).pieces(SSE)
    first, data, *rest = piece.decode().split("\n")
    assert first == "id: 7"
    assert json.loads(data.removeprefix("data: "))["content"] == said
    assert rest == ["", ""]


def test_pieces_are_joined_to_a_good_size_in_order() -> None:
    chunk = Chunk([item(n, "x" * 1_000) for n in range(1, 201)])
    pieces = chunk.pieces(SSE)
    assert 1 < len(pieces) < 200
    assert max(map(len, pieces)) <= frame.PIECE_BYTES
    assert [json.loads(data)["seq"] for data in written(chunk)] == list(range(1, 201))


def test_what_comes_after_a_cursor_is_shared_where_it_is_all() -> None:
    chunk = Chunk([item(3), item(4), item(6)])
    assert chunk.later_than(2) is chunk
    later = chunk.later_than(4)
    assert later is not None
    assert [one.seq for one in later.items] == [6]
    assert chunk.later_than(6) is None


def test_a_message_that_cannot_be_rendered_is_left_out_of_the_pages_streams(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def render(event: Event) -> str:
        if event.seq == 2:
            raise ValueError
        return f"<p>{event.seq}</p>"

    monkeypatch.setattr(frame, "message_html", render)
    chunk = Chunk([item(1), item(2), item(3)])
    assert [json.loads(data)["html"] for data in written(chunk, with_html=True)] == ["<p>1</p>", "<p>3</p>"]
    assert len(written(chunk)) == 3
    assert "message 2 cannot be rendered" in caplog.text
    assert Chunk([item(2)]).pieces(SSE_WITH_HTML) == []


def test_a_page_which_sees_no_comments_is_told_by_an_event_that_its_stream_lives() -> None:
    assert SSE.beat() == b":\n\n"
    assert SSE_WITH_HTML.beat() == b":\n\nevent: alive\ndata: {}\n\n"


def test_a_control_event_repeats_the_cursor() -> None:
    assert SSE.control("stale", 5, {"stale": True}) == b'event: stale\nid: 5\ndata: {"stale":true}\n\n'
    assert SSE.control("stale", None, {}) == b"event: stale\ndata: {}\n\n"
