"""`agent-comms read`: over the API and straight from Postgres, on a terminal and for a prompt."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import IO, Any

import psycopg
import pytest

import sql
from tests import forks
from tests.servers import PostgresServer, fresh_database
from tests.waiting import PATIENCE_S, wait_until
from tests.webserver import StartWeb, WebServer
from tests.writers import Writer

COMMAND = Path(sysconfig.get_path("scripts")) / "agent-comms"
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
Environ = dict[str, str]


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.fixture(params=["api", "postgres"])
def source(request: pytest.FixtureRequest, web: WebServer) -> Environ:
    """Say where messages are read from."""
    return {"AGENT_COMMS_URL": web.url} if request.param == "api" else {"DATABASE_URL": web.database}


def read(source: Environ, *options: str) -> subprocess.CompletedProcess[str]:
    return forks.run_text([str(COMMAND), "read", *options], env=environ(source))


def environ(source: Environ) -> Environ:
    base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**base, **source}


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the contents of JSON lines."""
    assert done.returncode == 0, done
    return [json.loads(line)["content"] for line in done.stdout.splitlines()]


def test_the_newest_are_read_in_reading_order(source: Environ, writer: Writer) -> None:
    for minute in (3, 1, 2):
        writer.say(f"minute {minute}", timestamp=NOON + timedelta(minutes=minute))
    done = read(source, "--run", "run-1", "--last", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "2026-05-04 12:02:00 planner message\n    minute 2\n2026-05-04 12:03:00 planner message\n    minute 3\n"
    )


def test_what_can_not_be_printed_is_one_line(source: Environ, writer: Writer) -> None:
    writer.say("hello")
    words = ["sh", "-c", f"{shlex.quote(str(COMMAND))} read --run run-1 > /dev/full"]
    done = subprocess.run(words, env=environ(source), capture_output=True)
    assert (done.returncode, done.stderr) == (1, b"agent-comms: stdout can't be written: No space left on device\n")


def test_what_concerns_somebody_is_found_wherever_it_was_said(source: Environ, writer: Writer) -> None:
    shop = {"repository": "org/shop", "issueNumber": 12, "branch": "fix"}
    claim = {"identity": "claimed"}
    writer.say("a", attrs=shop, timestamp=NOON)
    writer.say("b", run="run-2", attrs={**shop, "issueNumber": "13"}, timestamp=NOON + timedelta(minutes=1))
    writer.say("c", run="run-2", channel="general", attrs=shop | claim, timestamp=NOON + timedelta(minutes=2))
    writer.say("d", channel="general", attrs=claim, timestamp=NOON + timedelta(minutes=3))
    writer.say("e", run="run-3", kind="error", agent_id="executor", workflow_namespace="b")

    def found(*options: str) -> list[str]:
        return said(read(source, *options, "--format", "jsonl"))

    assert found("--repository", "org/shop") == ["a", "b", "c"]
    assert found("--issue", "#12") == ["a", "c"]
    assert found("--branch", "fix", "--issue", "13") == ["b"]
    assert found("--general") == ["c", "d"]
    assert found("--general", "--repository", "org/shop") == ["c"]
    assert found("--run", "run-1") == ["a"]
    assert found("--run", "run-1", "--general") == ["a", "d"]
    assert found("--namespace", "b") == ["e"]
    assert found("--namespace", "b", "--kind", "error,status", "--kind", "log", "--agent", "executor") == ["e"]
    nothing = read(source, "--repository", "org/shop", "--agent", "nobody")
    assert (nothing.returncode, nothing.stdout, nothing.stderr) == (1, "", "agent-comms: nothing found\n")
    assert read(source, "--run", "nobody").returncode == 1


def test_a_run_that_no_message_has_come_of_is_told_from_one_that_is_not_there(source: Environ, web: WebServer) -> None:
    ended = {"namespace": "b", "uid": "uid/1", "name": "nightly", "run_id": None, "phase": "Failed"}
    with psycopg.connect(web.database) as connection:
        connection.execute(
            sql.query("complete_run"), {**ended, "started_at": None, "finished_at": NOON, "received_at": NOON}
        )
    told = "agent-comms: the run is there, failed, and no message of it has come yet\n"
    for options in (("uid/1",), ("nightly", "--namespace", "b", "--general")):
        done = read(source, "--run", *options)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", told)
    for others in (("nightly", "--namespace", "a"), ("events",), ("nightly/complete",), ("nobody",)):
        assert read(source, "--run", *others).stderr == "agent-comms: nothing found\n"


def test_a_prompt_gets_whole_messages_and_is_told_what_it_does_not_get(source: Environ, writer: Writer) -> None:
    writer.say(*(f"message {number} " + "数" * 50 for number in range(20)), timestamp=NOON)
    everything = read(source, "--run", "run-1").stdout
    for limit in (40, 300, len(everything) - 1):
        for form in ("text", "md"):
            done = read(source, "--run", "run-1", "--max-chars", str(limit), "--format", form)
            assert done.returncode == 0
            assert len(done.stdout) <= limit
            shown = re.findall(r"message (\d+) 数{50}\n", done.stdout)
            assert shown == [str(number) for number in range(20 - len(shown), 20)]
            notice = re.search(r"(\d+) earlier messages? left out", done.stdout)
            assert (int(notice[1]) if notice else 0) == 20 - len(shown)
    assert read(source, "--run", "run-1", "--max-chars", str(len(everything))).stdout == everything
    tiny = read(source, "--run", "run-1", "--max-chars", "5")
    assert (tiny.returncode, tiny.stdout) == (0, "")
    assert "20 earlier messages left out" in tiny.stderr
    lines = read(source, "--run", "run-1", "--max-chars", "2000", "--format", "jsonl")
    assert len(lines.stdout) <= 2_000
    left_out = 20 - len(said(lines))
    assert lines.stderr == f"agent-comms: {left_out} earlier messages left out\n"


def test_a_prompt_gets_the_end_of_a_long_output_and_a_note_of_the_rest(source: Environ, writer: Writer) -> None:
    lines = "\n".join(f"line {number}" for number in range(5_000))
    asked = {"name": "shell", "input": "npm test", "output": lines, "exit_code": 1}
    writer.say("npm test", kind="tool_call", attrs={"tool": {"name": "shell", "input": "npm test"}}, timestamp=NOON)
    writer.say("out", kind="tool_result", attrs={"tool": asked}, timestamp=NOON)
    whole = read(source, "--run", "run-1").stdout
    assert whole.count("npm test\n") == 1
    assert lines in whole.replace("    ", "")
    # Whether its call is there or not, what was asked is told once.
    for limit in ("2000", "600"):
        prompt = read(source, "--run", "run-1", "--max-chars", limit).stdout
        assert len(prompt) <= int(limit)
        assert prompt.count("npm test\n") == 1
        assert "line 4999\n" in prompt
        assert re.search(r"left out, 4,\d+ of 5,000 lines\)", prompt)


def test_more_than_a_page_is_read(source: Environ, writer: Writer) -> None:
    writer.say(*(str(number) for number in range(2_300)), timestamp=NOON)
    assert said(read(source, "--run", "run-1", "--last", "2200", "--format", "jsonl")) == [
        str(number) for number in range(100, 2_300)
    ]


def test_it_says_that_not_all_was_looked_through(database: str) -> None:
    with Writer(database) as writer:
        # Nobody indexes them.
        writer.say(*["x"] * 4_200, attrs={"repository": "org/shop"})
    done = read({"DATABASE_URL": database}, "--repository", "org/shop", "--last", "1")
    assert (done.returncode, done.stdout.count("\n")) == (0, 2)
    assert "not all indexed yet" in done.stderr


def test_nothing_that_was_said_speaks_to_the_terminal(source: Environ, writer: Writer) -> None:
    writer.say("\x1b]0;owned\x07\x1b[2J\x9b31mred\r\nagain\u202e", agent_id="ev\x1b[31mil\nplanner")
    done = subprocess.run(
        [COMMAND, "read", "--run", "run-1"], env=environ(source), capture_output=True, check=True, timeout=PATIENCE_S
    )
    assert all(byte in b"\n" or byte >= 32 for byte in done.stdout)
    head, *rest = done.stdout.decode().splitlines()
    assert head.endswith(" evil planner message")
    assert all(line.startswith("    ") for line in rest)


class Following:
    """A command that follows, and the lines it has printed."""

    def __init__(self, source: Environ, *options: str) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [COMMAND, "read", *options, "--follow", "--format", "jsonl"],
            env=environ(source),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._take, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def _take(self, stdout: IO[str]) -> None:
        self.lines += (json.loads(line)["content"] for line in stdout)

    def hear(self, *contents: str) -> None:
        wait_until(lambda: self.lines == list(contents), f"{contents}, not {self.lines}")

    def interrupt(self) -> int:
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(timeout=PATIENCE_S)
        self._reader.join(timeout=PATIENCE_S)
        return code

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()


@contextmanager
def following(source: Environ, *options: str) -> Iterator[Following]:
    command = Following(source, *options)
    try:
        yield command
    finally:
        command.kill()


def test_it_follows_a_run_and_what_the_general_channel_says_of_it(source: Environ, writer: Writer) -> None:
    writer.say("old", "before", timestamp=NOON)
    with following(source, "--run", "run-1", "--general", "--last", "1") as command:
        command.hear("before")
        # Before what is there in reading order, yet news.
        writer.say("late", timestamp=NOON - timedelta(days=1))
        command.hear("before", "late")
        writer.say("claimed", channel="general")
        writer.say("of another run", run="run-2")
        writer.say("of another run", run="run-2", channel="general")
        command.hear("before", "late", "claimed")
        assert command.interrupt() == 130


def test_it_follows_what_is_not_there_yet(source: Environ, writer: Writer) -> None:
    with (
        following(source, "--run", "run-9", "--agent", "executor") as run,
        following(source, "--general", "--repository", "org/shop") as general,
    ):
        time.sleep(0.5)
        writer.say("no", run="run-9")
        writer.say("yes", run="run-9", agent_id="executor")
        writer.say("no", channel="general")
        writer.say("about it", channel="general", attrs={"repository": "org/shop"})
        run.hear("yes")
        general.hear("about it")


def test_over_the_api_it_follows_through_a_restart(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database)
    with Writer(database) as writer:
        writer.say("before")
        with following({"AGENT_COMMS_URL": web.url}, "--run", "run-1") as command:
            command.hear("before")
            web.stop()
            writer.say("meanwhile")
            web.start()
            command.hear("before", "meanwhile")
            writer.say("after")
            command.hear("before", "meanwhile", "after")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "say what to read"),
        (("--agent", "planner"), "say what to read"),
        (("--repository", "x", "--follow"), "--follow goes with --run or --general"),
        (("--run", "x", "--last", "0"), "--last"),
        (("--run", "x", "--format", "xml"), "--format"),
        (("--run", "x" * 1_001), "runId is too long"),
    ],
)
def test_a_wrong_option_is_named(web: WebServer, options: tuple[str, ...], words: str) -> None:
    done = read({"AGENT_COMMS_URL": web.url}, *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"AGENT_COMMS_URL": "http://127.0.0.1:1"}, "http://127.0.0.1:1 can't be reached: Connection refused"),
        ({"DATABASE_URL": "postgresql://127.0.0.1:1/x"}, "Postgres can't be reached"),
    ],
)
@pytest.mark.parametrize("follow", [(), ("--follow",)])
def test_nothing_found_and_not_reached_differ(source: Environ, words: str, follow: tuple[str, ...]) -> None:
    done = read(source, "--run", "run-1", *follow)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("agent-comms: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://x", "http://", "nonsense"])
def test_an_address_that_is_none_is_named(url: str) -> None:
    done = read({"AGENT_COMMS_URL": url}, "--run", "x")
    assert done.returncode == 2
    assert "AGENT_COMMS_URL" in done.stderr


def test_without_postgres_the_api_is_not_of_use(start_web: StartWeb, own_postgres_server: PostgresServer) -> None:
    with fresh_database(own_postgres_server) as dsn:
        web = start_web(DATABASE_URL=dsn)
        own_postgres_server.stop()
        done = read({"AGENT_COMMS_URL": web.url}, "--run", "x")
        assert done.returncode == 3
        assert "the API can't answer" in done.stderr
        own_postgres_server.start()


class Guarded(BaseHTTPRequestHandler):
    """An API that lets one token in."""

    def do_GET(self) -> None:
        known = self.headers["Authorization"] == "Bearer s3cret"
        found: dict[str, Any] = (
            {"messages": [], "prev": None} if "/messages?" in self.path else {"error": "No such run."}
        )
        message = found if known else {"error": "Who are you?"}
        body = json.dumps(message).encode()
        self.send_response((404 if "error" in message else 200) if known else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_token_says_who_asks_and_is_never_shown() -> None:
    with HTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert read({"AGENT_COMMS_URL": url, "AGENT_COMMS_TOKEN": "s3cret"}, "--run", "x").returncode == 1
        for token in ({}, {"AGENT_COMMS_TOKEN": "wr0ng"}):
            done = read({"AGENT_COMMS_URL": url, **token}, "--run", "x")
            assert done.returncode == 3
            assert "Who are you?" in done.stderr
            assert "wr0ng" not in done.stderr
        server.shutdown()


def test_whoever_has_read_enough_may_go(source: Environ, writer: Writer) -> None:
    writer.say(*["x" * 1_000] * 500)
    shell = f"{shlex.quote(str(COMMAND))} read --run run-1 --last 500 | head -1"
    done = subprocess.run(
        ["sh", "-c", shell], env=environ(source), capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    assert done.stderr == ""


def test_it_loads_no_more_than_it_needs() -> None:
    code = (
        "import sys, web.read, web.remote, web.transcript;"
        "print([m for m in ('flask', 'nats', 'psycopg', 'gevent', 'markdown_it') if m in sys.modules])"
    )
    python = Path(sysconfig.get_path("scripts")) / "python"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


HEAVY = {"bytewax", "flask", "gevent", "nats", "polars", "rich"}


@pytest.mark.parametrize("way", ["api", "postgres"])
def test_nothing_heavy_is_loaded_to_read(web: WebServer, writer: Writer, way: str) -> None:
    writer.say("hello")
    code = """if True:
        import sys
        from web.cli import main
        try:
            main(["read", "--run", "run-1"])
        except SystemExit as end:
            print("loaded:", *{name.partition(".")[0] for name in sys.modules}, file=sys.stderr)
            raise
    """
    where = {"AGENT_COMMS_URL": web.url} if way == "api" else {"DATABASE_URL": web.database}
    done = subprocess.run([sys.executable, "-c", code], env=environ(where), capture_output=True, text=True, check=True)
    assert "hello" in done.stdout
    loaded = set(done.stderr.partition("loaded:")[2].split())
    assert loaded.isdisjoint(HEAVY | ({"psycopg"} if way == "api" else {"prometheus_client", "psycopg_pool"}))
