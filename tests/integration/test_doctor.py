"""What the doctor finds in real set-ups, well and broken: a line each, with what to do, and never a traceback."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors.embedded import EmbeddedNats
from connectors.loopback import free_port
from flows.users import AGENTS, JANGAR, SYSTEM, WEB, User
from tests import forks
from tests.ingestion import Ingest, payload, publish_many, set_for, subject
from tests.secured import Secured
from tests.servers import PostgresServer, StreamHandle, fresh_database
from tests.waiting import wait_until
from tests.webserver import StartWeb

PASSWORD = "correct-horse-battery"
CHECKS = (
    *("settings", "nats", "permissions", "stream", "consumer", "lag", "postgres", "migrations", "roles"),
    *("web", "flow", "clock", "disk"),
)


def doctor(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    done = forks.run_text(
        [sys.executable, "-m", "web.cli", "doctor", *arguments],
        env={"PATH": os.environ["PATH"], "AGENT_COMMS_METRICS_PORT": "0", **environ},
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def examine(**environ: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """Return the exit code, and what was found by check."""
    done = doctor("--json", **environ)
    assert done.stderr == ""
    found: dict[str, list[dict[str, str]]] = {}
    assert done.stdout, f"nothing said, exit code {done.returncode}"
    body: dict[str, Any] = json.loads(done.stdout)
    for each in body["checks"]:
        found.setdefault(each["check"], []).append(each)
        # Whatever is not well says what to do.
        assert each["state"] in ("ok", "skipped") or each["todo"], each
    assert body["healthy"] is (done.returncode == 0)
    return done.returncode, found


def states(found: dict[str, list[dict[str, str]]]) -> dict[str, set[str]]:
    return {check: {each["state"] for each in those} for check, those in found.items()}


def text(found: dict[str, list[dict[str, str]]], check: str) -> str:
    return "; ".join(f"{each['text']} {each['todo']}" for each in found[check])


def test_a_set_up_that_is_well_fails_in_nothing(
    stream: StreamHandle, database: str, start_web: StartWeb, tmp_path: Path
) -> None:
    web = start_web(DATABASE_URL=database, NATS_URL=stream.url)
    port = str(free_port())
    with Ingest(stream, database, tmp_path / "ingest.log", AGENT_COMMS_METRICS_PORT=port) as ingest:
        stream.publish(subject(), payload(1))
        ingest.wait_for_rows(1)
        environ = {
            "NATS_URL": stream.url,
            "DATABASE_URL": database,
            "AGENT_COMMS_URL": web.url,
            "AGENT_COMMS_METRICS_PORT": port,
        }
        found: dict[str, list[dict[str, str]]] = {}

        def is_well() -> bool:
            nonlocal found
            code, found = examine(**environ)
            return code == 0 and all(states(found)[check] == {"ok"} for check in CHECKS)

        wait_until(is_well, f"all to be well, which {found} is not")
        _, of_another = examine(**{**environ, "DATABASE_URL": f"{database}_other"})
    (flow,) = of_another["flow"]
    assert flow["state"] == "warning"
    assert "another set-up's" in flow["text"]
    # It has asked, and changed nothing.
    assert stream.info().state.messages == 1
    assert stream.redeliveries() == 0


def test_a_flow_that_may_only_read_is_told_and_not_called_unconnected(
    stream: StreamHandle, database: str, tmp_path: Path
) -> None:
    set_for(database, "default_transaction_read_only = on")
    port = str(free_port())
    with Ingest(stream, database, tmp_path / "ingest.log", AGENT_COMMS_METRICS_PORT=port) as ingest:
        stream.publish(subject(), payload(1))
        ingest.wait_until_said("waits: 25006: ")
        _, found = examine(NATS_URL=stream.url, DATABASE_URL=database, AGENT_COMMS_METRICS_PORT=port)
    (flow,) = found["flow"]
    assert flow["state"] == "failing"
    assert flow["text"].endswith(" tells that Postgres takes no writes: it is read-only")


def test_lines_for_a_person_name_check_state_and_what_to_do() -> None:
    done = doctor(NATS_URL="nats://127.0.0.1:1", DATABASE_URL="postgresql://127.0.0.1:1/nowhere")
    assert done.returncode == 3
    lines = done.stdout.splitlines()
    (nats,) = [line for line in lines if line.split()[1] == "nats"]
    assert nats.startswith("FAIL  nats ")
    assert " → check NATS_URL" in nats
    (postgres,) = [line for line in lines if line.split()[1] == "postgres"]
    assert " → check DATABASE_URL" in postgres
    assert lines[-1].startswith("2 failing, ")


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"AGENT_COMMS_PORT": "tcp://10.0.0.1:80"}, "AGENT_COMMS_PORT"),
        ({"NATS_URL": "http://x:y"}, "NATS_URL"),
        ({"DATABASE_URL": f"postgresql://u:{PASSWORD}@[bad/x"}, "DATABASE_URL"),
        ({"NATS_CREDS": PASSWORD}, "NATS_CREDS"),
        ({"NATS_CREDS_FILE": "/nowhere/creds"}, "NATS_CREDS_FILE"),
        ({"NATS_CERT_FILE": "/dev/null"}, "NATS_CERT_FILE: /dev/null"),
        ({"AGENT_COMMS_REDACT_FILE": "/nowhere/redact.toml"}, "AGENT_COMMS_REDACT_FILE"),
        ({"AGENT_COMMS_HOST": "0.0.0.0"}, "AGENT_COMMS_AUTH"),
        ({"AGENT_COMMS_AUTH": "token"}, "AGENT_COMMS_READERS_FILE"),
    ],
)
def test_a_wrong_setting_is_named_and_ends_it_with_2(environ: dict[str, str], named: str) -> None:
    code, found = examine(**environ)
    assert code == 2
    assert [*found] == ["settings"]
    assert found["settings"][0]["text"].startswith(named)
    assert PASSWORD not in json.dumps(found)


def test_a_misspelled_setting_is_told_and_what_kubernetes_sets_is_not() -> None:
    _, found = examine(
        AGENT_COMMS_RETENTION_DAY="7",
        AGENT_COMMS_WEB_SERVICE_HOST="10.0.0.1",
        AGENT_COMMS_WEB_PORT_8080_TCP_ADDR="10.0.0.1",
        AGENT_COMMS_WEB_PORT="tcp://10.0.0.1:8080",
        NATS_URL="nats://127.0.0.1:1",
    )
    assert [each["text"] for each in found["settings"] if each["state"] == "warning"] == [
        "AGENT_COMMS_RETENTION_DAY is no setting"
    ]


@pytest.mark.parametrize("where", ["NATS_URL", "DATABASE_URL"])
def test_no_password_is_shown_wherever_it_fails(where: str, postgres_server: PostgresServer) -> None:
    urls = {
        "NATS_URL": f"nats://somebody:{PASSWORD}@127.0.0.1:1",
        "DATABASE_URL": f"postgresql://somebody:{PASSWORD}@127.0.0.1:{postgres_server.port}/agent_comms",
    }
    done = doctor(**{where: urls[where]})
    assert done.returncode == 3
    assert PASSWORD not in done.stdout + done.stderr


def test_a_stream_and_a_consumer_that_differ_are_told_field_by_field(stream: StreamHandle) -> None:
    js = stream.connection.jetstream()
    config = stream.info().config
    stream.connection.run(js.update_stream(config.evolve(max_bytes=1_000_000)))
    stream.set_ack_wait(2.0)
    code, found = examine(NATS_URL=stream.url)
    assert code == 1
    assert "failing" in states(found)["stream"]
    assert "maxBytes is 1000000, not" in text(found, "stream")
    assert "ackWait is 2s, not 30s" in text(found, "consumer")
    assert "bootstrap --update" in text(found, "consumer")


def test_a_server_without_the_stream_is_told_what_to_run(own_nats_server: EmbeddedNats) -> None:
    code, found = examine(NATS_URL=own_nats_server.url)
    assert code == 1
    assert "stream not found" in text(found, "stream")
    assert "agent-comms bootstrap" in text(found, "stream")
    assert states(found)["permissions"] == {"failing"}


def test_messages_that_nobody_pulls_are_told(stream: StreamHandle) -> None:
    publish_many(stream, range(10))
    code, found = examine(NATS_URL=stream.url)
    assert code == 1
    assert "10 not delivered" in text(found, "lag")
    assert "start the flow" in text(found, "lag")


def test_a_schema_that_is_not_there_is_told(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE empty_one")
    try:
        code, found = examine(DATABASE_URL=postgres_server.dsn("empty_one"), NATS_URL="nats://127.0.0.1:1")
    finally:
        with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
            connection.execute("DROP DATABASE empty_one WITH (FORCE)")
    assert code == 3
    assert states(found)["postgres"] == {"ok"}
    assert "agent-comms migrate" in text(found, "migrations")
    assert states(found)["roles"] == {"skipped"}


def test_a_newer_schema_is_well_and_all_else_is_looked_at(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO workflow_comms.migrations VALUES (9999, '9999_of_the_next_release', 'x')")
    _, found = examine(DATABASE_URL=database, NATS_URL="nats://127.0.0.1:1")
    assert states(found)["migrations"] == {"ok"}
    assert "are applied, and those of a newer version" in text(found, "migrations")
    assert states(found)["roles"] == {"ok"}


def test_a_database_that_cannot_hold_every_text_is_told(postgres_server: PostgresServer) -> None:
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        connection.execute(
            "CREATE DATABASE of_bytes ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
        )
        try:
            _, found = examine(DATABASE_URL=postgres_server.dsn("of_bytes"), NATS_URL="nats://127.0.0.1:1")
        finally:
            connection.execute("DROP DATABASE of_bytes WITH (FORCE)")
    assert states(found)["migrations"] == {"failing"}
    assert "none can be applied in this encoding" in text(found, "migrations")
    assert states(found)["roles"] == {"skipped"}


def test_a_role_is_told_what_it_may(postgres_server: PostgresServer) -> None:
    with fresh_database(postgres_server) as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE patient LOGIN PASSWORD '{PASSWORD}'".encode())
        try:
            theirs = psycopg.conninfo.make_conninfo(dsn, user="patient", password=PASSWORD)
            _, found = examine(DATABASE_URL=theirs, NATS_URL="nats://127.0.0.1:1")
            assert "who may do nothing" in text(found, "roles") or states(found)["migrations"] == {"skipped"}
            connection.execute("GRANT USAGE ON SCHEMA workflow_comms TO patient")
            connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA workflow_comms TO patient")
            _, found = examine(DATABASE_URL=theirs, NATS_URL="nats://127.0.0.1:1")
            assert "who may show messages" in text(found, "roles")
            assert "store" not in text(found, "roles")
            assert "failing" not in states(found)["roles"]
            connection.execute("GRANT agent_comms_web_all TO patient")
            _, found = examine(DATABASE_URL=theirs, NATS_URL="nats://127.0.0.1:1")
            assert "inherits the sight of everything" in text(found, "roles")
        finally:
            connection.execute("DROP OWNED BY patient")
            connection.execute("DROP ROLE patient")


def test_a_postgres_that_is_frozen_ends_nothing_but_its_own_check(own_postgres_server: PostgresServer) -> None:
    with fresh_database(own_postgres_server) as dsn:
        os.kill(own_postgres_server.pid, signal.SIGSTOP)
        try:
            code, found = examine(DATABASE_URL=dsn, NATS_URL="nats://127.0.0.1:1")
        finally:
            os.kill(own_postgres_server.pid, signal.SIGCONT)
        assert code == 3
        assert states(found)["postgres"] == {"failing"}
        assert states(found)["disk"] == {"ok"}


def test_a_web_that_is_not_ready_says_why(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database)
    _, found = examine(AGENT_COMMS_URL=web.url, NATS_URL="nats://127.0.0.1:1")
    assert states(found)["web"] == {"failing"}
    assert "nats is failing" in text(found, "web")


def test_dead_letters_that_wait_are_told(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key)"
            " VALUES ('s', '', 'not_json', '', 'a')"
        )
    _, found = examine(DATABASE_URL=database, NATS_URL="nats://127.0.0.1:1")
    assert "1 messages could not become rows" in text(found, "dead letters")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with Secured(tmp_path_factory.mktemp("doctor")) as secured:
        yield secured


def credentials(secured: Secured, user: User) -> dict[str, str]:
    return {
        "NATS_URL": secured.server.url,
        "NATS_NKEY_SEED_FILE": str(secured.ring.seed_file(user)),
        "NATS_CA_FILE": str(secured.ring.ca_file),
        **user.settings(),
    }


@pytest.mark.parametrize(
    ("user", "permissions", "seen"),
    [
        (SYSTEM, "may make and inspect", {"stream": {"ok"}, "consumer": {"ok"}}),
        (JANGAR, "may pull messages", {"stream": {"skipped"}, "consumer": {"ok"}}),
        (WEB, "may publish as a person", {"stream": {"skipped"}, "consumer": {"skipped"}, "lag": {"skipped"}}),
        (AGENTS, "may publish for the namespace agents", {"stream": {"skipped"}, "consumer": {"skipped"}}),
    ],
    ids=lambda value: value.name if isinstance(value, User) else "",
)
def test_each_user_is_told_what_it_may_and_what_it_may_not_ask_is_no_failure(
    secured: Secured, user: User, permissions: str, seen: dict[str, set[str]]
) -> None:
    environ = credentials(secured, user)
    code, found = examine(**environ)
    assert permissions in text(found, "permissions")
    assert {check: states(found)[check] for check in seen} == seen
    assert states(found)["nats"] == {"ok"}
    assert "NATS_CA_FILE is good for" in text(found, "expiry")
    assert "the NATS server's certificate is good for" in text(found, "expiry")
    # The consumer has nobody who pulls, which is a warning; nothing fails.
    assert code == 0
    seed = Path(environ["NATS_NKEY_SEED_FILE"]).read_text().strip()
    assert seed not in json.dumps(found)


def test_an_inbox_that_is_somebody_else_s_is_told(secured: Secured) -> None:
    _, found = examine(**{**credentials(secured, JANGAR), "NATS_INBOX_PREFIX": "_INBOX"})
    assert states(found)["permissions"] == {"failing"}
    assert "NATS_INBOX_PREFIX" in text(found, "permissions")


def test_a_seed_that_nobody_knows_is_told(secured: Secured, tmp_path: Path) -> None:
    from connectors import nkey

    stranger = tmp_path / "stranger.nk"
    stranger.write_text(nkey.new_seed())
    code, found = examine(**{**credentials(secured, JANGAR), "NATS_NKEY_SEED_FILE": str(stranger)})
    assert code == 3
    assert "doesn't let this user in" in text(found, "nats")
    # It was written for everybody to read.
    assert "can be read by everybody" in text(found, "settings")
