"""What the web tells Prometheus, of all its workers at once."""

import contextlib
import http.client
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg

from connectors.loopback import HOST
from tests.processes import descendants, is_running
from tests.scrape import labels, metric, open_metrics, scrape
from tests.waiting import PATIENCE_S, wait_until
from tests.watcher import Watcher
from tests.webserver import StartWeb, WebServer
from tests.writers import Writer

FIGURES = re.compile(r"/agent-comms-web-metrics-[^/]*/[^/]*\.db$")


def get(web: WebServer, path: str) -> int:
    with closing(http.client.HTTPConnection(HOST, web.port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status


def workers(web: WebServer) -> list[int]:
    return sorted(pid for pid, command in descendants(web.pid).items() if "gunicorn" in command)


def test_whichever_worker_is_asked_tells_of_all_and_one_that_dies_takes_nothing_with_it(
    start_web: StartWeb, database: str
) -> None:
    # A quiet connection that is gone is noticed at the next beat.
    web = start_web(DATABASE_URL=database, GUNICORN_CMD_ARGS="--workers 3", AGENT_COMMS_HEARTBEAT_SECONDS="1")
    wait_until(lambda: len(workers(web)) == 3, "three workers")
    with Writer(database) as writer, ExitStack() as ends:
        watchers = [ends.enter_context(Watcher(web.url, channel="general")) for _ in range(12)]
        wait_until(lambda: metric(web.port, "agent_comms_live_subscribers") == 12, "all watchers")
        for _ in range(20):
            # Another worker may answer each time.
            assert scrape(web.port)["agent_comms_live_subscribers"] == 12
        writer.say("hello", channel="general")
        for watcher in watchers:
            watcher.take(1)
        wait_until(lambda: metric(web.port, "agent_comms_row_to_client_seconds_count") > 0, "the delay")
    for _ in range(30):
        assert get(web, "/healthz") == 200
    answered = "agent_comms_http_requests_total//healthz/2xx"
    before = scrape(web.port)[answered]
    assert before >= 30
    delays = scrape(web.port)["agent_comms_row_to_client_seconds_count"]
    there = workers(web)
    os.kill(there[0], signal.SIGKILL)
    wait_until(lambda: len(workers(web)) == 3 and there[0] not in workers(web), "another worker")
    wait_until(lambda: metric(web.port, "agent_comms_live_subscribers") == 0, "the watchers to be gone")
    assert scrape(web.port)[answered] >= before
    assert scrape(web.port)["agent_comms_row_to_client_seconds_count"] >= delays


def test_the_memory_of_all_workers_is_told(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database, GUNICORN_CMD_ARGS="--workers 2")
    wait_until(lambda: len(workers(web)) == 2, "two workers")

    def resident(pid: int) -> int:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    wait_until(
        lambda: metric(web.port, "process_resident_memory_bytes") > 1.5 * min(map(resident, workers(web))),
        "the sum of two",
    )


def figures(web: WebServer) -> Path:
    """Return the folder that the workers of a web keep their figures in."""
    found: list[str] = []

    def is_there() -> bool:
        found[:] = [file for worker in workers(web) for file in open_files(worker) if FIGURES.search(file)]
        return bool(found)

    wait_until(is_there, "the figures")
    return Path(found[0]).parent


def open_files(pid: int) -> Iterator[str]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        # A worker at work closes what this has just listed.
        with contextlib.suppress(FileNotFoundError):
            yield str(descriptor.readlink())


def is_due(folder: Path) -> bool:
    """Say whether a web that begins removes it; that of another worker may have done so."""
    try:
        return time.time() - folder.stat().st_ctime > 1.5
    except FileNotFoundError:
        return True


def test_the_folder_of_a_killed_web_is_gone_with_the_next_one_and_that_of_a_running_one_stays(
    start_web: StartWeb, database: str
) -> None:
    running, killed = start_web(DATABASE_URL=database), start_web(DATABASE_URL=database)
    kept, left = figures(running), figures(killed)
    both = list(descendants(killed.pid))
    killed.kill()
    wait_until(lambda: not any(map(is_running, both)), "the killed web to be gone")
    wait_until(lambda: is_due(left), "the folder to be an old one")
    start_web(DATABASE_URL=database)
    wait_until(lambda: not left.exists(), "the folder to be gone")
    assert kept.exists()
    assert scrape(running.port)["agent_comms_live_subscribers"] == 0


def test_the_folder_of_the_figures_is_gone_with_the_web(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database)
    folder = figures(web)
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o077 == 0
    web.stop()
    assert not folder.exists()


def test_the_web_speaks_openmetrics_and_names_no_path_and_no_run(web: WebServer, writer: Writer) -> None:
    writer.say("hello")
    for path in ("/agents/run-1", "/agents/secret-run-9", "/nowhere/at/all", "/api/agents/runs/run-1"):
        get(web, path)
    names = {family.name for family in open_metrics(web.port)}
    assert {"agent_comms_build", "agent_comms_http_requests", "process_resident_memory_bytes"} <= names
    told = {value for name, value in labels(web.port) if name != "le"}
    assert "/agents/<path:run>" in told
    assert "none" in told
    assert not [value for value in told if "run-1" in value or "secret" in value or "nowhere" in value]


def test_what_postgres_knows_is_told_and_nothing_old_while_it_is_away(web: WebServer, database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            """
            INSERT INTO workflow_comms.reconcile_queue
                (workflow_namespace, workflow_uid, workflow_name, payload, state, report, next_try_at)
            VALUES ('agents', 'a', 'a', '{}', 'queued', NULL, now() - interval '1 hour'),
                ('agents', 'b', 'b', '{}', 'done', '{"complete": true}', now()),
                ('agents', 'c', 'c', '{}', 'done', '{"complete": false}', now()),
                ('agents', 'd', 'd', '{}', 'done', '{"complete": true}', now() - interval '8 days'),
                ('agents', 'e', 'e', '{}', 'done',
                    '{"complete": false, "artifacts": 0, "absent": {}, "gone": 0}', now()),
                ('agents', 'f', 'f', '{}', 'done',
                    '{"complete": false, "artifacts": 0, "absent": {"a": "missing"}, "gone": 0}', now());
            INSERT INTO workflow_comms.runs (workflow_namespace, workflow_uid, workflow_name, last_at)
            VALUES ('agents', 'a', 'a', now()), ('agents', 'b', 'b', now() - interval '1 hour'),
                ('agents', 'c', 'c', now() - interval '1 day');
            INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key, replayed_at)
            VALUES ('s', '', 'not_json', '', 'a', NULL), ('s', '', 'not_json', '', 'b', now());
            """
        )
    seen: dict[str, float] = {}

    def is_told() -> bool:
        # Where Postgres takes long the figures are left out.
        nonlocal seen
        seen = scrape(web.port)
        return seen.keys() >= {f"agent_comms_{name}" for name in ("dead_letters_waiting", "reconcile_overdue_seconds")}

    wait_until(is_told, "the figures")
    assert seen["agent_comms_reconcile_queue_runs/queued"] == 1
    assert seen["agent_comms_reconcile_queue_runs/failed"] == 0
    assert 3_600 <= seen["agent_comms_reconcile_overdue_seconds"] < 3_700
    assert seen["agent_comms_reconciled_recently_runs/true"] == 1
    assert seen["agent_comms_reconciled_recently_runs/false"] == 2
    # Of a run without artifacts nobody knows, and nobody is alarmed.
    assert seen["agent_comms_reconciled_recently_runs/unknown"] == 1
    assert seen["agent_comms_running_runs/talking"] == 1
    assert seen["agent_comms_running_runs/silent"] == 1
    assert seen["agent_comms_dead_letters_waiting"] == 1
    with psycopg.connect(database) as connection:
        connection.execute("ALTER TABLE workflow_comms.dead_letters RENAME TO elsewhere")
    assert "agent_comms_dead_letters_waiting" not in scrape(web.port)
    assert "agent_comms_reconcile_overdue_seconds" not in scrape(web.port)
