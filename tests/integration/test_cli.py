import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from connectors.bootstrap import bootstrap
from connectors.connection import NatsConnection, NatsOptions
from connectors.embedded import EmbeddedNats
from connectors.migrations import LOCK
from flows import topology
from flows.settings import table
from flows.subject import parse
from tests import forks
from tests.ingestion import holding
from tests.waiting import PATIENCE_S, wait_until
from tests.writers import Writer

COMMAND = Path(sysconfig.get_path("scripts")) / "agent-comms"
USERS = """
authorization {
  users: [
    {user: admin, password: adminpw}
    {
      user: agents
      password: hunter2
      permissions: {publish: ["workflow.agents.>"], subscribe: ["_INBOX_agents.>"]}
    }
  ]
}
"""
ADMIN = {"NATS_USER": "admin", "NATS_PASSWORD": "adminpw"}
AGENTS = {"NATS_USER": "agents", "NATS_PASSWORD": "hunter2", "NATS_INBOX_PREFIX": "_INBOX_agents"}
STORED = re.compile(r"seq=(\d+) message_id=(\S+)")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedNats]:
    with EmbeddedNats(tmp_path_factory.mktemp("guarded"), settings=USERS) as server:
        with admin(server) as connection:
            connection.run(bootstrap(connection.jetstream(), topology.manifests()))
        yield server


def admin(server: EmbeddedNats) -> NatsConnection:
    return NatsConnection(NatsOptions((server.url,), user="admin", password="adminpw"))


def agent_comms(
    *arguments: str, stdin: str | bytes = b"", environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    # Nothing of this process's own settings.
    base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = forks.run(
        [str(COMMAND), *arguments],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        env={**base, "WORKFLOW_NAME": "run-1", **(environ or {})},
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def publish(
    server: EmbeddedNats,
    *arguments: str,
    stdin: str | bytes = b"",
    **environ: str,
) -> subprocess.CompletedProcess[str]:
    return agent_comms("publish", *arguments, stdin=stdin, environ={"NATS_URL": server.url, **ADMIN, **environ})


def published_with_stdin(server: EmbeddedNats, stdin: BinaryIO, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Publish with a stdin that is whatever it is."""
    environ = {"PATH": os.environ["PATH"], "NATS_URL": server.url, "WORKFLOW_NAME": "run-1", **ADMIN}
    command = [sys.executable, "-m", "web.cli", "publish", *arguments]
    return subprocess.run(command, stdin=stdin, capture_output=True, text=True, env=environ, check=False)


def stored(server: EmbeddedNats, done: subprocess.CompletedProcess[str]) -> list[tuple[str, dict[str, Any]]]:
    """Return subject and payload of each message that the command says it stored."""
    told = [STORED.fullmatch(line) for line in done.stdout.splitlines()]
    found = []
    with admin(server) as connection:
        for match in told:
            assert match is not None
            message = connection.run(connection.jetstream().get_msg("agent-comms", int(match[1])))
            payload = json.loads(message.data or b"")
            assert payload["message_id"] == match[2]
            found.append((message.subject or "", payload))
    return found


def one_line(done: subprocess.CompletedProcess[str], exit_code: int) -> str:
    """Return the one line on stderr that a command failed with."""
    assert done.returncode == exit_code, done
    assert re.fullmatch(r"agent-comms: .+\n", done.stderr), done.stderr
    return done.stderr.strip()


def loaded_for(*arguments: str) -> set[str]:
    """Return the packages that a command has loaded."""
    code = f"""if True:
        import sys
        from web.cli import main
        try:
            main({list(arguments)!r})
        except SystemExit:
            print("loaded:", *{{name.partition(".")[0] for name in sys.modules}}, file=sys.stderr)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.partition("loaded:")[2].split())


def test_help_names_the_commands() -> None:
    done = agent_comms("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("up", "migrate", "bootstrap", "publish", "settings"))


def test_help_waits_for_nothing_heavy_to_be_loaded() -> None:
    heavy = {"bytewax", "flask", "gevent", "msgspec", "nats", "polars", "psycopg", "rich"}
    assert loaded_for("--help").isdisjoint(heavy)


def test_help_loads_neither_flask_nor_nats() -> None:
    code = (
        "import sys, web.cli; print([m for m in ('flask', 'nats', 'psycopg', 'bytewax', 'gevent') if m in sys.modules])"
    )
    python = Path(sysconfig.get_path("scripts")) / "python"
    assert subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_the_version_is_the_packages() -> None:
    assert agent_comms("--version").stdout == f"agent-comms {version('agent-comms')}\n"


def test_settings_prints_every_setting() -> None:
    assert agent_comms("settings").stdout == table() + "\n"


def test_a_message_from_flags_is_stored_as_said(guarded: EmbeddedNats) -> None:
    done = publish(
        guarded,
        *("ran the tests", "--kind", "tool_result", "--agent", "executor", "--attr", "repository=a/b=c"),
        *("--tool-json", '{"name":"pytest","exit_code":1}', "--stage", "test", "--message-id", "m-1"),
        RUN_ID="r-1",
    )
    assert done.returncode == 0, done
    [(subject, payload)] = stored(guarded, done)
    assert subject == "workflow.agents.run-1.run-1.agent.executor.tool_result"
    assert payload["content"] == "ran the tests"
    assert payload["tool"] == {"name": "pytest", "exit_code": 1}
    assert payload["attrs"] == {"repository": "a/b=c"}
    assert (payload["role"], payload["stage"], payload["run_id"], payload["message_id"]) == (
        "tool",
        "test",
        "r-1",
        "m-1",
    )


def test_the_general_channel_is_spoken_in_instead_of_the_run(guarded: EmbeddedNats) -> None:
    done = publish(guarded, "hello all", "--general")
    [(subject, payload)] = stored(guarded, done)
    assert subject == "workflow.general.message"
    assert (payload["channel"], payload["workflow_name"]) == ("general", "run-1")


def test_stdin_is_one_message(guarded: EmbeddedNats) -> None:
    done = publish(guarded, "--stdin", stdin="# Plan\n\n1. ä\n".encode() + b"2. \xff\n")
    [(_, payload)] = stored(guarded, done)
    assert payload["content"] == "# Plan\n\n1. ä\n2. �"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-",),
        ("--general",),
        ("--general", "-"),
        ("--kind", "status"),
        ("--kind", "tool_call", "--tool-json", '{"name":"pytest"}'),
    ],
    ids=" ".join,
)
def test_what_a_pipe_brings_is_the_message_where_no_text_is_given(
    guarded: EmbeddedNats, arguments: tuple[str, ...]
) -> None:
    reading, writing = os.pipe()
    # There before anybody looks, however busy the machine is.
    os.write(writing, b"two\nlines\n")
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        done = published_with_stdin(guarded, pipe, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    [(_, payload)] = stored(guarded, done)
    assert payload["content"] == "two\nlines"


def test_a_file_on_stdin_is_the_message(guarded: EmbeddedNats, tmp_path: Path) -> None:
    (tmp_path / "plan").write_text("the plan\n")
    with (tmp_path / "plan").open("rb") as file:
        done = published_with_stdin(guarded, file, "--kind", "status")
    [(_, payload)] = stored(guarded, done)
    assert payload["content"] == "the plan"


def test_a_text_leaves_stdin_to_others(guarded: EmbeddedNats, tmp_path: Path) -> None:
    (tmp_path / "names").write_text("one\ntwo\n")
    with (tmp_path / "names").open("rb") as file:
        done = published_with_stdin(guarded, file, "hello")
        assert file.read() == b"one\ntwo\n"
    [(_, payload)] = stored(guarded, done)
    assert payload["content"] == "hello"


def test_a_status_waits_for_no_stdin_that_is_open_and_says_nothing(guarded: EmbeddedNats) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as silent, os.fdopen(writing, "wb"):
        done = published_with_stdin(guarded, silent, "--kind", "status")
    assert "nothing came on stdin, which is still open" in one_line(done, 0)
    [(_, payload)] = stored(guarded, done)
    assert "content" not in payload


@pytest.mark.parametrize("arguments", [(), ("--kind", "status")], ids=" ".join)
def test_a_stdin_that_is_empty_says_nothing(guarded: EmbeddedNats, arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name in (Path(os.devnull), tmp_path / "empty"):
        with name.open("rb") as nothing:
            done = published_with_stdin(guarded, nothing, *arguments)
        if arguments:
            assert (done.returncode, done.stderr) == (0, "")
            [(_, payload)] = stored(guarded, done)
            assert "content" not in payload
        else:
            assert "there is no content" in one_line(done, 2)


def test_more_on_stdin_than_any_message_can_be_is_one_line(guarded: EmbeddedNats) -> None:
    # It never ends: nothing that would read it all comes to an end either.
    with Path("/dev/zero").open("rb") as endless:
        done = published_with_stdin(guarded, endless, "-")
    assert "stdin has more than 67,108,864 bytes" in one_line(done, 2)


def test_options_name_another_workflow_without_mixing_it_with_the_environments(guarded: EmbeddedNats) -> None:
    done = publish(guarded, "x", "--uid", "u-2", "--namespace", "batch", WORKFLOW_UID="u-1", RUN_ID="r-1")
    [(subject, payload)] = stored(guarded, done)
    said = parse(subject)
    assert said is not None
    assert (said.namespace, said.name, said.uid) == ("batch", "u-2", "u-2")
    assert "run_id" not in payload


def test_each_line_is_a_message_and_a_bad_one_is_named(guarded: EmbeddedNats) -> None:
    lines = [
        '{"content":"one","agent_id":"planner"}',
        "not JSON",
        "",
        '{"text":"two","channel":"general"}',
        '{"content":" "}',
        '{"content":"three","kind":"error"}',
    ]
    done = publish(guarded, "--json-lines", "--agent", "executor", "--attr", "branch=main", stdin="\n".join(lines))
    assert done.returncode == 4
    assert [re.sub(": .*", "", line.removeprefix("agent-comms: ")) for line in done.stderr.splitlines()] == [
        "line 2",
        "line 5",
        "2 of 5 lines were not stored",
    ]
    assert [(subject, payload["content"]) for subject, payload in stored(guarded, done)] == [
        ("workflow.agents.run-1.run-1.agent.planner.message", "one"),
        ("workflow.general.message", "two"),
        ("workflow.agents.run-1.run-1.agent.executor.error", "three"),
    ]
    assert {payload["attrs"]["branch"] for _, payload in stored(guarded, done)} == {"main"}


def test_many_lines_are_stored_in_order(guarded: EmbeddedNats) -> None:
    done = publish(guarded, "--json-lines", stdin="".join(f'{{"content":"{n}"}}\n' for n in range(3000)))
    assert (done.returncode, done.stderr) == (0, "")
    places = [int(line.split()[0].removeprefix("seq=")) for line in done.stdout.splitlines()]
    assert places == list(range(places[0], places[0] + 3000))


@contextmanager
def lines_from_a_pipe(server: EmbeddedNats) -> Iterator[subprocess.Popen[bytes]]:
    environ = {"PATH": os.environ["PATH"], "NATS_URL": server.url, "WORKFLOW_NAME": "run-1", **ADMIN}
    pipe = subprocess.PIPE
    with subprocess.Popen([COMMAND, "publish", "--json-lines"], stdin=pipe, stdout=pipe, env=environ) as process:
        yield process


def say(process: subprocess.Popen[bytes], content: str) -> None:
    assert process.stdin is not None
    process.stdin.write(b'{"content":"%s"}\n' % content.encode())
    process.stdin.flush()


def heard(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def test_a_line_is_stored_before_the_next_one_comes(guarded: EmbeddedNats) -> None:
    with lines_from_a_pipe(guarded) as process:
        for content in ("one", "two"):
            say(process, content)
            assert STORED.fullmatch(heard(process))
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0


def test_a_reader_that_goes_away_stops_no_message(guarded: EmbeddedNats) -> None:
    with lines_from_a_pipe(guarded) as process:
        say(process, "one")
        first = STORED.fullmatch(heard(process))
        assert first is not None
        assert process.stdout is not None
        process.stdout.close()
        assert process.stdin is not None
        process.stdin.write(b'{"content":"more"}\n' * 5000)
        process.stdin.close()
        assert process.wait(60) == 0
    with admin(guarded) as connection:
        last = connection.run(connection.jetstream().stream_info("agent-comms")).state.last_seq
    assert last == int(first[1]) + 5000


def test_ctrl_c_ends_it_without_a_traceback(guarded: EmbeddedNats) -> None:
    with lines_from_a_pipe(guarded) as process:
        say(process, "one")
        assert STORED.fullmatch(heard(process))
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130


def test_without_a_workflow_the_publisher_refuses_to_start(guarded: EmbeddedNats) -> None:
    line = one_line(publish(guarded, "x", "--general", WORKFLOW_NAME=""), 2)
    assert "WORKFLOW_UID or WORKFLOW_NAME" in line


@pytest.mark.parametrize(
    ("arguments", "environ", "exit_code", "words"),
    [
        (["  "], {}, 2, "there is no content"),
        (["x", "--agent", "person"], {}, 2, "AGENT_ID: person is kept"),
        (["x", "--namespace", "n" * 3000], {}, 2, "WORKFLOW_NAMESPACE: it takes 256 characters at most"),
        (["x"], {"NATS_PASSWORD": ""}, 2, "NATS_PASSWORD: it is needed with NATS_USER, and is missing"),
        (["x"], {"NATS_USER": ""}, 2, "NATS_USER: it is needed with NATS_PASSWORD, and is missing"),
        (["x"], {"NATS_SUBJECT_PREFIX": "elsewhere"}, 1, "no stream takes elsewhere.agents."),
        (["x", "--general"], AGENTS, 1, "this user may not publish on workflow.general.message"),
        (
            ["x"],
            {**AGENTS, "NATS_INBOX_PREFIX": "_INBOX"},
            1,
            "this user may not listen for acknowledgements on _INBOX.",
        ),
        (["x"], {**AGENTS, "NATS_PASSWORD": "wrong-pw"}, 3, "NATS doesn't let this user in: Authorization Violation"),
        (["x"], {"NATS_URL": "nats://me:hunter2@127.0.0.1:1"}, 3, "NATS can't be reached: "),
        (["x"], {"NATS_URL": "nats://me:hunt/er2@127.0.0.1"}, 2, "NATS_URL: it takes nats://HOST:PORT"),
        (["x"], {"NATS_URL": " , "}, 2, "NATS_URL: it names no server"),
        (["x"], {"WORKFLOW_NAMESPACE": "general"}, 2, "WORKFLOW_NAMESPACE: general is the shared room's name"),
        (["x"], {"NATS_CREDS": "hunter2"}, 2, "NATS_CREDS: it takes a user's JWT and seed"),
        (["x"], {"NATS_CREDS_FILE": "/nowhere"}, 2, "NATS_CREDS_FILE: /nowhere: No such file"),
        (["x"], {"NATS_NKEY_SEED_FILE": "/dev/null"}, 2, "NATS_NKEY_SEED_FILE: /dev/null holds no NKey seed"),
        (["x"], {"NATS_CA_FILE": "/dev/null"}, 2, "NATS_CA_FILE: /dev/null holds no certificate in PEM"),
        (["x"], {"NATS_INBOX_PREFIX": "my inbox"}, 2, "NATS_INBOX_PREFIX: it takes tokens"),
        (
            ["x"],
            {"AGENT_ROLE": "boss"},
            2,
            "AGENT_ROLE: it takes `assistant`, `system`, `tool`, `user`, but got 'boss'",
        ),
    ],
)
def test_a_failure_is_one_line_with_an_exit_code_and_shows_no_secret(
    guarded: EmbeddedNats, arguments: list[str], environ: dict[str, str], exit_code: int, words: str
) -> None:
    done = publish(guarded, *arguments, **environ)
    assert words in one_line(done, exit_code)
    assert "hunt" not in done.stderr
    assert "wrong-pw" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "environ", "told"),
    [
        ([], {}, r"the message has 8,400,\d{3} bytes; AGENT_COMMS_MAX_MESSAGE_BYTES allows 1,048,576; "),
        (["--json-lines"], {}, r"line 1 has 8,400,\d{3} bytes; AGENT_COMMS_MAX_MESSAGE_BYTES allows 1,048,576; "),
        (
            [],
            {"AGENT_COMMS_MAX_MESSAGE_BYTES": "16777216"},
            r"the message has 8,400,\d{3} bytes with its headers; the server takes 8,388,608; ",
        ),
    ],
)
def test_a_message_that_would_be_no_row_or_that_the_server_does_not_take_is_cut_and_says_so(
    guarded: EmbeddedNats, arguments: list[str], environ: dict[str, str], told: str
) -> None:
    text = b"x" * 8_400_000
    stdin = b'{"content":"%s"}' % text if arguments else text
    done = publish(guarded, *(arguments or ["--stdin"]), stdin=stdin, **environ)
    assert done.returncode == 0
    assert re.fullmatch(rf"agent-comms: {told}it was cut to \d,\d{{3}},\d{{3}}\n", done.stderr), done.stderr
    [(_, payload)] = stored(guarded, done)
    assert payload["content"].startswith("x" * 1_000_000)
    assert payload["content"].endswith("\n… [cut: 8,400,000 bytes in all]")
    assert payload["attrs"]["truncated"] is True


@pytest.mark.parametrize(
    "arguments",
    [
        ["text", "--stdin"],
        ["--stdin", "--json-lines"],
        ["--json-lines", "--message-id", "1"],
        ["x", "--tool-json", "[1]"],
        ["x", "--tool-json", "{"],
        ["x", "--attr", "novalue"],
        ["x", "--role", "boss"],
        ["x", "--timeout", "0"],
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_are_refused_before_anything_is_published(
    guarded: EmbeddedNats, arguments: list[str]
) -> None:
    done = publish(guarded, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr.splitlines()[-1]


def test_bootstrap_creates_then_checks(own_nats_server: EmbeddedNats) -> None:
    environ = {"NATS_URL": own_nats_server.url}
    first, second = (agent_comms("bootstrap", environ=environ) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines()[1:] == ["stream agent-comms: created", "consumer jangar-agent-comms: created"]
    assert (second.returncode, second.stderr) == (0, "")
    assert "consumer jangar-agent-comms: is as its manifest says" in second.stdout


def test_bootstrap_names_what_differs_and_update_changes_it(own_nats_server: EmbeddedNats) -> None:
    environ = {"NATS_URL": own_nats_server.url}
    with NatsConnection(NatsOptions((own_nats_server.url,))) as connection:
        js = connection.jetstream()
        stream = topology.stream().config()
        connection.run(js.add_stream(stream.evolve(num_replicas=1, max_age=3600.0, storage="memory")))
        checked = agent_comms("bootstrap", environ=environ)
        assert "differs from the manifests in maxAge, storage; nothing that exists was changed" in one_line(checked, 1)
        assert "stream agent-comms: maxAge: 168h in the manifest, 1h on the server" in checked.stdout
        assert connection.run(js.stream_info("agent-comms")).config.max_age == 3600

        updated = agent_comms("bootstrap", "--update", environ=environ)
        assert one_line(updated, 1) == "agent-comms: the server still differs from the manifests in storage"
        assert "the server never changes storage of what exists" in updated.stdout
        assert connection.run(js.stream_info("agent-comms")).config.max_age == 604_800


def test_two_bootstraps_at_once_agree(own_nats_server: EmbeddedNats) -> None:
    environ = {"PATH": os.environ["PATH"], "NATS_URL": own_nats_server.url}
    processes = [
        subprocess.Popen([COMMAND, "bootstrap"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ)
        for _ in range(2)
    ]
    for process in processes:
        _, stderr = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, stderr) == (0, b"")
    assert agent_comms("bootstrap", environ=environ).returncode == 0


def test_bootstrap_by_a_user_who_may_not_is_one_line(guarded: EmbeddedNats) -> None:
    line = one_line(agent_comms("bootstrap", environ={"NATS_URL": guarded.url, **AGENTS}), 1)
    assert "stream agent-comms: JetStream gave no answer: " in line
    assert "permissions violation" in line


def test_bootstrap_without_jetstream_is_one_line(tmp_path: Path) -> None:
    users = "accounts { A { users: [{user: a, password: b}] } }"
    with EmbeddedNats(tmp_path, settings=users) as server:
        done = agent_comms("bootstrap", environ={"NATS_URL": server.url, "NATS_USER": "a", "NATS_PASSWORD": "b"})
    assert "stream agent-comms: " in one_line(done, 1)


def test_migrate_twice_is_as_good_as_once(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA workflow_comms CASCADE")
    first, second = (agent_comms("migrate", environ={"DATABASE_URL": database}) for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith("applied 0001_messages\n")
    assert (second.returncode, second.stdout) == (0, "the schema is up to date\n")


def test_migrate_says_whom_it_waits_for_and_goes_on(database: str, tmp_path: Path) -> None:
    said = tmp_path / "stderr"
    with holding(make_conninfo(database, application_name="another"), f"SELECT pg_advisory_lock({LOCK})") as session:
        with said.open("wb") as stderr:
            migrating = subprocess.Popen(
                [str(COMMAND), "migrate"], env={**os.environ, "DATABASE_URL": database}, stderr=stderr
            )
        wait_until(lambda: said.read_text().endswith("\n"), "a line")
        whom = f"agent-comms: the migration waits for process {session.info.backend_pid} (another of "
    assert migrating.wait(PATIENCE_S) == 0
    (line,) = said.read_text().splitlines()
    assert line.startswith(whom)


@pytest.mark.parametrize(
    ("dsn", "exit_code", "words"),
    [
        ("postgresql://me:hunter2@127.0.0.1:1/x", 3, "Postgres can't be reached: "),
        ("postgresql://me:p@hunter2@127.0.0.1:1/x", 3, "Postgres can't be reached: "),
        ("host=127.0.0.1 port=1 user=me password=hunter2", 3, "Postgres can't be reached: "),
        ("postgres//me:hunter2@127.0.0.1/x", 2, "DATABASE_URL: "),
        ("hunter2", 2, "DATABASE_URL: "),
    ],
)
def test_migrate_without_a_database_is_one_line_that_shows_no_secret(dsn: str, exit_code: int, words: str) -> None:
    done = agent_comms("migrate", environ={"DATABASE_URL": dsn})
    assert words in one_line(done, exit_code)
    assert "hunter2" not in done.stderr


def test_an_edited_migration_is_one_line(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE workflow_comms.migrations SET checksum = 'x' WHERE version = 1")
    assert "migration 0001_messages was edited" in one_line(
        agent_comms("migrate", environ={"DATABASE_URL": database}), 1
    )


OPERATORS = (
    ("prune",),
    ("dead-letters", "list"),
    ("dead-letters", "replay", "--all"),
    ("dead-letters", "discard", "--all", "--yes"),
    ("runs", "rebuild"),
    ("reconcile", "{root}"),
    ("reconcile", "--show"),
    ("backfill", "{root}"),
    ("read", "--general"),
)


def operated(database: str, root: Path, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return agent_comms(*[word.format(root=root) for word in words], environ={"DATABASE_URL": database})


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """Return the line that a command failed with, after what it had to say before."""
    assert done.returncode == 1, done
    assert all(line.startswith("agent-comms: ") for line in done.stderr.splitlines()), done.stderr
    return done.stderr.splitlines()[-1]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "artifacts" / "run-1" / "pod"
    folder.mkdir(parents=True)
    (folder / "implementation-agent.log").write_text("a line\n")
    return tmp_path / "artifacts"


@pytest.mark.parametrize("words", OPERATORS, ids=" ".join)
def test_a_database_without_the_schema_is_one_line(database: str, root: Path, words: tuple[str, ...]) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("DROP SCHEMA workflow_comms CASCADE")
    assert "run `agent-comms migrate`" in last_line(operated(database, root, words))


@pytest.mark.parametrize(
    "words", [words for words in OPERATORS if words[-1] not in ("list", "--show", "--general")], ids=" ".join
)
def test_a_database_that_cannot_be_written_is_one_line(database: str, root: Path, words: tuple[str, ...]) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key, first_seen_at)"
            " VALUES ('x', 'x', 'not_json', 'x', 'x', '2000-01-01')"
        )
    with Writer(database) as writer:
        writer.say("x")
    done = operated(make_conninfo(database, options="-c default_transaction_read_only=on"), root, words)
    assert "it leads to a database that can't be written" in last_line(done)


def test_a_statement_that_postgres_ends_is_told_as_such(database: str) -> None:
    with psycopg.connect(database) as holder:
        holder.execute("LOCK workflow_comms.dead_letters")
        done = agent_comms(
            *("dead-letters", "list"),
            environ={"DATABASE_URL": make_conninfo(database, options="-c statement_timeout=500ms")},
        )
    line = one_line(done, 1)
    assert "Postgres ended it before it was done: canceling statement due to statement timeout" in line
