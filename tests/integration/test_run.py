import fcntl
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import forks
from tests.integration.test_follow import NOWHERE, messages
from tests.servers import StreamHandle
from tests.sidecar import COMMAND, THREAD, event, mapped, talk
from tests.waiting import wait_until
from web.child import LAST_WORDS_S

# Linux' own.
F_SETPIPE_SZ = 1031


@pytest.fixture
def environ(stream: StreamHandle, tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "NATS_URL": stream.url,
        "WORKFLOW_NAME": "run-1",
        "AGENT_COMMS_SPOOL_DIR": str(tmp_path / "spool"),
    }


def run(environ: dict[str, str], *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return forks.run([str(COMMAND), "run", *words], env=environ, input=stdin)


def said(stream: StreamHandle, channel: str = "run") -> list[tuple[str, str]]:
    return [(payload["kind"], payload["content"]) for payload in messages(stream) if payload["channel"] == channel]


def test_of_a_long_command_the_beginning_is_told_and_that_there_is_more(
    environ: dict[str, str], stream: StreamHandle
) -> None:
    assert run(environ, "--", "true", "x" * 600).returncode == 0
    _, told = said(stream)[0]
    assert told == f"started: true {'x' * 485}…"


def test_a_command_runs_as_it_would_alone(environ: dict[str, str], stream: StreamHandle) -> None:
    script = "cat; printf 'two\\r\\n\\377\\n'; echo complaint >&2; printf 'no end'; exit 3"
    done = run(environ, "--", "sh", "-c", script, stdin=b"one\n")
    assert (done.returncode, done.stdout, done.stderr) == (3, b"one\ntwo\r\n\xff\nno end", b"complaint\n")
    assert said(stream) == [
        ("run-started", f"started: sh -c '{script.replace(chr(39), chr(39) + chr(34) + chr(39) + chr(34) + chr(39))}'"),
        ("message", "one"),
        ("message", "two"),
        ("message", "�"),
        ("message", "no end"),
        ("run-finished", "failed (exit code 3)"),
    ]
    assert [kind for kind, _ in said(stream, "general")] == ["run-started", "run-finished"]
    finished = messages(stream)[-1]["attrs"]
    assert (finished["status"], finished["exit_code"]) == ("failed", 3)


def test_what_codex_says_is_read_as_events(environ: dict[str, str], stream: StreamHandle, tmp_path: Path) -> None:
    lines = [line.encode() for line in talk(3)]
    (tmp_path / "events").write_bytes(b"\n".join(lines))
    done = run(environ, "cat", str(tmp_path / "events"))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\n".join(lines), b"")
    told = [(p["attrs"]["line"], p["kind"], p["content"]) for p in messages(stream) if "line" in p["attrs"]]
    assert [entry for entry in told if entry[1] != "error"] == mapped(lines)
    assert {p["attrs"].get("thread_id") for p in messages(stream) if "line" in p["attrs"]} == {THREAD}


def test_it_can_be_told_what_the_output_is(environ: dict[str, str], stream: StreamHandle) -> None:
    line = event("thread.started", thread_id=THREAD)
    run(environ, "--as", "log", "--kind", "log", "--attr", "branch=main", "--agent", "planner", "echo", line)
    told = messages(stream)[-3]
    assert (told["kind"], told["content"], told["agent_id"]) == ("log", line, "planner")
    assert told["attrs"]["branch"] == "main"


def test_each_line_is_published_while_the_command_runs(environ: dict[str, str], stream: StreamHandle) -> None:
    with subprocess.Popen(
        [COMMAND, "run", "sh", "-c", "echo one; read line; echo $line"],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        wait_until(lambda: ("message", "one") in said(stream), "the first line")
        assert process.stdin
        process.stdin.write(b"two\n")
        process.stdin.close()
        assert process.wait(60) == 0
    assert said(stream)[-2:] == [("message", "two"), ("run-finished", "succeeded")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_command(environ: dict[str, str], stream: StreamHandle, number: signal.Signals) -> None:
    script = f"trap 'echo caught; exit 7' {number.name.removeprefix('SIG')}; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(
        # Whoever started the tests may ignore some, and a shell traps none that was ignored before it.
        ["env", "--default-signal", COMMAND, "run", "sh", "-c", script],
        env=environ,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        wait_until(lambda: ("message", "ready") in said(stream), "the first line")
        process.send_signal(number)
        assert process.stdout.read() == b"caught\n"
        assert process.wait(60) == 7
    assert said(stream)[-1] == ("run-finished", "failed (exit code 7)")


def test_a_command_that_a_signal_ends_tells_so_by_its_exit_code(environ: dict[str, str]) -> None:
    assert run(environ, "sh", "-c", "kill -9 $$").returncode == 137


@pytest.mark.parametrize(("word", "exit_code"), [("no-such-command", 127), ("/etc/hosts", 126)])
def test_a_command_that_cannot_be_started_is_one_line(environ: dict[str, str], word: str, exit_code: int) -> None:
    done = run(environ, word)
    assert (done.returncode, done.stdout) == (exit_code, b"")
    assert re.fullmatch(rf"agent-comms: {word}: .+\n", done.stderr.decode())


def test_without_nats_the_command_is_unharmed(environ: dict[str, str]) -> None:
    done = run({**environ, "NATS_URL": NOWHERE}, "--grace", "0", "sh", "-c", "seq 1000; exit 5")
    assert done.returncode == 5
    assert done.stdout == "".join(f"{number}\n" for number in range(1, 1001)).encode()
    lines = done.stderr.decode().splitlines()
    assert lines[-2] == "agent-comms: 0 published, 1000 left to backfill"
    assert re.fullmatch(r"agent-comms: of those left, 1000 are kept in \S+, and the next start sends them", lines[-1])
    assert len(lines) <= 3


def test_an_authority_that_is_none_is_told_and_the_command_is_unharmed(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_bytes(b"")
    with subprocess.Popen(
        [COMMAND, "run", "--grace", "0", "sh", "-c", "echo one; read line; exit 5"],
        env={**environ, "NATS_CA_FILE": str(tmp_path / "ca.crt")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        assert process.stdin
        assert process.stderr
        assert process.stdout.readline() == b"one\n"
        line = process.stderr.readline().decode()
        assert line == f"agent-comms: NATS_CA_FILE: {tmp_path}/ca.crt holds no certificate in PEM\n"
        process.stdin.close()
        assert process.wait(60) == 5


def test_a_server_that_says_nothing_is_told_with_a_reason(environ: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"nats://127.0.0.1:{mute.getsockname()[1]}"
        with subprocess.Popen(
            [COMMAND, "run", "--grace", "0", "sh", "-c", "echo one; read line"],
            env={**environ, "NATS_URL": url},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stderr
            assert process.stdin
            assert process.stderr.readline() == b"agent-comms: NATS can't be reached: 127.0.0.1 says nothing for 2 s\n"
            process.stdin.close()
            told = process.stderr.read().decode()
            assert process.wait(60) == 1
    assert re.fullmatch(
        r"agent-comms: 0 published, 1 left to backfill\n"
        r"agent-comms: of those left, 1 are kept in \S+, and the next start sends them\n",
        told,
    )


def test_with_strict_a_success_that_was_not_published_is_a_failure(environ: dict[str, str]) -> None:
    assert run({**environ, "NATS_URL": NOWHERE}, "--grace", "0", "--strict", "echo", "x").returncode == 4


def test_without_a_workflow_the_command_is_not_started(environ: dict[str, str], tmp_path: Path) -> None:
    done = run({**environ, "WORKFLOW_NAME": ""}, "touch", str(tmp_path / "ran"))
    assert done.returncode == 2
    assert b"WORKFLOW_UID or WORKFLOW_NAME" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("setting", "value"), [("WORKFLOW_NAMESPACE", "n" * 3000), ("WORKFLOW_STEP", "s" * 257), ("AGENT_ID", "person")]
)
def test_what_no_message_may_carry_has_the_command_not_started(
    environ: dict[str, str], tmp_path: Path, setting: str, value: str
) -> None:
    done = run({**environ, setting: value}, "touch", str(tmp_path / "started"))
    assert done.returncode == 2
    assert f"{setting}: ".encode() in done.stderr
    assert not (tmp_path / "started").exists()


def test_a_reader_that_goes_away_ends_the_command_as_it_would_alone(environ: dict[str, str]) -> None:
    speaks = ["sh", "-c", "while echo y; do sleep 0.01; done"]
    with subprocess.Popen([COMMAND, "run", *speaks], env=environ, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"y\n"
        process.stdout.close()
        assert process.wait(60) == 128 + signal.SIGPIPE


@pytest.mark.parametrize(("target", "why"), [("/dev/full", "No space left on device"), ("&-", "Bad file descriptor")])
def test_a_stdout_that_takes_nothing_costs_neither_the_command_nor_a_line(
    environ: dict[str, str], stream: StreamHandle, target: str, why: str
) -> None:
    # Each line is written by itself, long after the first one could not be shown.
    script = "for i in 1 2 3; do echo line$i; sleep 0.1; done; exit 5"
    line = f'exec "$@" > {target}'.replace("> &", ">&")
    done = subprocess.run(
        ["sh", "-c", line, "sh", COMMAND, "run", "--", "bash", "-c", script], env=environ, capture_output=True
    )
    assert done.returncode == 5
    complaint = "what the command prints is shown no longer, and published as before"
    assert done.stderr.decode() == f"agent-comms: stdout can't be written: {why}; {complaint}\n"
    assert [content for kind, content in said(stream) if kind == "message"] == ["line1", "line2", "line3"]


def test_a_reader_that_takes_its_time_gets_everything(
    environ: dict[str, str], stream: StreamHandle, tmp_path: Path
) -> None:
    lines = [f"{number:04}" for number in range(1_600)]
    (tmp_path / "lines").write_text("\n".join(lines) + "\n")
    # It takes a page; what the command prints is more, and fits into any pipe of its own: the command ends.
    source, sink = os.pipe()
    fcntl.fcntl(sink, F_SETPIPE_SZ, 4096)
    script = f"cat {tmp_path}/lines; touch {tmp_path}/done"
    with subprocess.Popen([COMMAND, "run", "sh", "-c", script], env=environ, stdout=sink) as process:
        os.close(sink)
        wait_until((tmp_path / "done").exists, "the end of the command")
        ended = time.monotonic()
        wait_until(lambda: time.monotonic() - ended > 3 * LAST_WORDS_S, "time for last words")
        with os.fdopen(source) as shown:
            assert shown.read().split() == lines
        assert process.wait(60) == 0
    assert [content for kind, content in said(stream) if kind == "message"] == lines


def test_no_line_of_a_private_key_leaves_this_machine(
    environ: dict[str, str], stream: StreamHandle, tmp_path: Path
) -> None:
    key = [f"-----BEGIN {'PRIVATE'} KEY-----", *(os.urandom(48).hex()[:64] for _ in range(3)), "AQAB", "-----END"]
    (tmp_path / "key").write_text("\n".join(key) + "\n")
    done = run(environ, "cat", str(tmp_path / "key"))
    assert done.stdout.decode().split("\n")[:-1] == key
    told = [content for kind, content in said(stream) if kind == "message"]
    assert told == [key[0], *["[redacted:private-key]"] * 4, "-----END"]


def test_a_command_left_in_the_background_holds_nothing_up(environ: dict[str, str]) -> None:
    done = subprocess.Popen([COMMAND, "run", "sh", "-c", "sleep 1000 & echo $!"], env=environ, stdout=subprocess.PIPE)
    assert done.stdout
    pid = int(done.stdout.readline())
    assert done.wait(60) == 0
    done.stdout.close()
    os.kill(pid, signal.SIGKILL)


def test_on_a_terminal_the_command_has_a_terminal(environ: dict[str, str], stream: StreamHandle) -> None:
    outer, inner = pty.openpty()
    code = "import sys, os; print(sys.stdout.isatty(), os.get_terminal_size(1)); sys.exit(4)"
    process = subprocess.Popen([COMMAND, "run", sys.executable, "-c", code], env=environ, stdin=inner, stdout=inner)
    os.close(inner)
    shown = b""
    while not shown.endswith(b"\n"):
        shown += os.read(outer, 1024)
    assert process.wait(60) == 4
    os.close(outer)
    assert shown.startswith(b"True ")
    assert shown.endswith(b")\r\n")
    assert said(stream)[1] == ("message", shown.decode().strip())


def test_a_run_is_another_than_the_one_before(environ: dict[str, str], stream: StreamHandle) -> None:
    for _ in range(2):
        assert run(environ, "echo", "x").returncode == 0
    ids = [payload["message_id"] for payload in messages(stream) if payload["channel"] == "run"]
    assert len(ids) == len(set(ids)) == 6


def test_what_there_was_neither_time_nor_room_for_is_counted(environ: dict[str, str]) -> None:
    done = run({**environ, "NATS_URL": NOWHERE, "AGENT_COMMS_SPOOL_BYTES": "1000000"}, "--grace", "0", "seq", "300000")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 300_000
    told = done.stderr.decode()
    assert "0 published, 300000 left to backfill\n" in told
    assert re.search(r"of those left, \d+ are kept in \S+, and the next start sends them\n", told)
    assert told.count("the spool is full") == 1
