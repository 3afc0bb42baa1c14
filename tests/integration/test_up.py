import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from connectors.connection import NatsConnection, NatsOptions
from connectors.loopback import HOST
from tests.processes import descendants, is_running, is_stopped
from tests.waiting import wait_until

PROGRAMS = {"nats": "nats-server", "postgres": "pginstall/bin/postgres", "flow": "bytewax.run", "web": "gunicorn"}
SUBJECT = "workflow.agents.by-hand.uid-1.agent.planner.message"


class Up:
    """A running `agent-comms up`, and what it prints."""

    def __init__(
        self, state: Path, *options: str, stdout: int = subprocess.PIPE, foreign: dict[str, str] | None = None
    ) -> None:
        self.state = state
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "web.cli", "up", "--state", str(state), *options],
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=next(folder for folder in state.parents if folder.is_dir()),
            env={**os.environ, "AGENT_COMMS_METRICS_PORT": "0", **(foreign or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        if self.process.stdout is None:
            return
        with self.process.stdout:
            self.lines.extend(self.process.stdout)

    @property
    def text(self) -> str:
        return "".join(self.lines)

    def wait_for_line(self, pattern: str) -> str:
        wait_until(lambda: re.search(pattern, self.text) or self.process.poll() is not None, pattern)
        found = re.search(pattern, self.text)
        assert found, self.text
        return found[0]

    def wait_until_ready(self) -> "Up":
        self.wait_for_line(r"http://127\.0\.0\.1:\d+")
        self.wait_for_line(r"Ctrl-C")
        return self

    @property
    def env(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in shlex.split((self.state / "up.env").read_text()))

    def get(self, path: str) -> tuple[int, str]:
        url = urlsplit(self.env["AGENT_COMMS_URL"])
        with closing(http.client.HTTPConnection(url.netloc, timeout=10)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def runs(self) -> list[dict[str, Any]]:
        status, body = self.get("/api/agents/runs")
        assert status == 200, body
        runs: list[dict[str, Any]] = json.loads(body)["runs"]
        return runs

    def publish(self, content: str) -> None:
        """Publish as any NATS client would."""
        payload = json.dumps({"content": content, "workflowUid": "uid-1", "workflowName": "by-hand"}).encode()
        with NatsConnection(NatsOptions((self.env["NATS_URL"],))) as connection:
            connection.run(connection.jetstream().publish(SUBJECT, payload))

    def said_by_hand(self) -> list[str]:
        with psycopg.connect(self.env["DATABASE_URL"]) as connection:
            rows = connection.execute(
                "SELECT content FROM workflow_comms.agent_messages WHERE workflow_name = 'by-hand' ORDER BY seq"
            ).fetchall()
        return [row[0] for row in rows]

    def pid_of(self, program: str) -> int:
        """The process that `up` started for a program."""
        found = [
            pid
            for pid, command in descendants(self.process.pid).items()
            if PROGRAMS[program] in command and is_child(pid, self.process.pid)
        ]
        return found[0] if len(found) == 1 else 0

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(60)
        self._reader.join()
        return code


def is_child(pid: int, parent: int) -> bool:
    return f"\nPPid:\t{parent}\n" in Path(f"/proc/{pid}/status").read_text()


@contextmanager
def up(
    state: Path, *options: str, stdout: int = subprocess.PIPE, foreign: dict[str, str] | None = None
) -> Iterator[Up]:
    """Start it, and leave nothing of it behind, whatever the test did."""
    running = Up(state, *options, stdout=stdout, foreign=foreign)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            started = descendants(running.process.pid)
            running.end()
            wait_until(lambda: not any(map(is_running, started)), "everything to end")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One with the sample, for tests that only look."""
    with up(tmp_path_factory.mktemp("up") / "st ate", "--port", "0") as running:
        yield running.wait_until_ready()


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Up]:
    """One without the sample, for tests that break it."""
    with up(tmp_path / "state", "--port", "0", "--no-sample") as running:
        yield running.wait_until_ready()


def test_the_address_comes_first_and_the_page_answers(sample: Up) -> None:
    address = sample.wait_for_line(r"http://127\.0\.0\.1:\d+/agents")
    assert next(line for line in sample.lines if line.strip()).rstrip().endswith(address)
    assert address == f"{sample.env['AGENT_COMMS_URL']}/agents"
    status, page = sample.get("/agents")
    assert (status, "<h1" in page) == (200, True)
    assert sample.get("/readyz")[0] == 200


def test_the_addresses_are_for_their_owner_alone(sample: Up) -> None:
    assert list(sample.env) == ["AGENT_COMMS_URL", "NATS_URL", "DATABASE_URL"]
    assert (sample.state / "up.env").stat().st_mode & 0o777 == 0o600
    password = urlsplit(sample.env["DATABASE_URL"]).password
    assert password
    assert password not in sample.text


def test_nothing_listens_for_other_machines(sample: Up) -> None:
    for url in sample.env.values():
        assert urlsplit(url).hostname == HOST
        # Another address of this machine: a server on all of them would answer.
        with (
            pytest.raises(ConnectionRefusedError),
            socket.create_connection(("127.0.0.2", urlsplit(url).port or 0), timeout=5),
        ):
            pass


def test_the_sample_is_in_its_midst_at_once(sample: Up) -> None:
    wait_until(lambda: len(sample.runs()) == 3, "two runs that go on, and one that is over")
    wait_until(lambda: {run["state"] for run in sample.runs()} == {"running", "succeeded"}, "their states")
    names = {run["workflow_name"].rpartition("-")[0] for run in sample.runs()}
    assert names == {"fix-flaky-checkout", "speed-up-search"}
    assert all(set(run["agents"]) <= {"planner", "executor", "reviewer"} for run in sample.runs())
    status, body = sample.get("/api/agents/messages?channel=general")
    assert (status, bool(json.loads(body)["messages"])) == (200, True)


def test_the_sample_goes_on(sample: Up) -> None:
    before = sum(run["messages"] for run in sample.runs())
    wait_until(lambda: sum(run["messages"] for run in sample.runs()) > before + 2, "more to be said")


def test_a_message_of_a_bare_client_is_a_row_and_on_the_page(quiet: Up) -> None:
    quiet.publish("Hello, **agents**")
    wait_until(lambda: quiet.said_by_hand() == ["Hello, **agents**"], "the row")
    status, page = quiet.get("/agents/by-hand")
    assert (status, "Hello, <strong>agents</strong>" in page) == (200, True)
    assert [run["workflow_name"] for run in quiet.runs()] == ["by-hand"]


def test_a_second_one_on_the_same_state_is_one_clear_line(quiet: Up) -> None:
    with up(quiet.state, "--port", "0") as second:
        assert second.process.wait(60) == 1
    second._reader.join()
    words = f"{quiet.state} is in use by another `agent-comms up`, process {quiet.process.pid}"
    assert second.lines == [f"agent-comms: {words}\n"]
    assert quiet.get("/readyz")[0] == 200


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with up(tmp_path / "state", "--port", str(port)) as running:
            assert running.process.wait(60) == 1
    running._reader.join()
    assert running.lines == [f"agent-comms: port {port} is taken; choose another with --port\n"]


def test_a_state_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with up(tmp_path / "file" / "state") as running:
        assert running.process.wait(60) == 1
    running._reader.join()
    assert running.lines == [
        f"agent-comms: {tmp_path}/file/state: Not a directory; choose another folder with --state\n"
    ]


def test_what_other_servers_are_reached_by_is_forgotten(tmp_path: Path) -> None:
    foreign = {
        "NATS_URL": "nats://127.0.0.1:1",
        "NATS_USER": "me",
        "NATS_PASSWORD": "secret",
        "PGSSLMODE": "require",
    }
    with up(tmp_path / "state", "--port", "0", "--no-sample", foreign=foreign) as running:
        running.wait_until_ready().publish("heard")
        wait_until(lambda: running.said_by_hand() == ["heard"], "the row")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_dies_is_started_again_and_said_so(quiet: Up, program: str) -> None:
    quiet.publish("before")
    wait_until(lambda: quiet.said_by_hand() == ["before"], "the first row")
    before = descendants(quiet.process.pid)
    os.kill(quiet.pid_of(program), signal.SIGKILL)
    quiet.wait_for_line(rf"{program} ended \(SIGKILL\); it is started again now")
    wait_until(lambda: quiet.pid_of(program) not in (0, *before), "another process")
    wait_until(lambda: is_ready(quiet), "it to be ready again")
    quiet.publish("after")
    wait_until(lambda: quiet.said_by_hand() == ["before", "after"], "the second row")


def is_ready(running: Up) -> bool:
    try:
        return running.get("/readyz")[0] == 200
    except OSError:
        return False


def test_it_goes_on_though_nobody_reads_what_it_says(tmp_path: Path) -> None:
    read, write = os.pipe()
    with up(tmp_path / "state", "--port", "0", "--no-sample", stdout=write) as running:
        os.close(write)
        with os.fdopen(read) as lines:
            assert any("http://" in line for line in lines)
        before = descendants(running.process.pid)
        os.kill(running.pid_of("web"), signal.SIGKILL)
        wait_until(lambda: running.pid_of("web") not in (0, *before), "another process")
        wait_until(lambda: is_ready(running), "it to be ready again")
        assert running.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_ends_everything_it_started(quiet: Up, number: signal.Signals) -> None:
    started = descendants(quiet.process.pid)
    assert all(any(words in command for command in started.values()) for words in PROGRAMS.values())
    assert quiet.end(number) == 0
    assert not any(map(is_running, started))
    assert quiet.lines[-1] == "Ended.\n"
    assert not (quiet.state / "up.env").exists()


@pytest.mark.parametrize("program", ["flow", "web", "postgres"])
def test_it_ends_what_hangs(quiet: Up, program: str) -> None:
    started = descendants(quiet.process.pid)
    hanging = quiet.pid_of(program)
    os.kill(hanging, signal.SIGSTOP)
    wait_until(lambda: is_stopped(hanging), "it to hang")
    assert quiet.end() == 0
    assert not any(map(is_running, started))


def test_what_it_started_ends_though_it_is_killed_itself(quiet: Up) -> None:
    started = descendants(quiet.process.pid)
    quiet.process.kill()
    quiet.process.wait()
    wait_until(lambda: not any(map(is_running, started)), "everything to end")


def test_data_and_addresses_survive(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with up(state, "--port", "0", "--no-sample") as first:
        first.wait_until_ready().publish("kept")
        wait_until(lambda: first.said_by_hand() == ["kept"], "the row")
        addresses = first.env
        # The worst end that it can have.
        first.process.kill()
        first.process.wait()
    with up(state, "--port", "0", "--no-sample") as second:
        assert second.wait_until_ready().env == addresses
        second.publish("again")
        wait_until(lambda: second.said_by_hand() == ["kept", "again"], "both rows")


def test_the_sample_goes_on_with_the_same_runs_after_a_restart(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with up(state, "--port", "0") as first:
        first.wait_until_ready()
        wait_until(lambda: len(first.runs()) == 3, "the runs")
        uids = {run["workflow_uid"] for run in first.runs()}
        assert first.end() == 0
    with up(state, "--port", "0") as second:
        second.wait_until_ready()
        before = sum(run["messages"] for run in second.runs())
        wait_until(lambda: sum(run["messages"] for run in second.runs()) > before, "more to be said")
        assert {run["workflow_uid"] for run in second.runs()} == uids
