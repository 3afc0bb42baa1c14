import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig

from connectors.bootstrap import bootstrap
from connectors.connection import NatsConnection, NatsOptions
from connectors.embedded import EmbeddedNats
from flows import topology
from tests.ingestion import Ingest
from tests.servers import StreamHandle, fresh_database, fresh_stream
from tests.sidecar import THREAD, Sidecar, append, event, item, mapped, said, talk
from tests.waiting import PATIENCE_S, wait_until

NOWHERE = "nats://127.0.0.1:1"
REPORT = re.compile(r"(\d+) published, (\d+) left to backfill\n")
ROWS = """
    SELECT attrs->'line', kind, content FROM workflow_comms.agent_messages
    WHERE channel = 'run' AND attrs ? 'line' ORDER BY timestamp, seq
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "implementation-events.jsonl"


@pytest.fixture
def sidecar(stream: StreamHandle, path: Path, tmp_path: Path) -> Iterator[Sidecar]:
    with Sidecar(tmp_path / "sidecar", stream.url, "--codex-events", path) as running:
        yield running


def messages(stream: StreamHandle) -> list[dict[str, Any]]:
    """What the stream holds, payloads with their subjects, in order."""

    async def read() -> list[dict[str, Any]]:
        number = (await stream.connection.jetstream().stream_info(stream.name)).state.messages
        if not number:
            return []
        reader = await stream.connection.jetstream().pull_subscribe(
            "", stream=stream.name, config=ConsumerConfig(ack_policy=AckPolicy.NONE)
        )
        found: list[Msg] = []
        while len(found) < number:
            found += await reader.fetch(number - len(found), timeout=PATIENCE_S)
        await reader.unsubscribe()
        return [{**json.loads(message.data), "subject": message.subject} for message in found]

    return stream.connection.run(read())


def lines_said(stream: StreamHandle) -> list[tuple[int, str, str]]:
    """Line, kind and content of what the run's own channel holds of files."""
    return [
        (payload["attrs"]["line"], payload["kind"], payload["content"])
        for payload in messages(stream)
        if "line" in payload.get("attrs", {}) and payload["channel"] == "run"
    ]


def wait_for(stream: StreamHandle, number: int) -> list[tuple[int, str, str]]:
    wait_until(lambda: len(lines_said(stream)) >= number, f"{number} lines in the stream")
    return lines_said(stream)


def reported(sidecar: Sidecar) -> tuple[int, int]:
    """How many lines were published, and how many left."""
    told = REPORT.fullmatch(sidecar.out)
    assert told, sidecar.out
    return int(told[1]), int(told[2])


def test_each_line_is_published_as_it_is_written(stream: StreamHandle, sidecar: Sidecar, path: Path) -> None:
    append(path, event("thread.started", thread_id=THREAD), event("turn.started"))
    wait_for(stream, 2)
    append(path, said(0, "hello"))
    assert wait_for(stream, 3)[-1] == (3, "message", "hello")
    payload = next(payload for payload in messages(stream) if payload["content"] == "hello")
    assert payload["subject"] == "workflow.agents.run-1.uid-1.agent.executor.message"
    assert payload["attrs"] == {
        "source": "live",
        "artifact": "implementation-events",
        "line": 3,
        "event_type": "item.completed",
        "item_type": "agent_message",
        "item_id": "item_0",
        "thread_id": THREAD,
        "turn": 1,
        "timestamp_source": "publisher",
    }
    assert sidecar.stop() == 0
    assert reported(sidecar) == (3, 0)


def test_a_whole_talk_is_in_the_stream_in_its_order(stream: StreamHandle, sidecar: Sidecar, path: Path) -> None:
    lines = [line.encode() for line in talk(20)]
    append(path, *lines)
    assert wait_for(stream, len(mapped(lines))) == mapped(lines)
    times = [payload["timestamp"] for payload in messages(stream) if payload["channel"] == "run"]
    assert times == sorted(set(times))
    assert sidecar.stop() == 0
    assert "20 lines are no events of Codex" in sidecar.err


def test_several_files_and_stdin_are_followed_at_once(stream: StreamHandle, path: Path, tmp_path: Path) -> None:
    log, other = tmp_path / ".codex-implementation-agent.log", tmp_path / "other.log"
    append(log, "  indented", "", "\t", "ANSI \x1b[31mred\x1b[0m  ")
    append(path, said(1, "an event"))
    sidecar = Sidecar(
        tmp_path / "sidecar", stream.url, "--codex-events", path, "--log-file", log, "--log-file", other, "--stdin"
    )
    sidecar.start(stdin=subprocess.PIPE)
    append(other, "another log")
    assert isinstance(sidecar.process, subprocess.Popen)
    assert sidecar.process.stdin
    sidecar.process.stdin.write(b"from stdin\nwithout an end")
    sidecar.process.stdin.close()
    wait_for(stream, 5)
    assert sidecar.stop() == 0
    found = {
        (payload["content"], payload["attrs"]["artifact"], payload["attrs"]["line"]) for payload in _of_lines(stream)
    }
    assert found == {
        ("  indented", "implementation-agent-log", 1),
        ("ANSI \x1b[31mred\x1b[0m", "implementation-agent-log", 4),
        ("an event", "implementation-events", 1),
        ("another log", "other-log", 1),
        ("from stdin", "stdin", 1),
        ("without an end", "stdin", 2),
    }
    assert {(p["kind"], p["role"]) for p in _of_lines(stream)} == {("message", "assistant")}
    assert reported(sidecar) == (6, 0)


def _of_lines(stream: StreamHandle) -> list[dict[str, Any]]:
    return [payload for payload in messages(stream) if "line" in payload["attrs"]]


def test_a_pipe_at_its_end_ends_the_run(stream: StreamHandle, tmp_path: Path) -> None:
    lines = "".join(f"{line}\n" for line in talk(2))
    sidecar = Sidecar(tmp_path / "sidecar", stream.url, "--codex-events", "-").start(stdin=subprocess.PIPE)
    assert isinstance(sidecar.process, subprocess.Popen)
    sidecar.process.communicate(lines.encode(), timeout=PATIENCE_S)
    assert sidecar.process.returncode == 0
    assert lines_said(stream) == mapped(lines.encode().split(b"\n"))


def test_the_last_line_is_published_at_the_end_though_nothing_ends_it(
    stream: StreamHandle, sidecar: Sidecar, path: Path
) -> None:
    path.write_text(said(1, "whole") + "\n" + said(2, "unfinished"))
    wait_for(stream, 1)
    assert sidecar.stop() == 0
    assert [content for _, _, content in lines_said(stream)] == ["whole", "unfinished"]


def test_a_rotated_file_goes_on_and_a_replaced_one_begins_again(
    stream: StreamHandle, sidecar: Sidecar, path: Path
) -> None:
    append(path, event("thread.started", thread_id=THREAD), said(1, "one"))
    wait_for(stream, 2)
    path.rename(path.with_suffix(".1"))
    append(path, said(2, "two"))
    assert wait_for(stream, 3)[-1] == (3, "message", "two")
    other = path.with_suffix(".new")
    append(other, said(1, "another"))
    other.rename(path)
    assert wait_for(stream, 4)[-1] == (1, "message", "another")
    assert [payload["attrs"].get("thread_id") for payload in _of_lines(stream)] == [THREAD, THREAD, THREAD, None]
    assert sidecar.stop() == 0


def test_bytes_of_every_kind_come_through(stream: StreamHandle, sidecar: Sidecar, path: Path) -> None:
    odd = said(1, "sep\u2028arated").encode()
    with path.open("wb") as file:
        file.write(b"\xef\xbb\xbf" + event("turn.started").encode() + b"\r\n" + odd + b"\r\n")
        file.write(said(2, "bad Xbyte").encode().replace(b"X", b"\xff") + b"\n" + b"\0" * 10 + b"\n")
        file.write(said(3, "nul Xbyte").encode().replace(b"X", b"\0") + b"\n")
        file.write(said(4, "half XX a pair").encode().replace(b"XX", b"\\ud83d") + b"\n")
        file.write(said(5, "big " + "y" * 3_000_000).encode() + b"\n")
    found = wait_for(stream, 6)
    assert [line for line, _, _ in found] == [1, 2, 3, 5, 6, 7]
    contents = [content for _, _, content in found]
    assert contents[1:5] == ["sep\u2028arated", "bad �byte", "nul �byte", "half � a pair"]
    assert contents[5].startswith("big yyy")
    assert contents[5].endswith("… [cut: 3,000,004 bytes in all; the whole is line 7 of implementation-events]")
    assert 1_000_000 < len(contents[5]) < 1_048_576
    assert sidecar.stop() == 0


def test_a_second_sidecar_gives_each_line_the_same_id(
    stream: StreamHandle, sidecar: Sidecar, path: Path, tmp_path: Path
) -> None:
    lines = [line.encode() for line in talk(2)]
    append(path, *lines)
    number = len(wait_for(stream, len(mapped(lines))))
    assert sidecar.process.poll() is None
    with Sidecar(tmp_path / "second", stream.url, "--codex-events", path):
        wait_for(stream, 2 * number)
    ids = [payload["message_id"] for payload in _of_lines(stream)]
    assert ids[:number] == ids[number:]
    assert len(set(ids)) == number


def test_what_was_published_is_not_published_again_by_the_next_start(
    stream: StreamHandle, sidecar: Sidecar, path: Path
) -> None:
    lines = [line.encode() for line in talk(2)]
    append(path, *lines)
    number = len(wait_for(stream, len(mapped(lines))))
    assert sidecar.stop() == 0
    sidecar.start()
    append(path, said(99, "more"))
    assert wait_for(stream, number + 1)[-1][2] == "more"
    assert len(lines_said(stream)) == number + 1
    assert sidecar.stop() == 0


@pytest.mark.parametrize(
    ("code", "status", "words"), [(0, "succeeded", "succeeded"), (3, "failed", "failed (exit code 3)")]
)
def test_the_end_of_a_process_ends_the_run_and_both_channels_hear_how(
    stream: StreamHandle, path: Path, tmp_path: Path, code: int, status: str, words: str
) -> None:
    with (
        subprocess.Popen(["sh", "-c", f"read line; exit {code}"], stdin=subprocess.PIPE) as agent,
        Sidecar(tmp_path, stream.url, "--codex-events", path, "--until-exit", str(agent.pid)) as sidecar,
    ):
        wait_until(lambda: stream.info().state.messages == 2, "word of the beginning")
        append(path, said(1, "last words"))
        assert agent.stdin
        agent.stdin.close()
        assert sidecar.wait() == 0
    told = [payload for payload in messages(stream) if payload["kind"] == "status"]
    assert [(payload["channel"], payload["content"]) for payload in told] == [
        ("run", "started"),
        ("general", "started"),
        ("run", words),
        ("general", words),
    ]
    assert [payload["attrs"]["status"] for payload in told] == ["started", "started", status, status]
    assert told[2]["attrs"]["exit_code"] == code
    assert told[3]["subject"] == "workflow.general.status"
    assert (told[0]["message_id"], told[2]["message_id"]) == (told[1]["message_id"], told[3]["message_id"])
    assert [content for _, _, content in lines_said(stream)] == ["last words"]


@pytest.mark.parametrize(
    ("content", "events", "words"),
    [
        ("7\n", [], "failed (exit code 7)"),
        ("0", [event("turn.started")], "succeeded"),
        ("", [], "succeeded"),
        ("", [event("turn.started"), event("turn.completed")], "succeeded"),
        ("", [event("turn.started"), event("turn.failed", error={"message": "no"})], "failed: the last turn failed"),
        ("", [event("turn.started")], "failed: it ended in the middle of a turn"),
    ],
)
def test_a_file_ends_the_run_and_may_hold_the_exit_code(
    stream: StreamHandle, path: Path, tmp_path: Path, content: str, events: list[str], words: str
) -> None:
    done = tmp_path / "done"
    append(path, *events)
    with Sidecar(tmp_path / "sidecar", stream.url, "--codex-events", path, "--until-file", done) as sidecar:
        wait_for(stream, len(events))
        done.write_text(content)
        assert sidecar.wait() == 0
    assert messages(stream)[-1]["content"] == words


def test_a_file_is_followed_by_a_name_of_any_bytes(stream: StreamHandle, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/ag\xffent.log"))
    # Shown alike, and another file.
    alike = tmp_path / r"ag\xffent.log"
    done = tmp_path / "done"
    done.touch()
    arguments = [word for each in (odd, alike, tmp_path / "absent-\udcfe") for word in ("--log-file", each)]
    append(odd, "one", "two")
    append(alike, "alike")
    with Sidecar(tmp_path / "sidecar", stream.url, *arguments, "--until-file", done) as sidecar:
        assert sidecar.wait() == 0
    assert reported(sidecar) == (3, 0)
    assert r"absent-\xfe: there never was such a file" in sidecar.err
    # The next start goes on where this one came to.
    append(odd, "three")
    with Sidecar(tmp_path / "sidecar", stream.url, *arguments, "--until-file", done) as later:
        assert later.wait() == 0
    logged = [payload for payload in messages(stream) if payload["kind"] == "message"]
    assert sorted(payload["content"] for payload in logged) == ["alike", "one", "three", "two"]
    assert {payload["attrs"]["artifact"] for payload in logged} == {r"ag\xffent-log"}


def test_half_a_surrogate_pair_in_a_threads_name_stops_nothing(
    stream: StreamHandle, path: Path, tmp_path: Path
) -> None:
    append(path, r'{"type":"thread.started","thread_id":"\ud800"}', said(1))
    (tmp_path / "done").touch()
    arguments = ("--codex-events", path, "--until-file", tmp_path / "done")
    with Sidecar(tmp_path / "sidecar", stream.url, *arguments) as sidecar:
        assert sidecar.wait() == 0
    assert reported(sidecar) == (2, 0)


def test_a_call_that_the_end_of_the_agent_left_open_stays_so(stream: StreamHandle, path: Path, tmp_path: Path) -> None:
    append(path, item("started", 1, "command_execution", command="sleep 99", status="in_progress"))
    done = tmp_path / "done"
    done.touch()
    with Sidecar(tmp_path / "sidecar", stream.url, "--codex-events", path, "--until-file", done) as sidecar:
        assert sidecar.wait() == 0
    # A backfill of the whole file closes it; a sidecar that saw a part of it must not.
    assert lines_said(stream) == [(1, "tool_call", "$ sleep 99")]


def test_a_file_with_the_exit_code_ends_nothing_by_itself(stream: StreamHandle, path: Path, tmp_path: Path) -> None:
    code = tmp_path / "exit-code"
    with Sidecar(tmp_path / "sidecar", stream.url, "--codex-events", path, "--exit-code-file", code) as sidecar:
        code.write_text("5\n")
        append(path, said(1))
        wait_for(stream, 1)
        assert sidecar.process.poll() is None
        assert sidecar.stop() == 0
    assert messages(stream)[-1]["content"] == "failed (exit code 5)"


def last_word(stream: StreamHandle) -> tuple[str, str, bool]:
    """What was said at the end in the run: status, words, and whether there is an exit code."""
    payload = [payload for payload in messages(stream) if payload["channel"] == "run"][-1]
    return payload["attrs"]["status"], payload["content"], "exit_code" in payload["attrs"]


UNKNOWN = ("unknown", "ended; how is not known", False)


@pytest.mark.parametrize(
    ("content", "complaint"), [(None, "it never came"), ("", "it holds no exit code"), ("x", "it holds no exit code")]
)
def test_a_run_whose_exit_code_never_came_is_not_called_succeeded(
    stream: StreamHandle, tmp_path: Path, content: str | None, complaint: str
) -> None:
    log, code = tmp_path / "agent.log", tmp_path / "exit-code"
    append(log, "killed before it could say so")
    if content is not None:
        code.write_text(content)
    with Sidecar(tmp_path / "sidecar", stream.url, "--log-file", log, "--exit-code-file", code) as sidecar:
        wait_for(stream, 1)
        assert sidecar.stop() == 0
    assert last_word(stream) == UNKNOWN
    assert sidecar.err == f"agent-comms: --exit-code-file {code}: {complaint}\n"


def test_what_codex_says_of_its_last_turn_tells_the_end_where_no_exit_code_came(
    stream: StreamHandle, sidecar: Sidecar, path: Path
) -> None:
    append(path, event("turn.started"), event("turn.completed"))
    wait_for(stream, 2)
    assert sidecar.stop() == 0
    assert last_word(stream) == ("succeeded", "succeeded", False)


def test_a_process_whose_parent_took_its_exit_code_has_ended_nobody_knows_how(
    stream: StreamHandle, tmp_path: Path
) -> None:
    log = tmp_path / "agent.log"
    append(log, "working")
    # Its parent is a shell that waits for it, and so takes its exit code before anybody else can see it.
    script = "sleep 1000 & echo $!; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as shell:
        assert shell.stdout
        pid = int(shell.stdout.readline())
        with Sidecar(tmp_path / "sidecar", stream.url, "--log-file", log, "--until-exit", str(pid)) as sidecar:
            wait_for(stream, 1)
            sidecar.process.send_signal(signal.SIGSTOP)
            os.kill(pid, signal.SIGKILL)
            shell.wait(60)
            sidecar.process.send_signal(signal.SIGCONT)
            assert sidecar.wait() == 0
    assert last_word(stream) == UNKNOWN
    assert sidecar.err.startswith(f"agent-comms: --until-exit {pid}: its parent took its exit code")


def test_a_file_and_a_process_that_never_were_are_told_by_their_options(stream: StreamHandle, tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait(60)
    events, log, there = tmp_path / "events.jsonl", tmp_path / "agent.log", tmp_path / "there.log"
    append(there, "a line")
    arguments = ("--codex-events", events, "--log-file", log, "--log-file", there, "--until-exit", str(gone.pid))
    with Sidecar(tmp_path / "sidecar", stream.url, *arguments) as sidecar:
        assert sidecar.wait() == 0
    assert last_word(stream) == UNKNOWN
    assert sidecar.err.splitlines() == [
        f"agent-comms: --until-exit {gone.pid}: there was no such process",
        f"agent-comms: --codex-events {events}: there never was such a file",
        f"agent-comms: --log-file {log}: there never was such a file",
    ]


def test_the_end_of_a_pipe_tells_that_its_writer_has_ended_and_not_how(stream: StreamHandle, tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "sidecar", stream.url, "--log-file", "-").start(stdin=subprocess.PIPE)
    assert isinstance(sidecar.process, subprocess.Popen)
    sidecar.process.communicate(b"a line\n", timeout=PATIENCE_S)
    assert last_word(stream) == UNKNOWN


def test_the_general_channel_hears_of_errors_and_what_is_asked_for(
    stream: StreamHandle, path: Path, tmp_path: Path
) -> None:
    lines = [
        said(1, "words"),
        item("completed", 2, "error", message="a warning"),
        event("error", message="Reconnecting... 1/5"),
        event("error", message="quota"),
        event("turn.failed", error={"message": "quota"}),
        item("started", 3, "command_execution", command="ls", status="in_progress"),
    ]
    append(path, *lines)
    with Sidecar(tmp_path / "sidecar", stream.url, "--codex-events", path, "--general", "tool_call") as sidecar:
        wait_for(stream, len(lines))
        assert sidecar.stop() == 0
    general = [payload["content"] for payload in messages(stream) if payload["channel"] == "general"]
    assert general == ["started", "quota", "$ ls", "failed: the last turn failed"]


def test_without_nats_the_agent_is_unharmed_and_the_next_start_fills_in(
    stream: StreamHandle, path: Path, tmp_path: Path
) -> None:
    lines = [line.encode() for line in talk(3)]
    sidecar = Sidecar(tmp_path / "sidecar", NOWHERE, "--codex-events", path, "--grace", "0.2")
    with sidecar:
        append(path, *lines)
        wait_until(lambda: sidecar.lines_read() == len(lines), "the file to be read")
        wait_until(lambda: "NATS can't be reached" in sidecar.err, "word of it")
        assert sidecar.stop() == 0
    left = len({line for line, _, _ in mapped(lines)})
    assert reported(sidecar) == (0, left)
    assert f"of those left, {left} are kept in {sidecar.spool}/" in sidecar.err
    assert sidecar.err.count("NATS can't be reached") == 1
    path.unlink()
    with Sidecar(tmp_path / "sidecar", stream.url, "--codex-events", path) as later:
        assert wait_for(stream, len(mapped(lines))) == mapped(lines)
        assert later.stop() == 0
    assert messages(stream)[0]["content"] == "started"


def test_with_strict_it_is_a_failure_that_something_is_left(path: Path, tmp_path: Path) -> None:
    append(path, said(1))
    (tmp_path / "done").touch()
    arguments = ("--codex-events", path, "--until-file", tmp_path / "done", "--grace", "0", "--strict")
    with Sidecar(tmp_path / "sidecar", NOWHERE, *arguments) as sidecar:
        assert sidecar.wait() == 4


def test_a_full_spool_says_which_lines_are_left_and_goes_on(stream: StreamHandle, path: Path, tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.touch()
    append(path, *[said(number, "x" * 1000) for number in range(1, 41)])
    arguments = ("--codex-events", path, "--grace", "0", "--until-file", done)
    with Sidecar(tmp_path / "sidecar", NOWHERE, *arguments, AGENT_COMMS_SPOOL_BYTES="20000") as sidecar:
        assert sidecar.wait() == 0
    published, left = reported(sidecar)
    assert (published, left) == (0, 40)
    gap = re.search(r"left to backfill: lines (\d+)-40 of implementation-events", sidecar.err)
    assert gap
    first = int(gap[1])
    assert 5 < first < 20
    assert f"the spool is full: lines of implementation-events from {first} on are left to backfill" in sidecar.err
    assert sidecar.err.count("the spool is full") == 1
    with Sidecar(tmp_path / "sidecar", stream.url, "--codex-events", path) as later:
        wait_for(stream, first - 1)
        assert later.stop() == 0
    assert [line for line, _, _ in lines_said(stream)] == list(range(1, first))
    assert [p["content"] for p in messages(stream) if p["channel"] == "run" and "line" not in p["attrs"]][:2] == [
        "started",
        "succeeded",
    ]


USERS = """
authorization {
  users: [
    {user: admin, password: adminpw}
    {
      user: agents
      password: hunter2
      permissions: {publish: ["workflow.agents.>"], subscribe: ["_INBOX.>"]}
    }
  ]
}
"""
ADMIN = {"NATS_USER": "admin", "NATS_PASSWORD": "adminpw"}


@contextmanager
def guarded_stream(folder: Path) -> Iterator[EmbeddedNats]:
    with EmbeddedNats(folder, settings=USERS) as server:
        with NatsConnection(NatsOptions((server.url,), user="admin", password="adminpw")) as connection:
            connection.run(bootstrap(connection.jetstream(), topology.manifests()))
        yield server


@pytest.mark.parametrize(
    ("environ", "words", "outcome"),
    [
        ({"NATS_PASSWORD": "wrong-pw"}, "NATS doesn't let this user in: Authorization Violation", (0, 2)),
        ({"NATS_SUBJECT_PREFIX": "elsewhere"}, "this user may not publish on elsewhere.agents.run-1.uid-1", (0, 2)),
        (
            {"NATS_USER": "admin", "NATS_PASSWORD": "adminpw", "NATS_SUBJECT_PREFIX": "elsewhere"},
            "no stream takes elsewhere.",
            (0, 2),
        ),
        ({"NATS_INBOX_PREFIX": "_X"}, "this user may not listen for acknowledgements on _X.", (0, 2)),
        ({}, "this user may not publish on workflow.general.status", (2, 0)),
        ({"NATS_CA_FILE": "/dev/null"}, "NATS_CA_FILE: /dev/null holds no certificate in PEM", (0, 2)),
    ],
    ids=["credential", "permission", "no stream", "inbox", "general", "authority"],
)
def test_what_is_wrong_with_nats_is_one_line_without_a_secret(
    tmp_path: Path, path: Path, environ: dict[str, str], words: str, outcome: tuple[int, int]
) -> None:
    append(path, said(1), said(2))
    # Where everything can be sent, it is waited for.
    grace = "60" if outcome == (2, 0) else "0"
    arguments = ("--codex-events", path, "--until-file", tmp_path / "done", "--grace", grace)
    with guarded_stream(tmp_path / "nats") as server:
        settings = {"NATS_USER": "agents", "NATS_PASSWORD": "hunter2", **environ}
        with Sidecar(tmp_path / "sidecar", server.url, *arguments, **settings) as sidecar:
            wait_until(lambda: any(words in line for line in sidecar.err.splitlines()), f"word of it: {words}")
            (tmp_path / "done").touch()
            assert sidecar.wait() == 0
    assert all(line.startswith("agent-comms: ") for line in sidecar.err.splitlines())
    assert "Traceback" not in sidecar.err
    for secret in ("hunter2", "wrong-pw", "adminpw"):
        assert secret not in sidecar.err
    assert reported(sidecar) == outcome


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        (["--codex-events", "x"], {"WORKFLOW_NAME": "", "WORKFLOW_UID": ""}, "WORKFLOW_UID or WORKFLOW_NAME"),
        (["--log-file", "x"], {"NATS_CREDS_FILE": "/nowhere"}, "NATS_CREDS_FILE: /nowhere"),
        (["--log-file", "x"], {"AGENT_COMMS_SPOOL_BYTES": "much"}, "AGENT_COMMS_SPOOL_BYTES: it takes"),
        (["--log-file", "x", "text"], {}, "TEXT and --json-lines go with no followed file"),
        (["--log-file", "x", "--general"], {}, "--general takes a KIND with a followed file"),
        (["--log-file", "-", "--codex-events", "-"], {}, "stdin can be read once"),
        (["--general", "a", "b"], {}, "--general takes a KIND only with a followed file"),
    ],
)
def test_what_makes_no_sense_ends_it_at_the_start(
    tmp_path: Path, arguments: list[str], environ: dict[str, str], words: str
) -> None:
    with Sidecar(tmp_path / "sidecar", NOWHERE, *arguments, **environ) as sidecar:
        assert sidecar.wait() == 2
    assert words in sidecar.err.splitlines()[-1]


def test_a_spool_that_cannot_be_on_disk_is_in_memory(stream: StreamHandle, path: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    append(path, said(1))
    with Sidecar(
        tmp_path / "sidecar", stream.url, "--codex-events", path, AGENT_COMMS_SPOOL_DIR=str(tmp_path / "file")
    ) as sidecar:
        wait_for(stream, 1)
        assert sidecar.stop() == 0
    assert re.match(r"agent-comms: AGENT_COMMS_SPOOL_DIR: .*is kept in memory", sidecar.err)
    assert reported(sidecar) == (1, 0)


def test_an_idle_sidecar_costs_next_to_nothing(stream: StreamHandle, tmp_path: Path, path: Path) -> None:
    sidecar = Sidecar(tmp_path / "sidecar", stream.url, "--codex-events", path)
    sidecar.is_forked = False
    with sidecar:
        append(path, said(1))
        wait_for(stream, 1)
        pid = sidecar.process.pid

        def is_idle() -> bool:
            before, began = _cpu_seconds(pid), time.monotonic()
            wait_until(lambda: time.monotonic() - began > 2, "two seconds")
            return _cpu_seconds(pid) - before <= 0.04

        # After what it had to do first.
        wait_until(is_idle, "two idle seconds")
        status = Path(f"/proc/{pid}/status").read_text()
    assert int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) < 60 * 1024


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_every_line_is_a_row_once_and_in_order_though_nats_and_the_sidecar_are_killed(
    own_nats_server: EmbeddedNats, postgres_server: Any, tmp_path: Path, path: Path
) -> None:
    lines = [line.encode() for line in talk(60)]
    parts = [lines[start : start + 110] for start in range(0, len(lines), 110)]
    with (
        fresh_stream(own_nats_server) as stream,
        fresh_database(postgres_server) as database,
        Ingest(stream, database, tmp_path / "ingest.log") as ingest,
        Sidecar(tmp_path / "sidecar", stream.url, "--codex-events", path) as sidecar,
    ):
        faults = [own_nats_server.restart, sidecar.kill, own_nats_server.restart, sidecar.kill]
        for number, part in enumerate(parts):
            before = ingest.count()
            append(path, *part[: len(part) // 2])
            wait_until(lambda before=before: ingest.count() > before)  # type: ignore[misc]
            append(path, *part[len(part) // 2 :])
            if number < len(faults):
                faults[number]()
                if sidecar.process.poll() is not None:
                    sidecar.start()
        ingest.wait_for_rows(len(mapped(lines)) + 2)
        assert sidecar.stop() == 0
        assert len(parts) > len(faults)
        assert ingest.rows(ROWS) == mapped(lines)
