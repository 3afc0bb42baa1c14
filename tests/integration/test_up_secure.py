"""`agent-comms up --secure`: the same programs, each as a user that may do no more than it needs."""

import http.client
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import psycopg
import pytest

from connectors.connection import NatsConnection, NatsOptions, NatsUnavailable
from flows.nats import nats_options
from flows.settings import Settings
from flows.users import AGENTS, SYSTEM, USERS, User
from tests import forks
from tests.integration.test_up import Up, is_ready, refused, up
from tests.waiting import PATIENCE_S, wait_until

SETTINGS = {field.name.upper() for field in msgspec.structs.fields(Settings)}


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with up(tmp_path_factory.mktemp("up") / "st ate", "--port", "0", "--secure") as running:
        yield running.wait_until_ready()


def env_of(running: Up, user: User) -> dict[str, str]:
    lines = (running.state / "credentials" / f"{user.name}.env").read_text()
    return dict(line.split("=", 1) for line in shlex.split(lines))


def command(running: Up, user: User, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command as somebody who has a user's credentials and nothing else."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("NATS_")}
    return forks.run_text([sys.executable, "-m", "web.cli", *words], env={**clean, **env_of(running, user)})


def say(running: Up, body: dict[str, str]) -> int:
    """Speak as a person does in the pages."""
    url = urlsplit(running.env["AGENT_COMMS_URL"])
    with closing(http.client.HTTPConnection(url.netloc, timeout=PATIENCE_S)) as connection:
        connection.request(
            "POST", "/api/agents/messages", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        return connection.getresponse().status


def rows(running: Up, content: str) -> list[tuple[str, str, str, str | None]]:
    with psycopg.connect(running.env["DATABASE_URL"]) as connection:
        found = connection.execute(
            "SELECT channel, workflow_namespace, agent_id, attrs->>'identity' FROM workflow_comms.agent_messages "
            "WHERE content = %s",
            [content],
        ).fetchall()
    return [(row[0], row[1], row[2], row[3]) for row in found]


def test_the_credentials_are_for_their_owner_alone(secure: Up) -> None:
    folder = secure.state / "credentials"
    assert folder.stat().st_mode & 0o777 == 0o700
    files = sorted(folder.iterdir())
    assert {f"{user.name}.env" for user in USERS} <= {file.name for file in files}
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.name)
def test_a_users_file_is_all_that_a_program_has_to_be_told(user: User, secure: Up) -> None:
    environ = env_of(secure, user)
    assert environ.keys() <= SETTINGS
    assert environ["NATS_URL"] == secure.env["NATS_URL"]
    assert urlsplit(environ["NATS_URL"]).scheme == "tls"
    for name, value in environ.items():
        assert not name.endswith("_FILE") or (Path(value).is_absolute() and Path(value).is_file())
    with NatsConnection(nats_options(Settings.from_env(environ), "test")) as connection:
        assert connection.is_connected


def test_the_seeds_are_nowhere_else(secure: Up) -> None:
    seeds = [(secure.state / "credentials" / f"{user.name}.nk").read_text().strip() for user in USERS]
    others = [*(secure.state / "logs").iterdir(), *(secure.state / "nats").rglob("*.conf"), secure.state / "up.env"]
    assert len(set(seeds)) == len(USERS)
    for file in others:
        text = file.read_text(errors="replace")
        assert not any(seed in text for seed in seeds), file
    assert not any(seed in secure.text for seed in seeds)


def test_an_agent_speaks_in_its_run_and_in_the_shared_room_of_its_namespace(secure: Up) -> None:
    said = command(secure, AGENTS, "publish", "--name", "by-hand", "--agent", "planner", "in the run")
    assert (said.returncode, said.stderr) == (0, "")
    said = command(secure, AGENTS, "publish", "--name", "by-hand", "--agent", "planner", "--general", "in the room")
    assert (said.returncode, said.stderr) == (0, "")
    wait_until(lambda: rows(secure, "in the run") and rows(secure, "in the room"), "both rows")
    assert rows(secure, "in the run") == [("run", "agents", "planner", None)]
    # Where it was said is the server's word.
    assert rows(secure, "in the room") == [("general", "agents", "planner", "namespace")]


def test_who_speaks_reads_it_with_the_same_file(secure: Up) -> None:
    said = command(secure, AGENTS, "publish", "--name", "read-again", "--agent", "planner", "to be read")
    assert (said.returncode, said.stderr) == (0, "")
    wait_until(lambda: rows(secure, "to be read"), "the row")
    read = command(secure, AGENTS, "read", "--run", "read-again", "--format", "jsonl")
    assert (read.returncode, read.stderr) == (0, "")
    assert [json.loads(line)["content"] for line in read.stdout.splitlines()] == ["to be read"]


def test_a_person_speaks(secure: Up) -> None:
    assert say(secure, {"channel": "general", "content": "a person in the room"}) == 202
    assert say(secure, {"workflow_name": "by-hand-2", "content": "a person in a run"}) == 202
    wait_until(lambda: rows(secure, "a person in the room") and rows(secure, "a person in a run"), "both rows")
    assert rows(secure, "a person in the room") == [("general", "agents", "person", "person")]
    assert rows(secure, "a person in a run") == [("run", "agents", "person", None)]


def test_the_sample_talks_and_all_is_ready(secure: Up) -> None:
    wait_until(lambda: len(secure.runs()) >= 3, "the runs of the sample")
    wait_until(lambda: is_ready(secure), "it to be ready")


def test_each_program_reaches_postgres_as_a_role_that_owns_nothing(secure: Up) -> None:
    with psycopg.connect(secure.env["DATABASE_URL"]) as connection:
        found = connection.execute(
            "SELECT application_name, usename, usesuper, pg_has_role(usesysid, "
            "(SELECT relowner FROM pg_class WHERE oid = 'workflow_comms.agent_messages'::regclass), 'MEMBER') "
            "FROM pg_stat_activity JOIN pg_user USING (usesysid, usename) WHERE application_name LIKE 'agent-comms-%%'"
        ).fetchall()
    assert {(user, superuser, owner) for name, user, superuser, owner in found} == {
        ("agent_comms_ingest_local", False, False),
        ("agent_comms_web_local", False, False),
    }, found


def test_another_namespaces_run_is_refused_in_one_line(secure: Up) -> None:
    said = command(secure, AGENTS, "publish", "--name", "x", "--namespace", "other", "not mine")
    assert said.returncode != 0
    assert len(said.stderr.strip().splitlines()) == 1
    assert "may not publish" in said.stderr


def test_who_holds_the_controllers_seed_sets_up_and_others_do_not(secure: Up) -> None:
    done = command(secure, SYSTEM, "bootstrap")
    assert (done.returncode, done.stderr) == (0, "")
    assert "is as its manifest says" in done.stdout
    done = command(secure, AGENTS, "bootstrap")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1


def test_there_is_no_way_in_without_a_credential_or_without_tls(secure: Up) -> None:
    address = urlsplit(secure.env["NATS_URL"]).netloc
    ca = Path(env_of(secure, AGENTS)["NATS_CA_FILE"])
    for options in (NatsOptions((f"nats://{address}",)), NatsOptions((f"tls://{address}",), ca_file=ca)):
        with pytest.raises(NatsUnavailable):
            NatsConnection(options).connect(wait=False)


def test_what_goes_well_is_nothing_to_warn_of(secure: Up) -> None:
    for name in ("flow", "web", "sample"):
        said = (secure.state / "logs" / f"{name}.log").read_text()
        assert "level=warning" not in said, said


def test_credentials_and_messages_outlive_a_restart(secure: Up) -> None:
    said = secure.said_by_hand()
    assert command(secure, AGENTS, "publish", "--name", "by-hand", "before").returncode == 0
    os.kill(secure.pid_of("nats"), signal.SIGKILL)
    secure.wait_for_line(r"nats ended \(SIGKILL\)")
    assert command(secure, AGENTS, "publish", "--name", "by-hand", "between").returncode == 0
    wait_until(lambda: secure.said_by_hand() == [*said, "before", "between"], "the flow to be back")
    environs = [env_of(secure, user) for user in USERS]
    secure.process.kill()
    secure.process.wait()
    with up(secure.state, "--port", "0", "--no-sample", "--secure") as second:
        second.wait_until_ready()
        assert [env_of(second, user) for user in USERS] == environs
        assert command(second, AGENTS, "publish", "--name", "by-hand", "after").returncode == 0
        wait_until(lambda: second.said_by_hand() == [*said, "before", "between", "after"], "all rows")


def test_credentials_that_are_none_are_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "credentials"
    folder.mkdir(parents=True)
    (folder / "web.nk").write_text("overwritten")
    words = f"{folder}/web.nk: this is no NKey seed; without the file, a new one is made"
    assert refused(tmp_path / "state", "--port", "0", "--secure") == (1, f"agent-comms: {words}\n")


def test_credentials_that_cannot_be_written_are_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "credentials").write_text("in the way")
    words = f"{tmp_path}/state/credentials: File exists"
    assert refused(tmp_path / "state", "--port", "0", "--secure") == (1, f"agent-comms: {words}\n")
