"""Whether the web lives, whether it is of use, what it measures, and what it refuses to start with."""

import http.client
import json
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

import sql
from connectors.loopback import HOST
from connectors.migrations import Migrator
from connectors.server import ServerError
from tests.servers import NatsServer, PostgresServer, fresh_database
from tests.waiting import PATIENCE_S, wait_until
from tests.watcher import Watcher
from tests.webserver import StartWeb, WebServer
from tests.writers import Writer

# Its own limit is 1.5 s; the rest is for a machine that is busy. What hangs would hang for ever.
SOON_S = 30


def ask(web: WebServer, path: str) -> tuple[int, Any]:
    with closing(http.client.HTTPConnection(HOST, web.port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def states(answer: tuple[int, Any]) -> dict[str, str]:
    return {name: finding["state"] for name, finding in answer[1]["checks"].items()}


def test_a_web_with_everything_is_ready(start_web: StartWeb, database: str, nats_server: NatsServer) -> None:
    web = start_web(DATABASE_URL=database, NATS_URL=nats_server.url)
    found: list[tuple[int, Any]] = []

    def is_ready() -> bool:
        found[:] = [ask(web, "/readyz")]
        return found[0][0] == 200

    wait_until(is_ready)
    assert found[0][1]["ready"] is True
    assert states(found[0]) == {"nats": "ok", "live": "ok", "postgres": "ok", "migrations": "ok"}
    assert all(0 <= finding["seconds"] < 2 for finding in found[0][1]["checks"].values())


def test_a_web_without_nats_is_not_ready_and_says_why(web: WebServer) -> None:
    expected = {"nats": "failing", "live": "ok", "postgres": "ok", "migrations": "ok"}
    wait_until(lambda: states(ask(web, "/readyz")) == expected, "the other checks to be done")
    status, body = ask(web, "/readyz")
    assert status == 503
    assert body["checks"]["nats"]["error"]


def test_readiness_follows_nats_as_it_goes_and_comes(
    start_web: StartWeb, database: str, own_nats_server: NatsServer
) -> None:
    web = start_web(DATABASE_URL=database, NATS_URL=own_nats_server.url)
    wait_until(lambda: ask(web, "/readyz")[0] == 200)
    own_nats_server.stop()
    wait_until(lambda: states(ask(web, "/readyz"))["nats"] == "failing")
    own_nats_server.start()
    wait_until(lambda: ask(web, "/readyz")[0] == 200)


def test_without_postgres_readiness_fails_fast_and_liveness_does_not(
    start_web: StartWeb, own_postgres_server: PostgresServer
) -> None:
    with fresh_database(own_postgres_server) as dsn:
        web = start_web(DATABASE_URL=dsn)
        own_postgres_server.stop()
        began = time.monotonic()
        answer = ask(web, "/readyz")
        assert time.monotonic() - began < SOON_S
        assert answer[0] == 503
        failing = {"postgres": "failing", "migrations": "failing"}
        wait_until(lambda: states(ask(web, "/readyz")).items() >= failing.items(), "both to be told")
        assert ask(web, "/healthz") == (200, {"status": "ok"})
        own_postgres_server.start()
        wait_until(lambda: states(ask(web, "/readyz"))["postgres"] == "ok")


def test_a_web_that_is_told_to_end_is_no_longer_ready_and_says_so_at_once(web: WebServer) -> None:
    with closing(http.client.HTTPConnection(HOST, web.port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", "/readyz")
        assert json.loads(connection.getresponse().read())["draining"] is False
        os.kill(web.pid, signal.SIGTERM)

        def draining() -> dict[str, Any]:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            assert response.status == 503
            return dict(json.loads(response.read()))

        # On the connection that it has; others it takes no more.
        wait_until(lambda: draining()["draining"])


def test_a_finding_says_how_long_ago_it_worked(start_web: StartWeb, own_postgres_server: PostgresServer) -> None:
    with fresh_database(own_postgres_server) as dsn:
        web = start_web(DATABASE_URL=dsn)
        wait_until(lambda: states(ask(web, "/readyz"))["postgres"] == "ok")
        assert ask(web, "/readyz")[1]["checks"]["postgres"]["age"] < SOON_S
        assert ask(web, "/readyz")[1]["checks"]["nats"]["age"] is None
        own_postgres_server.stop()
        wait_until(lambda: states(ask(web, "/readyz"))["live"] == "failing")
        wait_until(lambda: states(ask(web, "/readyz"))["postgres"] == "failing")
        assert ask(web, "/readyz")[1]["checks"]["postgres"]["age"] > 0
        own_postgres_server.start()


def test_a_postgres_that_hangs_fails_readiness_fast_and_stops_nothing_else(
    start_web: StartWeb, own_postgres_server: PostgresServer
) -> None:
    with fresh_database(own_postgres_server) as dsn:
        web = start_web(DATABASE_URL=dsn)
        os.kill(own_postgres_server.pid, signal.SIGSTOP)
        try:
            for _ in range(3):
                began = time.monotonic()
                answer = ask(web, "/readyz")
                assert time.monotonic() - began < SOON_S
                assert states(answer)["postgres"] == "waiting"
                began = time.monotonic()
                assert ask(web, "/healthz")[0] == 200
                assert time.monotonic() - began < SOON_S
        finally:
            os.kill(own_postgres_server.pid, signal.SIGCONT)
        wait_until(lambda: states(ask(web, "/readyz"))["postgres"] == "ok")


def test_the_release_before_goes_on_with_a_newer_schema(web: WebServer, database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO workflow_comms.migrations VALUES (9999, '9999_of_the_next_release', 'x')")
    wait_until(lambda: states(ask(web, "/readyz"))["migrations"] == "ok", "the check to be done")
    command = [sys.executable, "-m", "web.cli", "migrate"]
    done = subprocess.run(
        command, env={**os.environ, "DATABASE_URL": database}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "9999_of_the_next_release" in done.stdout


def test_pending_migrations_are_told(web: WebServer, database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM workflow_comms.migrations")
    told = {"migrations": "failing", "postgres": "ok"}
    wait_until(lambda: states(ask(web, "/readyz")).items() >= told.items(), "the checks to be done")
    status, body = ask(web, "/readyz")
    assert status == 503
    assert body["checks"]["migrations"]["state"] == "failing"
    behind = len(Migrator(sql.MIGRATIONS, sql.SCHEMA).files())
    assert body["checks"]["migrations"]["error"].startswith(f"the schema is {behind} migrations behind: ")
    assert body["checks"]["postgres"]["state"] == "ok"


def test_metrics_are_prometheus_text(web: WebServer, database: str) -> None:
    with Writer(database) as writer, Watcher(web.url, runId="run-1") as watcher:
        writer.say("history isn't counted")
        watcher.take(1)

        def count() -> float:
            writer.say("live")
            watcher.take(1)
            return web.metric("agent_comms_row_to_client_seconds_count")

        wait_until(lambda: count() >= 1)
        assert web.metric("agent_comms_live_subscribers") == 1
    with closing(http.client.HTTPConnection(HOST, web.port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["agent_comms_build_info"].samples[0].labels["version"]
    assert {"agent_comms_live_subscribers", "agent_comms_live_cut"} <= set(families)
    assert families["agent_comms_row_to_client_seconds"].type == "histogram"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"AGENT_COMMS_HOST": "0.0.0.0"}, "AGENT_COMMS_AUTH"),
        ({"AGENT_COMMS_HOST": "agents.example.org"}, "AGENT_COMMS_AUTH"),
        ({"AGENT_COMMS_AUTH": "token"}, "AGENT_COMMS_AUTH"),
        ({"AGENT_COMMS_AUTH": "proxy", "AGENT_COMMS_HOST": "0.0.0.0"}, "AGENT_COMMS_AUTH"),
        ({"AGENT_COMMS_HEARTBEAT_SECONDS": "60"}, "AGENT_COMMS_HEARTBEAT_SECONDS"),
        ({"AGENT_COMMS_STALE_MINUTES": "soon"}, "AGENT_COMMS_STALE_MINUTES"),
        ({"GUNICORN_CMD_ARGS": "--bind 0.0.0.0:0"}, "AGENT_COMMS_AUTH"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_one_line(tmp_path: Path, settings: dict[str, str], named: str) -> None:
    web = WebServer(tmp_path / "web", settings)
    with pytest.raises(ServerError):
        web.start()
    lines = [line for line in web.log().splitlines() if " level=info " not in line]
    assert len(lines) == 1
    assert named in lines[0]


def test_a_database_url_that_cannot_be_read_is_named_and_not_shown(tmp_path: Path) -> None:
    web = WebServer(tmp_path / "web", {"DATABASE_URL": "postgresql://u:hunter2@[bad/x"})
    with pytest.raises(ServerError):
        web.start()
    said = [line for line in web.log().splitlines() if not line.startswith("time=")]
    assert len(said) == 1
    assert said[0].startswith("agent-comms: DATABASE_URL: it takes a libpq URI")
    assert "hunter2" not in web.log()


def test_too_few_open_files_for_the_connections_are_told(tmp_path: Path, database: str) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    settings = {"DATABASE_URL": database, "AGENT_COMMS_LIVE_CONNECTIONS": str(hard)}
    with WebServer(tmp_path / "web", settings) as web:
        assert "AGENT_COMMS_LIVE_CONNECTIONS" in web.log()
