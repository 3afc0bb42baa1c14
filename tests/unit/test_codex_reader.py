import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.codex import FileKind, Reader, State, artifact_name, message_id
from flows.fit import budget
from flows.payload import Speaker, compose
from flows.spelling import Claim
from tests.sidecar import THREAD, event, item, said, talk

TALK = [line.encode() for line in talk(5)]
SPEAKER = Speaker("workflow", "agents", "run-1", "uid-1", "executor")


def reader(kind: FileKind = "codex-events", **options: Any) -> Reader:
    return Reader(kind, "live", "implementation-events", **options)


def read(lines: list[bytes], source: Reader | None = None, first: int = 1) -> list[Claim]:
    source = source or reader()
    return [claim for number, line in enumerate(lines, start=first) for claim in source.read(number, line)]


def only(line: str | bytes, source: Reader | None = None) -> Claim:
    [claim] = read([line.encode() if isinstance(line, str) else line], source)
    return claim


def test_an_id_is_the_files_kind_the_thread_the_number_and_the_bytes() -> None:
    ids = {
        message_id(kind, thread, number, data)
        for kind in ("codex-events", "log")
        for thread in (None, "a", "b")
        for number in (1, 2)
        for data in (b"x", b"y")
    }
    assert len(ids) == 24
    assert message_id("log", None, 1, b"x") == message_id("log", "", 1, b"x")
    # Written down once: another id for the same line would double every row that is stored already.
    assert message_id("codex-events", THREAD, 3, b'{"type":"turn.started"}') == "a5dc6bc622b9d5bae8114f2a41cf77d2"


def test_an_id_is_the_same_however_the_line_ends_and_whatever_the_file_is_called() -> None:
    line = said(1).encode()
    ids = {only(data).message_id for data in (line, line + b"\n", line + b"\r\n", b"\xef\xbb\xbf" + line)}
    other = Reader("codex-events", "backfill", "events").read(1, line)[0]
    assert ids == {other.message_id}


def test_the_thread_in_effect_is_part_of_the_id() -> None:
    first = read([event("thread.started", thread_id="a").encode(), said(1).encode()])
    second = read([event("thread.started", thread_id="b").encode(), said(1).encode()])
    assert first[1].message_id != second[1].message_id
    assert first[0].message_id == message_id("codex-events", "a", 1, event("thread.started", thread_id="a").encode())


def test_no_two_messages_of_a_file_have_one_id() -> None:
    ids = [claim.message_id for claim in read(TALK)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("place", range(0, len(TALK), 3))
def test_a_reader_that_takes_up_anothers_state_reads_the_same(place: int) -> None:
    first = reader()
    before = read(TALK[:place], first)
    kept = msgspec.json.decode(msgspec.json.encode(first.state), type=State)
    after = read(TALK[place:], reader(state=kept), first=place + 1)
    assert before + after == read(TALK)


def test_every_result_has_its_call_before_it() -> None:
    claims = read(TALK)
    for place, claim in enumerate(claims):
        if claim.kind == "tool_result":
            assert claim.attrs
            item_id = claim.attrs["item_id"]
            assert any(
                before.kind == "tool_call" and before.attrs and before.attrs["item_id"] == item_id
                for before in claims[:place]
            )


def test_items_of_two_processes_are_not_taken_for_each_other() -> None:
    started = item("started", 1, "command_execution", command="sleep", status="in_progress").encode()
    ended = item("completed", 1, "command_execution", command="ls", aggregated_output="", exit_code=0).encode()
    thread = event("thread.started", thread_id=THREAD).encode()
    claims = read([thread, started, thread, ended])
    assert [(claim.kind, (claim.attrs or {}).get("synthetic")) for claim in claims] == [
        ("status", None),
        ("tool_call", None),
        ("tool_result", True),
        ("status", None),
        ("tool_call", True),
        ("tool_result", None),
    ]
    assert claims[2].message_id == f"{claims[1].message_id}:interrupted"


@pytest.mark.parametrize(
    ("line", "content"),
    [
        (said(1, "Xy").encode().replace(b"X", b"\\u0000"), "�y"),
        (said(1, "Xy").encode().replace(b"X", b"\0"), "�y"),
        (said(1, "Xy").encode().replace(b"X", b"\\ud83d"), "�y"),
        (said(1, "Xy").encode().replace(b"X", b"\xff"), "�y"),
        (b"\0\0" + said(1, "y").encode() + b"\0", "y"),
        (said(1, "a\u2028b\x1b[31m").encode(), "a\u2028b\x1b[31m"),
    ],
    ids=["escaped NUL", "raw NUL", "half a pair", "no UTF-8", "NULs around", "odd"],
)
def test_what_postgres_cannot_hold_is_replaced(line: bytes, content: str) -> None:
    assert only(line).content == content


def test_what_is_nested_too_deeply_is_left_out() -> None:
    deep = json.loads("[" * 200 + "]" * 200)
    claim = only(item("started", 1, "mcp_tool_call", server="s", tool="t", arguments={"a": deep}, status="in_progress"))
    assert claim.tool
    assert claim.tool["input"] == "(nested too deeply)"
    assert compose(SPEAKER, claim).payload


@pytest.mark.parametrize("line", [b"", b"  \t", b"\0\0\0", b"no JSON", b"[1]", b"7", b"{}", b'{"a":1}', b"{" * 5000])
def test_what_is_no_event_says_nothing(line: bytes) -> None:
    source = reader()
    assert read([line], source) == []
    assert source.state.skipped == ({"not an event": 1} if line.strip(b" \t\0") else {})


def test_a_large_output_is_cut_and_says_where_the_whole_is() -> None:
    line = item("completed", 1, "command_execution", command="cat", aggregated_output="ä" * 700_000, exit_code=0)
    claim = read([line.encode()])[1]
    assert claim.content
    assert claim.content.endswith("\n… [cut: 1,400,000 bytes in all; the whole is line 1 of implementation-events]")
    assert claim.tool == {"name": "shell", "input": {"command": "cat"}, "status": "completed", "exit_code": 0}
    assert claim.attrs
    assert claim.attrs["truncated"] is True
    size = len(compose(SPEAKER, claim).payload)
    assert 1024 * 1024 - 20_000 < size <= 1024 * 1024


def test_an_output_that_fits_once_but_not_twice_is_not_cut() -> None:
    line = item("completed", 1, "command_execution", command="cat", aggregated_output="x" * 900_000, exit_code=0)
    claim = read([line.encode()])[1]
    assert claim.content == "x" * 900_000
    assert claim.tool
    assert "output" not in claim.tool


def test_whatever_is_large_is_cut_no_more_than_it_must() -> None:
    arguments = {"text": "\x1b" * 400_000}
    result = {"content": [{"type": "text", "text": "short"}, {"type": "image", "data": "A" * 2_000_000}]}
    line = item("completed", 1, "mcp_tool_call", server="s", tool="t", arguments=arguments, result=result)
    call, answer = read([line.encode()])
    for claim in (call, answer):
        assert claim.attrs
        assert claim.attrs["truncated"] is True
        assert 1_000_000 < len(compose(SPEAKER, claim).payload) <= 1024 * 1024
    assert answer.content == "short"


def test_a_smaller_budget_cuts_sooner() -> None:
    source = reader(budget=budget(64 * 1024))
    assert len(compose(SPEAKER, only(said(1, "x" * 100_000), source)).payload) < 64 * 1024


def test_a_log_is_one_message_a_line() -> None:
    source = reader("log")
    claims = read([b"  indented  ", b"", b"\t\r", b'{"type":"turn.started"}'], source)
    assert [(claim.kind, claim.role, claim.content) for claim in claims] == [
        ("message", "assistant", "  indented"),
        ("message", "assistant", '{"type":"turn.started"}'),
    ]
    assert claims[0].attrs == {"source": "live", "artifact": "implementation-events", "line": 1}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/workspace/.codex/implementation-events.jsonl", "implementation-events"),
        (".codex-implementation-events.jsonl", "implementation-events"),
        ("a/b/implementation-events.tgz", "implementation-events"),
        (".codex-implementation-agent.log", "implementation-agent-log"),
        ("implementation-agent-log.tgz", "implementation-agent-log"),
        ("out", "out"),
        (".", "file"),
        ("ag\udcffent.log", r"ag\xffent-log"),
        ("half\ud800.jsonl", "half\ufffd"),
    ],
)
def test_an_artifact_is_called_the_same_wherever_it_lies(path: str, name: str) -> None:
    assert artifact_name(path) == name


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
EVENTS = ["thread.started", "turn.completed", "turn.failed", "error", "item.started", "item.updated", "item.completed"]
EVENTS += ["session.created", "session_meta", "response_item", "event_msg", "message", "function_call_output", "future"]
TYPES = st.sampled_from(EVENTS)
ITEMS = ["agent_message", "reasoning", "command_execution", "file_change", "mcp_tool_call", "web_search", "todo_list"]
ITEMS += ["collab_tool_call", "error", "plan", "future"]
FIELDS = ["id", "text", "message", "command", "aggregated_output", "exit_code", "status", "changes", "server", "tool"]
FIELDS += ["arguments", "result", "error", "query", "action", "items", "agents_states", "prompt", "usage", "output"]
FIELDS += ["call_id", "type", "role", "content", "summary", "thread_id", "invocation", "plan", "duration", "questions"]
ITEM = st.builds(
    lambda kind, fields: {"type": kind, **fields},
    st.sampled_from(ITEMS),
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6),
)
EVENT = st.builds(
    lambda kind, fields, inner, place: {"type": kind, place: inner, **fields},
    TYPES,
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
    ITEM,
    st.sampled_from(["item", "msg", "payload"]),
)


@given(st.lists(EVENT.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40), max_size=6))
def test_whatever_comes_is_read_and_can_be_sent(lines: list[bytes]) -> None:
    source = reader()
    for claim in [*read(lines, source), *source.end()]:
        assert claim.content
        assert claim.content.strip()
        assert compose(SPEAKER, claim).payload
    msgspec.json.decode(msgspec.json.encode(source.state), type=State)
