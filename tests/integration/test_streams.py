"""Commands whose standard streams are closed or full."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.integration.test_follow import NOWHERE, messages
from tests.servers import StreamHandle
from tests.sidecar import COMMAND

STDOUTS = {"/dev/full": "No space left on device", "&-": "Bad file descriptor"}


def shell(words: str, url: str, tmp_path: Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    environ = {
        "PATH": os.environ["PATH"],
        "NATS_URL": url,
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "WORKFLOW_NAME": "run-1",
        "AGENT_COMMS_SPOOL_DIR": str(tmp_path / "spool"),
    }
    return subprocess.run(
        ["sh", "-c", f"{shlex.quote(str(COMMAND))} {words}"], env=environ, input=stdin, capture_output=True
    )


@pytest.mark.parametrize("command", ["settings", "doctor", "--help", "publish --help", "--version"])
@pytest.mark.parametrize("target", STDOUTS)
def test_what_can_not_be_printed_is_one_line_and_not_done(command: str, target: str, tmp_path: Path) -> None:
    done = shell(f"{command} >{target}", NOWHERE, tmp_path)
    assert done.stderr.decode() == f"agent-comms: stdout can't be written: {STDOUTS[target]}\n"
    assert done.returncode == 1


@pytest.mark.parametrize("target", STDOUTS)
def test_a_message_whose_place_can_not_be_printed_is_stored_all_the_same(
    stream: StreamHandle, target: str, tmp_path: Path
) -> None:
    done = shell(f"publish hello >{target}", stream.url, tmp_path)
    (message,) = messages(stream)
    told = (
        rf"agent-comms: stdout can't be written: {STDOUTS[target]}; it is done all the same: seq=\d+ message_id=(\w+)\n"
    )
    match = re.fullmatch(told, done.stderr.decode())
    assert match
    assert (done.returncode, match[1]) == (0, message["message_id"])


def test_of_lines_whose_places_can_not_be_printed_the_first_is_told(stream: StreamHandle, tmp_path: Path) -> None:
    lines = b"".join(b'{"content": "%d"}\n' % number for number in range(3_000))
    done = shell("publish --json-lines >/dev/full", stream.url, tmp_path, stdin=lines)
    assert (done.returncode, done.stderr.count(b"\n"), len(messages(stream))) == (0, 1, 3_000)


def test_what_became_of_followed_lines_is_told_on_stderr_where_stdout_is_full(
    stream: StreamHandle, tmp_path: Path
) -> None:
    done = shell("publish --log-file - >/dev/full", stream.url, tmp_path, stdin=b"one\ntwo\n")
    assert done.returncode == 0
    assert done.stderr.endswith(b"it is done all the same: 2 published, 0 left to backfill\n")


@pytest.mark.parametrize("option", ["--stdin", "--json-lines", "--log-file -", "--codex-events -"])
def test_a_stdin_that_is_closed_is_one_line(option: str, tmp_path: Path) -> None:
    done = shell(f"publish {option} <&-", NOWHERE, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"agent-comms: stdin is closed\n")


def test_a_stderr_that_takes_nothing_changes_no_exit_code(tmp_path: Path) -> None:
    done = shell("run --grace 0 -- sh -c 'echo one; exit 5' 2>/dev/full", NOWHERE, tmp_path)
    assert (done.returncode, done.stdout) == (5, b"one\n")


def test_nothing_that_is_opened_takes_the_place_of_a_closed_stream(stream: StreamHandle, tmp_path: Path) -> None:
    done = shell("run -- sh -c 'echo one; exit 5' <&- >&- 2>&-", stream.url, tmp_path)
    assert done.returncode == 5
    assert "one" in [payload["content"] for payload in messages(stream)]
    assert not (next((tmp_path / "spool").glob("*")) / "lock").read_bytes()
