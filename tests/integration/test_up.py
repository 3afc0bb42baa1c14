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
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from connectors.connection import NatsConnection, NatsOptions
from connectors.loopback import HOST
from flows.exposition import LASTING_PORT
from tests import forks
from tests.ingestion import administer
from tests.processes import descendants, is_running, is_stopped
from tests.scrape import scrape
from tests.servers import TEMPLATE, copied
from tests.waiting import PATIENCE_S, wait_until
from web.up import DATABASE

COMMAND = [sys.executable, "-m", "web.cli", "up"]
ENVIRON = {**os.environ, "AGENT_COMMS_METRICS_PORT": "0"}
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
            [*COMMAND, "--state", str(state), *options],
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=next(folder for folder in state.parents if folder.is_dir()),
            env={**ENVIRON, **(foreign or {})},
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
        with closing(http.client.HTTPConnection(url.netloc, timeout=PATIENCE_S)) as connection:
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
        """What is stored of it; nothing while Postgres is away."""
        with suppress(psycopg.OperationalError), psycopg.connect(self.env["DATABASE_URL"]) as connection:
            rows = connection.execute(
                "SELECT content FROM workflow_comms.agent_messages WHERE workflow_name = 'by-hand' ORDER BY seq"
            ).fetchall()
            return [row[0] for row in rows]
        return []

    def pid_of(self, program: str, but: Collection[int] = ()) -> int:
        """Wait for the process that `up` has started for a program; those in `but` are others."""
        found: list[int] = []

        def is_there() -> bool:
            found[:] = [
                pid
                for pid, command in descendants(self.process.pid).items()
                if pid not in but and PROGRAMS[program] in command and is_child(pid, self.process.pid)
            ]
            return len(found) == 1

        wait_until(is_there, f"one process of {program}")
        return found[0]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(120)
        self._reader.join()
        return code


def is_child(pid: int, parent: int) -> bool:
    # It may have ended meanwhile.
    with suppress(OSError):
        return f"\nPPid:\t{parent}\n" in Path(f"/proc/{pid}/status").read_text()
    return False


def refused(state: Path, *options: str, foreign: dict[str, str] | None = None) -> tuple[int, str]:
    """Return the exit code and the words of one that ends before it has started anything."""
    done = forks.run_text(
        [*COMMAND, "--state", str(state), *(options or ("--port", "0"))], env={**ENVIRON, **(foreign or {})}
    )
    return done.returncode, done.stdout + done.stderr


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
    """One with the sample, for tests that only look; the port of the flow's metrics is another set-up's."""
    with socket.socket() as taken:
        # Where somebody has it already, it is taken too.
        with suppress(OSError):
            taken.bind((HOST, LASTING_PORT))
            taken.listen()
        told = {"AGENT_COMMS_METRICS_PORT": ""}
        with up(tmp_path_factory.mktemp("up") / "st ate", "--port", "0", foreign=told) as running:
            yield running.wait_until_ready()


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One without the sample, for tests that break something of it; how others' servers are reached is in its way."""
    foreign = {
        "NATS_URL": "nats://127.0.0.1:1",
        "NATS_USER": "me",
        "NATS_PASSWORD": "secret",
        "PGSSLMODE": "require",
    }
    with up(tmp_path_factory.mktemp("up") / "state", "--port", "0", "--no-sample", foreign=foreign) as running:
        yield running.wait_until_ready()


def test_the_address_comes_first_and_the_page_answers(sample: Up) -> None:
    address = sample.wait_for_line(r"http://127\.0\.0\.1:\d+/agents")
    assert next(line for line in sample.lines if line.strip()).rstrip().endswith(address)
    assert address == f"{sample.env['AGENT_COMMS_URL']}/agents"
    status, page = sample.get("/agents")
    assert (status, "<h1" in page) == (200, True)
    wait_until(lambda: is_ready(sample), "it to be ready")


def test_the_flow_tells_its_metrics_where_it_says_though_another_set_up_has_the_usual_port(sample: Up) -> None:
    port = int(sample.wait_for_line(r"Metrics +http://127\.0\.0\.1:\d+/metrics").rpartition(":")[2].split("/")[0])
    assert port != LASTING_PORT
    (name,) = [line for line in scrape(port) if line.startswith("agent_comms_flow_target")]
    assert urlsplit(sample.env["DATABASE_URL"]).path in name


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
    # Two that go on, and one that is over; where this takes long, more of these.
    wait_until(lambda: len(sample.runs()) >= 3, "three runs")
    wait_until(lambda: {run["state"] for run in sample.runs()} >= {"running", "succeeded"}, "their states")
    names = {run["workflow_name"].rpartition("-")[0] for run in sample.runs()}
    assert names == {"fix-flaky-checkout", "speed-up-search"}
    assert all(set(run["agents"]) <= {"planner", "executor", "reviewer"} for run in sample.runs())

    def is_said_in_the_room() -> bool:
        status, body = sample.get("/api/agents/messages?channel=general")
        return status == 200 and bool(json.loads(body)["messages"])

    wait_until(is_said_in_the_room, "a word in the room")


def test_the_sample_goes_on(sample: Up) -> None:
    before = sum(run["messages"] for run in sample.runs())
    wait_until(lambda: sum(run["messages"] for run in sample.runs()) > before + 2, "more to be said")


def test_a_message_of_a_bare_client_is_a_row_and_on_the_page(quiet: Up) -> None:
    quiet.publish("Hello, **agents**")
    wait_until(lambda: "Hello, **agents**" in quiet.said_by_hand(), "the row")
    status, page = quiet.get("/agents/by-hand")
    assert (status, "Hello, <strong>agents</strong>" in page) == (200, True)
    assert [run["workflow_name"] for run in quiet.runs()] == ["by-hand"]


def test_a_second_one_on_the_same_state_is_one_clear_line(quiet: Up) -> None:
    words = f"{quiet.state} is in use by another `agent-comms up`, process {quiet.process.pid}"
    assert refused(quiet.state) == (1, f"agent-comms: {words}\n")
    wait_until(lambda: is_ready(quiet), "the first one to be ready")


def test_the_release_before_starts_on_what_a_newer_one_has_left(cluster: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with copied(cluster, state / "postgres") as server:
        administer(server.dsn(), f"CREATE DATABASE {DATABASE} TEMPLATE {TEMPLATE}")
        newer = "INSERT INTO workflow_comms.migrations VALUES (9999, '9999_of_the_next_release', 'x')"
        administer(server.dsn(DATABASE), newer)
    with up(state, "--port", "0", "--no-sample") as running:
        running.wait_until_ready()
        assert "nothing to migrate: the database has migration 9999_of_the_next_release" in running.text
        running.publish("still here")
        wait_until(lambda: running.said_by_hand() == ["still here"], "the row")


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(tmp_path / "state", "--port", str(port))
        of_metrics = refused(tmp_path / "state", foreign={"AGENT_COMMS_METRICS_PORT": str(port)})
    assert said == (1, f"agent-comms: port {port} is taken; choose another with --port\n")
    assert of_metrics == (1, f"agent-comms: port {port} is taken; choose another with AGENT_COMMS_METRICS_PORT\n")


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (
            {"AGENT_COMMS_AUTH": "token"},
            "AGENT_COMMS_READERS_FILE: it is needed with AGENT_COMMS_AUTH `token`",
        ),
        (
            {"AGENT_COMMS_AUTH": "proxy", "AGENT_COMMS_READERS_FILE": "x"},
            "AGENT_COMMS_PROXY_ADDRESSES: it is needed with AGENT_COMMS_AUTH `proxy`, and is empty",
        ),
        ({"AGENT_COMMS_REDACT_FILE": "/nowhere"}, "AGENT_COMMS_REDACT_FILE: /nowhere: No such file or directory"),
        (
            {"AGENT_COMMS_HOSTS": "*"},
            "AGENT_COMMS_HOSTS: it takes host names such as agents.example.com, without scheme, port and *, but got"
            " '*'",
        ),
    ],
    ids=["readers", "proxy", "redact", "hosts"],
)
def test_a_setting_with_which_a_program_would_end_is_one_clear_line(
    tmp_path: Path, told: dict[str, str], line: str
) -> None:
    assert refused(tmp_path / "state", foreign=told) == (2, f"agent-comms: {line}\n")
    assert not (tmp_path / "state").exists()


def test_a_state_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    words = f"{tmp_path}/file/state: Not a directory; choose another folder with --state"
    assert refused(tmp_path / "file" / "state") == (1, f"agent-comms: {words}\n")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_that_dies_is_started_again_and_said_so(quiet: Up, program: str) -> None:
    quiet.publish(f"before {program}")
    wait_until(lambda: f"before {program}" in quiet.said_by_hand(), "the first row")
    said = quiet.said_by_hand()
    before = descendants(quiet.process.pid)
    os.kill(quiet.pid_of(program), signal.SIGKILL)
    quiet.wait_for_line(rf"{program} ended \(SIGKILL\); it is started again now")
    quiet.pid_of(program, but=before)
    wait_until(lambda: is_ready(quiet), "it to be ready again")
    quiet.publish(f"after {program}")
    wait_until(lambda: quiet.said_by_hand() == [*said, f"after {program}"], "the second row")


def is_ready(running: Up) -> bool:
    try:
        return running.get("/readyz")[0] == 200
    except OSError:
        return False


def test_it_ends_everything_it_started(quiet: Up) -> None:
    started = descendants(quiet.process.pid)
    assert all(any(words in command for command in started.values()) for words in PROGRAMS.values())
    assert quiet.end() == 0
    wait_until(lambda: not any(map(is_running, started)), "what it has started to be gone")
    assert quiet.lines[-1] == "Ended.\n"
    assert not (quiet.state / "up.env").exists()


def test_it_goes_on_though_nobody_reads_what_it_says(quiet: Up) -> None:
    read, write = os.pipe()
    # It may have ended already; its state will do.
    quiet.end()
    with up(quiet.state, "--port", "0", "--no-sample", stdout=write) as running:
        os.close(write)
        with os.fdopen(read) as lines:
            assert any("http://" in line for line in lines)
        before = descendants(running.process.pid)
        os.kill(running.pid_of("web"), signal.SIGKILL)
        running.pid_of("web", but=before)
        wait_until(lambda: is_ready(running), "it to be ready again")
        assert running.end(signal.SIGHUP) == 0


def test_it_ends_what_hangs(sample: Up) -> None:
    started = descendants(sample.process.pid)
    hanging = [sample.pid_of(program) for program in ("flow", "web", "postgres")]
    for pid in hanging:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: all(map(is_stopped, hanging)), "them to hang")
    assert sample.end(signal.SIGINT) == 0
    wait_until(lambda: not any(map(is_running, started)), "what was killed to be gone")


def test_after_it_was_killed_nothing_runs_and_the_next_one_goes_on_with_everything(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with up(state, "--port", "0") as first:
        first.wait_until_ready().publish("kept")
        wait_until(lambda: first.said_by_hand() == ["kept"], "the row")
        wait_until(lambda: len(first.runs()) >= 4, "the sample's runs, and ours")
        addresses, uids = first.env, {run["workflow_uid"] for run in first.runs()}
        started = descendants(first.process.pid)
        first.process.kill()
        first.process.wait()
        wait_until(lambda: not any(map(is_running, started)), "everything to end")
    with up(state, "--port", "0") as second:
        assert second.wait_until_ready().env == addresses
        second.publish("again")
        wait_until(lambda: second.said_by_hand() == ["kept", "again"], "both rows")
        before = sum(run["messages"] for run in second.runs())
        wait_until(lambda: sum(run["messages"] for run in second.runs()) > before, "the sample to go on")
        # Those that went on go on; where this takes long, another has begun after one that is over.
        assert uids <= {run["workflow_uid"] for run in second.runs()}
        assert len({run["workflow_uid"] for run in second.runs()} - uids) <= 1
