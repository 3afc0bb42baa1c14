import pickle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from connectors.archive import Limits
from connectors.objects import Objects
from flows import page, sheet
from flows.artifact import artifact
from flows.codex import Reader
from flows.identity import Scope
from flows.reading import SheetReader
from flows.sheet import Begun, Found, Over, Part, Read, Sheet, Skimmed, Task
from tests.artifacts import EVENTS, LOG, REDACTOR, STREAMS, Archive, tgz
from tests.sidecar import THREAD, event, item, said, talk


def task(archive: Archive, **done: int) -> Task:
    """Everything in a folder as one run; what is done has been read before, with so many messages of the agent."""
    objects = Objects(str(archive.folder))
    found = [known for each in objects.list() if (known := artifact(each, objects.location(each.key)))]
    parts = [Part(each, each.name not in done, done.get(each.name, 0)) for each in found]
    return Task(7, "agents", "uid-1", parts, {"run_id": "run-1"})


def read(archive: Archive, what: Task | None = None, **options: Any) -> list[Found]:
    reader = SheetReader(Objects(str(archive.folder)), REDACTOR, 1024 * 1024, **options)
    return [sheet.decode(found) for found in reader(what or task(archive))]


def sheets(found: list[Found]) -> list[Sheet]:
    return [each for each in found if isinstance(each, Sheet)]


def reads(found: list[Found]) -> list[Read]:
    return [each for each in found if isinstance(each, Read)]


def skimmed(found: list[Found]) -> list[Skimmed]:
    return [each for each in found if isinstance(each, Skimmed)]


def keys(found: list[Found]) -> list[str]:
    return [key for each in sheets(found) for key in each.keys]


def claims(found: list[Found]) -> list[dict[str, Any]]:
    """What is on the sheets, as payloads."""
    drafts = [draft for each in sheets(found) for draft in each.drafts if draft]
    made = [(draft, msgspec.json.decode(draft.attrs + b"}")) for draft in drafts]
    return [
        {"kind": draft.kind, "role": draft.role, "content": draft.content.decode(), "tool": attrs.pop("tool", None)}
        | {"attrs": attrs}
        for draft, attrs in made
    ]


@pytest.mark.parametrize("name", STREAMS)
def test_a_file_is_read_as_the_publisher_reads_it(name: str, archive: Archive) -> None:
    archive.add("run-1", STREAMS[name])
    found = read(archive)
    reader = Reader("codex-events", "live", EVENTS)
    expected = [
        claim for number, line in enumerate(STREAMS[name].split(b"\n"), 1) for claim in reader.read(number, line)
    ] + reader.end()
    scope = Scope("run", "agents", "uid-1")
    assert keys(found) == [scope.key_of_id(c.message_id or "") for c in expected]
    for read_, claim in zip(claims(found), expected, strict=True):
        assert (read_["kind"], read_["role"], read_["content"]) == (claim.kind, claim.role, claim.content)
        assert read_.get("tool") == msgspec.to_builtins(claim.tool)
        attrs = read_["attrs"]
        assert attrs.pop("artifact_key") == "run-1/run-1/implementation-events.tgz"
        assert (attrs.pop("message_id"), attrs.pop("runtime")) == (claim.message_id, "native")
        claim.attrs = {**(claim.attrs or {}), "source": "backfill"}
        # It follows once the message has its time.
        claim.attrs.pop("timestamp_source", None)
        assert attrs == msgspec.to_builtins(claim.attrs)


def test_a_run_is_told_from_its_beginning_to_its_end(archive: Archive) -> None:
    archive.add("run-1", talk(1))
    found = read(archive)
    assert [type(each) for each in found] == [Begun, Sheet, Read, Over]
    assert {each.run for each in found} == {7}


def test_no_credential_is_handed_on(archive: Archive) -> None:
    token = "ghp_" + "0123456789" * 4
    archive.add("run-1", [item("completed", 1, "agent_message", text=f"it is {token}"), said(1)])
    encoded = [*SheetReader(Objects(str(archive.folder)), REDACTOR, 1024 * 1024)(task(archive))]
    assert not any(token.encode() in each for each in encoded)
    assert [claim["content"] for claim in claims(read(archive))] == ["it is [redacted:github-token]", "message 1"]


def test_a_large_file_comes_on_several_sheets(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "SHEET_ROWS", 10)
    archive.add("run-1", talk(10), end="")
    found = sheets(read(archive))
    assert len(found) > 5
    assert [each.is_last for each in found] == [False] * (len(found) - 1) + [True]
    assert [each.share for each in found] == sorted(each.share for each in found)
    assert sum(each.lines for each in found) == len(list(talk(10)))


def test_it_is_noted_when_a_thread_began_by_its_id(archive: Archive) -> None:
    lines = [event("thread.started", thread_id=THREAD), said(0), event("thread.started", thread_id="t-2"), said(1)]
    archive.add("run-1", lines)
    (only,) = sheets(read(archive))
    assert only.threads == {0: int(THREAD.replace("-", "")[:12], 16) * 1_000, 2: None}


def test_what_a_thread_leaves_open_belongs_to_it(archive: Archive) -> None:
    call = item("started", 0, "command_execution", command="x", status="in_progress")
    archive.add("run-1", [event("thread.started", thread_id="t-1"), call, event("thread.started", thread_id=THREAD)])
    (only,) = sheets(read(archive))
    assert [claim["content"] for claim in claims([only])] == [
        "Thread started",
        "$ x",
        "(no result: run ended)",
        "Thread started",
    ]
    assert [*only.threads] == [0, 3]


def test_a_log_beside_events_that_speak_is_not_read(archive: Archive) -> None:
    archive.add("run-1", [said(0)])
    archive.add("run-1", b"hello", artifact=LOG)
    log = next(each for each in reads(read(archive)) if not each.needed)
    assert (log.lines, log.may_pass) == (0, False)


def test_a_log_beside_events_that_were_read_before_is_judged_by_them(archive: Archive) -> None:
    archive.add("run-1", [said(0)])
    archive.add("run-1", b"hello", artifact=LOG)
    assert sheets(read(archive, task(archive, **{EVENTS: 3}))) == []
    assert [claim["content"] for claim in claims(read(archive, task(archive, **{EVENTS: 0})))] == ["hello"]


def test_a_log_waits_for_events_that_may_still_come(archive: Archive) -> None:
    archive.add("run-1", b"hello", artifact=LOG)
    whole = task(archive)
    waiting = msgspec.structs.replace(whole, waiting=frozenset({whole.parts[0].artifact.attempt}))
    (log,) = reads(read(archive, waiting))
    assert (log.needed, log.may_pass) == (False, True)


def test_an_archive_of_several_files_is_looked_into(archive: Archive) -> None:
    archive.put("run-1/pod/everything.tgz", tgz("./deep/implementation-events.jsonl", said(0).encode()))
    archive.put("run-1/pod/other.tgz", tgz("notes.txt", b"hello"))
    assert [claim["content"] for claim in claims(read(archive))] == ["message 0"]
    assert [claim["attrs"]["artifact"] for claim in claims(read(archive))] == [EVENTS]


def test_a_log_in_an_archive_is_read_where_its_events_are_silent(archive: Archive) -> None:
    archive.put("run-1/pod/everything.tgz", tgz(".codex-implementation-agent.log", b"hello\n"))
    assert [claim["content"] for claim in claims(read(archive))] == ["hello"]


def test_what_is_gone_when_it_is_read_may_come_again(archive: Archive) -> None:
    key = archive.add("run-1", talk(1))
    whole = task(archive)
    (archive.folder / key).unlink()
    (gone,) = reads(read(archive, whole))
    assert (gone.trouble, gone.may_pass) == ("missing", True)


def test_what_is_damaged_is_read_as_far_as_it_goes(archive: Archive) -> None:
    path = archive.folder / archive.add("run-1", talk(200), end=".gz")
    path.write_bytes(path.read_bytes()[:-300])
    found = read(archive)
    (damaged,) = reads(found)
    assert (damaged.trouble, damaged.may_pass) == ("truncated", False)
    assert 0 < damaged.rows == len(claims(found))


def test_a_bomb_is_given_up(archive: Archive) -> None:
    archive.add("run-1", b"0" * 3_000_000)
    (bomb,) = reads(read(archive, limits=Limits(bytes=1_000_000)))
    assert (bomb.trouble, bomb.may_pass) == ("too large", False)


def test_a_line_that_is_too_long_is_counted(archive: Archive) -> None:
    archive.add("run-1", b"x" * 1_000 + b"\n" + said(0).encode())
    found = read(archive, limits=Limits(line_bytes=500))
    assert reads(found)[0].skipped == {"too long": 1}
    assert len(claims(found)) == 1


@pytest.mark.parametrize("pieces", [[10, 30, 35], [10, 30, 5]])
def test_a_turn_takes_what_its_thread_took_since_the_last(pieces: list[int], archive: Archive) -> None:
    lines = [event("thread.started", thread_id=THREAD)]
    for total in pieces:
        lines += [event("turn.started"), event("turn.completed", usage={"input_tokens": total})]
    archive.add("run-1", lines)
    turns = reads(read(archive))[0].turns
    # A count that falls has begun anew.
    assert [(turn.turn, turn.tokens["input_tokens"]) for turn in turns] == [(1, 10), (2, 20), (3, 5)]


def test_a_line_that_breaks_the_reader_costs_no_other(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Reader.read

    def broken(self: Reader, number: int, data: bytes) -> Any:
        if number == 2:
            raise RecursionError
        return whole(self, number, data)

    monkeypatch.setattr(Reader, "read", broken)
    archive.add("run-1", [said(0), said(1), said(2)])
    found = read(archive)
    assert [claim["content"] for claim in claims(found)] == ["message 0", "message 2"]
    assert reads(found)[0].skipped == {"unreadable": 1}


def test_a_task_can_be_sent_to_another_process(archive: Archive) -> None:
    archive.add("run-1", talk(1))
    reader = SheetReader(Objects(str(archive.folder)), REDACTOR, 1024 * 1024)
    there, sent = pickle.loads(pickle.dumps((reader, task(archive))))
    assert list(there(sent)) == list(reader(task(archive)))


@pytest.mark.parametrize("name", STREAMS)
def test_what_is_skimmed_has_the_same_keys_and_the_same_account(name: str, archive: Archive) -> None:
    archive.add("run-1", STREAMS[name])
    assert_skimmed_alike(archive)


def assert_skimmed_alike(archive: Archive) -> None:
    what = task(archive)
    whole, found = read(archive, what), read(archive, structs.replace(what, skim=True))
    assert [key for each in skimmed(found) for key in each.keys.split(",") if key] == keys(whole)
    assert sum(each.rows for each in skimmed(found)) == len(keys(whole))
    assert reads(found) == reads(whole)
    assert sheets(found) == []
    assert sum(each.lines for each in skimmed(found)) == sum(each.lines for each in sheets(whole))


LINES = [line for name in sorted(STREAMS) for line in STREAMS[name].split(b"\n")]
ODD = [
    b'{"type":"item.completed","item":{"id":"a","type":"agent_message","text":"  "}}',
    b'{"type":"item.completed","item":{"id":"a","type":"agent_message","text":"\\u2003"}}',
    b'{"type":"item.completed","item":{"id":"a","type":"agent_message","text":"\xe2\x80\x83"}}',
    b'{"type":"item.completed","item":{"id":"a","type":"agent_message","text":" x"}}',
    b'{"type":"item.completed","item":{"id":"a","type":"agent_message","text":"\\n"}}',
    b'{"type":"item.completed","item":{"id":"a","type":"agent_message","text":"\\nx"}}',
    b'{"type":"item.completed","item":{"id":"a","type":"agent_message","text":"\\ud800"}}',
    b'{"type":"item.completed","item":{"id":"a","type":"agent_message","text":" \\ud800x"}}',
    b'{"type":"item.completed","item":{"id":"a","type":"agent_message","text":"\xe2\x80\x83x"}}\r',
    b'{"type":"item.completed","item":{"id":"a","type":"agent_message","text":"\xff x"}}',
    b'{"type":"item.completed","item":{"id":"a","type":"agent_message","text":"\\u0000"}}',
    b'{"type":"item.completed","item":{"id":"a","type":"agent_message","text":""}}',
    b'{"type":"item.completed","item":{"id":"a","type":"agent_message","text":7}}',
    b'{"type":"thread.started","thread_id":"t-2"}',
    b'{"type":"item.completed","item":{"id":"a","type":"plan","text":"x"}}\r\r',
    b'{"type":"item.started","item":{"id":"","type":"file_change"}}\t',
    b'{"type":"item.started","item":{"id":"5","type":"command_execution","command":"x"}}',
    b'{"type":"item.completed","item":{"id":"a","type":"reasoning"}}',
    b'{"type":"item.updated","item":{"id":"a","type":"command_execution","command":"x"}}',
    b'{"type":"item.started","item":{"type":"command_execution","command":"x"}}',
    b'{"type":"item.completed","item":{"type":"command_execution","command":"x"}}',
    b'{"type":"item.started","item":{"id":5,"type":"command_execution","command":"x"}}',
    b'{"type":"item.completed","item":{"id":"5","type":"mcp_tool_call","server":"s"}}',
    b'{"type":"item.completed","item":{"id":"5","item_type":"assistant_message","text":"x"}}',
    b'{"type":"item.started","item":null}',
    b'{"type":"item.started"}',
    b'{"type":"turn.started","message":"x"}',
    b'{"type":"turn.started","extra":1}',
    b'{"type":"error"}',
    b'{"type":"error","message":null}',
    b'{"type":"error","item":{"type":"agent_message","text":"x"}}',
    b'{"type":"error","msg":{"type":"agent_message","message":"x"}}',
    b'{"prompt":"x"}',
    b'{"type":"message"}',
    b'{"type":"item.completed","item":{"id":"b","type":"command_execution","command":"\xff"}}\r',
    b'{"type":"item.completed","item":{"id":"a","type":"command_execution","command":"x"}} x',
    b"",
    b"null",
]


@settings(max_examples=60, deadline=None)
@given(chosen=st.lists(st.sampled_from([*LINES, *ODD]), max_size=40), cuts=st.lists(st.integers(0, 300), max_size=3))
def test_whatever_lines_follow_each_other_they_are_skimmed_alike(chosen: list[bytes], cuts: list[int]) -> None:
    lines = [line[: cuts[at]] if at < len(cuts) else line for at, line in enumerate(chosen)]
    with TemporaryDirectory() as folder:
        archive = Archive(Path(folder))
        archive.add("run-1", lines, end="")
        assert_skimmed_alike(archive)


def test_a_run_that_can_not_be_read_for_what_nobody_thought_of_says_so(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add("run-1", talk(1))

    def fail(*_: Any) -> None:
        message = "nobody thought of this"
        raise ZeroDivisionError(message)

    monkeypatch.setattr(Reader, "end", fail)
    *_, told, over = read(archive)
    assert isinstance(told, Read)
    assert (told.trouble, told.text, told.may_pass) == ("unreadable", "ZeroDivisionError: nobody thought of this", True)
    assert over == Over(7)
