"""What a workflow's controller says of a run's end: taken in every envelope, once, and not lost by a crash."""

import base64
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg.types.json import Jsonb

from connectors.loopback import HOST
from flows.completion import MOST_ARTIFACTS
from flows.redact import Redactor
from tests.servers import PostgresServer, fresh_database
from tests.waiting import PATIENCE_S, wait_until
from tests.watcher import RUN_EVENTS, Watcher
from tests.webserver import StartWeb, WebServer
from tests.writers import Writer
from web.completions import Completions
from web.pool import Pool
from web.queries import Reader
from web.sight import EVERYTHING, seeing
from web.turn import Turn

JSON = "application/json"
PAYLOAD = {
    "metadata": {"name": "nightly", "namespace": "b", "uid": "uid-1"},
    "status": {"phase": "Failed", "startedAt": "2026-05-04T10:00:00Z", "finishedAt": "2026-05-04T11:00:00Z"},
    "artifacts": [{"name": "implementation-events", "key": "nightly/pod/events.tgz", "bucket": "runs"}],
    "stage": "implementation",
    "run_id": "r-1",
}
# As the sensor sends it.
IN_TEXT = {key: json.dumps(part) if isinstance(part, dict | list) else part for key, part in PAYLOAD.items()}
EVENT = {"specversion": "1.0", "id": "e-1", "source": "/workflows", "type": "run-complete"}
BINARY = {f"ce-{name}": value for name, value in EVENT.items()}
CLOUD_EVENT = "application/cloudevents+json"


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    with psycopg.connect(shared_web.database) as connection:
        connection.execute("TRUNCATE workflow_comms.reconcile_queue")
    return shared_web


def complete(
    web: WebServer, body: object, run: str = "nightly", kind: str = JSON, query: str = "", **headers: str
) -> tuple[int, dict[str, Any]]:
    with closing(HTTPConnection(HOST, web.port, timeout=PATIENCE_S)) as connection:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        path = f"/api/agents/runs/{quote(run, safe='')}/complete{query}"
        connection.request("POST", path, data, {"Content-Type": kind, **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def queue(web: WebServer) -> list[tuple[Any, ...]]:
    with psycopg.connect(web.database) as connection:
        return connection.execute(
            "SELECT workflow_namespace, workflow_uid, workflow_name, run_id, state, revision, payload"
            " FROM workflow_comms.reconcile_queue ORDER BY queued_at"
        ).fetchall()


def run_row(web: WebServer) -> tuple[Any, ...] | None:
    with psycopg.connect(web.database) as connection:
        return connection.execute("SELECT state, finished_at FROM workflow_comms.runs").fetchone()


@pytest.mark.parametrize(
    ("body", "kind", "headers"),
    [
        (PAYLOAD, JSON, {}),
        (IN_TEXT, JSON, {}),
        (PAYLOAD, f"{JSON}; charset=utf-8", {}),
        (PAYLOAD, JSON, BINARY),
        ({"data": PAYLOAD}, JSON, {}),
        ({**EVENT, "datacontenttype": JSON, "data": PAYLOAD}, CLOUD_EVENT, {}),
        ({**EVENT, "data": json.dumps(IN_TEXT)}, CLOUD_EVENT, {}),
        ({**EVENT, "data_base64": base64.b64encode(json.dumps(PAYLOAD).encode()).decode()}, CLOUD_EVENT, {}),
    ],
    ids=["bare", "in-text", "charset", "binary", "data", "structured", "data-in-text", "base64"],
)
def test_every_envelope_queues_the_same(web: WebServer, body: object, kind: str, headers: dict[str, str]) -> None:
    status, answer = complete(web, body, kind=kind, **headers)
    assert status == 202, answer
    names = answer["workflow_namespace"], answer["workflow_uid"], answer["workflow_name"], answer["state"]
    assert names == ("b", "uid-1", "nightly", "queued")
    assert queue(web) == [("b", "uid-1", "nightly", "r-1", "queued", 1, PAYLOAD)]


def test_the_same_again_changes_nothing_and_another_word_queues_anew(web: WebServer) -> None:
    first = complete(web, PAYLOAD)
    with psycopg.connect(web.database) as connection:
        connection.execute("UPDATE workflow_comms.reconcile_queue SET state = 'done', attempts = 2")
    again = complete(web, IN_TEXT)
    assert (again[0], again[1]["state"], again[1]["queued_at"]) == (202, "done", first[1]["queued_at"])
    assert queue(web)[0][4:6] == ("done", 1)
    later = {**PAYLOAD, "stage": "review"}
    assert complete(web, later)[1]["state"] == "queued"
    assert queue(web) == [("b", "uid-1", "nightly", "r-1", "queued", 2, later)]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"metadata": {"namespace": "b", "uid": "uid-1"}, "artifacts": [], "stage": "", "run_id": None},
        {"workflowUid": "uid-1", "workflow_namespace": "b", "status": {"phase": ""}, "runId": "r-1"},
        {**PAYLOAD, "artifacts": [{"key": "nightly/pod/events.tgz", "bucket": "runs", "name": ""}]},
    ],
    ids=["nothing", "empty", "spelled-otherwise", "thinner-artifact"],
)
def test_what_a_later_completion_lacks_stays(web: WebServer, body: object) -> None:
    first = complete(web, PAYLOAD)[1]
    status, answer = complete(web, body, "uid-1")
    assert (status, answer["queued_at"]) == (202, first["queued_at"])
    assert queue(web) == [("b", "uid-1", "nightly", "r-1", "queued", 1, PAYLOAD)]


def test_what_a_later_completion_says_replaces_and_its_artifacts_are_added(web: WebServer) -> None:
    events, elsewhere = PAYLOAD["artifacts"][0], {**PAYLOAD["artifacts"][0], "bucket": "old-runs"}  # type: ignore[index]
    log = {"name": "log", "key": "nightly/pod-2/log.tgz", "bucket": "runs"}
    complete(web, {**PAYLOAD, "artifacts": [events, elsewhere, events]})
    renamed = {**events, "name": "codex-events"}
    names = {"workflowNamespace": "b", "workflowUid": "uid-1", "workflowName": "hourly"}
    assert complete(web, {**names, "artifacts": [log, renamed], "phase": "Succeeded"}, "uid-1")[0] == 202
    later = {
        **PAYLOAD,
        "metadata": {"name": "hourly", "namespace": "b", "uid": "uid-1"},
        "status": {"phase": "Succeeded"},
        "artifacts": [renamed, elsewhere, log],
    }
    assert queue(web) == [("b", "uid-1", "hourly", "r-1", "queued", 2, later)]


def test_two_completions_at_once_lose_nothing_of_each_other(web: WebServer) -> None:
    keys = [f"nightly/pod-{number}/events.tgz" for number in range(16)]
    bodies = [{**PAYLOAD, "artifacts": [{"name": "codex-events", "key": key}]} for key in keys]
    with ThreadPoolExecutor(len(bodies)) as threads:
        assert {status for status, _ in threads.map(lambda body: complete(web, body), bodies)} == {202}
    assert sorted(each["key"] for each in queue(web)[0][6]["artifacts"]) == sorted(keys)


def artifacts(number: int, first: int = 0) -> list[dict[str, str]]:
    keys = [f"nightly/pod-{place}/events.tgz" for place in range(first, first + number)]
    return [{"name": "implementation-events", "key": key, "bucket": "runs"} for key in keys]


def test_as_many_artifacts_as_are_allowed_are_taken_again_and_again_and_one_more_is_refused(web: WebServer) -> None:
    half = MOST_ARTIFACTS // 2
    for some in (artifacts(half), artifacts(half, half), artifacts(MOST_ARTIFACTS)):
        assert complete(web, {**PAYLOAD, "artifacts": some})[0] == 202
    assert queue(web)[0][5:] == (2, {**PAYLOAD, "artifacts": artifacts(MOST_ARTIFACTS)})
    for some, words in (
        (artifacts(1, MOST_ARTIFACTS), "artifacts: with those told before the run has 10,001; 10,000 are allowed."),
        (artifacts(50_000), "artifacts: it has 50,000 entries; 10,000 are allowed."),
    ):
        status, problem = complete(web, {**PAYLOAD, "artifacts": some, "stage": "review"})
        assert (status, problem["error"], problem["parameter"]) == (400, words, "artifacts")
    assert queue(web)[0][5:] == (2, {**PAYLOAD, "artifacts": artifacts(MOST_ARTIFACTS)})


def test_a_run_with_more_artifacts_than_are_allowed_by_now_is_told_of_all_the_same(web: WebServer) -> None:
    complete(web, PAYLOAD)
    many = {**PAYLOAD, "artifacts": artifacts(MOST_ARTIFACTS + 1)}
    with psycopg.connect(web.database) as connection:
        connection.execute("UPDATE workflow_comms.reconcile_queue SET payload = %s", [Jsonb(many)])
    assert complete(web, {**PAYLOAD, "artifacts": artifacts(10), "stage": "review"})[0] == 202
    assert queue(web)[0][6] == {**many, "stage": "review"}


def test_the_run_is_shown_as_ended_at_once(web: WebServer) -> None:
    with Writer(web.database) as writer:
        writer.say("working", workflow_namespace="b", workflow_uid="uid-1", workflow_name="nightly")
    with Watcher(web.url, RUN_EVENTS) as watcher:
        watcher.take_comments(1)
        complete(web, PAYLOAD)
        # That it was working may be told just before.
        run = next(event.data["run"] for event in watcher if event.data["run"]["state"] != "running")
    assert (run["workflow_uid"], run["state"], run["finished_at"]) == ("uid-1", "failed", "2026-05-04T11:00:00Z")


@pytest.mark.parametrize("is_told", [True, False])
def test_a_completion_without_a_time_leaves_the_end_where_it_is(web: WebServer, *, is_told: bool) -> None:
    ended = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    run = f"timeless-{is_told}"
    with Writer(web.database) as writer:
        names: dict[str, Any] = {"workflow_namespace": "b", "workflow_uid": run, "workflow_name": run}
        writer.say("started", kind="status", timestamp=ended - timedelta(seconds=1), **names)
        if is_told:
            writer.say("failed", kind="status", timestamp=ended, **names)

    def end() -> tuple[Any, ...] | None:
        with psycopg.connect(web.database) as connection:
            query = "SELECT state, finished_at FROM workflow_comms.runs WHERE workflow_uid = %s"
            return connection.execute(query, [run]).fetchone()

    before = datetime.now(UTC)
    assert complete(web, {}, run)[0] == 202
    first = end()
    assert first is not None
    if is_told:
        assert first == ("failed", ended)
    else:
        assert first[0] == "unknown"
        assert before <= first[1] <= datetime.now(UTC)
    for body in ({}, {"stage": "another word"}, {}):
        assert complete(web, body, run)[0] == 202
        assert end() == first


@pytest.mark.parametrize("run", ["nightly", "uid-1", "r-1", "-"])
def test_the_address_may_use_any_of_the_runs_names(web: WebServer, run: str) -> None:
    assert complete(web, PAYLOAD, run)[0] == 202


def test_a_payload_that_names_no_run_is_the_addresss(web: WebServer) -> None:
    with Writer(web.database) as writer:
        writer.say("working", workflow_namespace="b", workflow_uid="uid-7", workflow_name="weekly", run_id="r-7")
    assert complete(web, {"status": {"phase": "Succeeded"}}, "r-7")[1]["workflow_uid"] == "uid-7"
    answer = complete(web, {"status": {"phase": "Succeeded"}}, "a/b c", query="?workflowNamespace=c")[1]
    assert (answer["workflow_namespace"], answer["workflow_uid"]) == ("c", "a/b c")


def test_an_id_that_only_the_address_tells_is_kept(web: WebServer) -> None:
    payload = {key: part for key, part in PAYLOAD.items() if key != "run_id"}
    assert complete(web, payload, "r-9")[0] == 202
    assert queue(web)[0][3] == "r-9"


def test_another_runs_address_is_refused(web: WebServer) -> None:
    with Writer(web.database) as writer:
        writer.say("working", workflow_namespace="b", workflow_uid="uid-2", workflow_name="other")
    for run in ("other", "r-2"):
        status, problem = complete(web, PAYLOAD, run)
        assert (status, problem["parameter"]) == (400, "run")
    payload = {key: part for key, part in PAYLOAD.items() if key != "run_id"}
    assert complete(web, payload, "other")[0] == 400
    assert queue(web) == []


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b"\xff\xff", "body"),
        (b"[" * 100_000, "body"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "body"),
        ({"metadata": "{"}, "metadata"),
        ({"metadata": "[]"}, "metadata"),
        ({"metadata": 7}, "metadata"),
        ({"metadata": {"name": 7}}, "metadata.name"),
        ({"metadata": {"name": [1], "uid": {}}}, "metadata.name"),
        ({"metadata": {"namespace": {"a": 1}}}, "metadata.namespace"),
        ({"metadata": {"name": "x" * 300}}, "metadata.name"),
        ({**PAYLOAD, "status": {"phase": "Running"}}, "status.phase"),
        ({"phase": "pending"}, "phase"),
        ({"phase": 5, "finished_at": "x"}, "phase"),
        ({"finished_at": "x"}, "finished_at"),
        ({"status": json.dumps({"finishedAt": "yesterday"})}, "status.finishedAt"),
        ({**PAYLOAD, "artifacts": json.dumps([{"key": 5}])}, "artifacts[0].key"),
        ({"data": "nonsense"}, "data"),
        ({"data_base64": "???"}, "body"),
        ({**PAYLOAD, "metadata": {"name": "nightly", "uid": "uid-1\0"}}, None),
        ({**PAYLOAD, "stage": "\ud800 \0"}, None),
    ],
)
def test_what_is_no_completion_is_refused_with_the_field(web: WebServer, body: object, parameter: str | None) -> None:
    status, answer = complete(web, body)
    assert (status, answer.get("parameter")) == (400 if parameter else 202, parameter)
    assert len(queue(web)) == (0 if parameter else 1)


def test_only_json_and_only_our_own_pages(web: WebServer) -> None:
    assert complete(web, PAYLOAD, kind="text/plain")[0] == 415
    assert complete(web, PAYLOAD, kind="application/cloudevents-batch+json")[0] == 415
    assert complete(web, PAYLOAD, Origin="https://elsewhere.example")[0] == 403
    assert queue(web) == []


def test_what_was_taken_outlives_a_crash_of_web_and_postgres(
    start_web: StartWeb, own_postgres_server: PostgresServer
) -> None:
    with fresh_database(own_postgres_server) as dsn:
        web = start_web(DATABASE_URL=dsn)
        assert complete(web, PAYLOAD)[0] == 202
        os.kill(own_postgres_server.pid, signal.SIGQUIT)
        web.kill()
        wait_until(lambda: not is_alive(own_postgres_server))
        own_postgres_server.kill()
        own_postgres_server.start()
        assert [row[:2] for row in queue(web)] == [("b", "uid-1")]


def is_alive(server: PostgresServer) -> bool:
    return os.path.exists(f"/proc/{server.pid}/fd/0")  # noqa: PTH110


def test_without_postgres_nothing_is_taken(start_web: StartWeb, own_postgres_server: PostgresServer) -> None:
    with fresh_database(own_postgres_server) as dsn:
        web = start_web(DATABASE_URL=dsn)
        own_postgres_server.stop()
        assert complete(web, PAYLOAD)[0] == 503
        own_postgres_server.start()
        wait_until(lambda: complete(web, PAYLOAD)[0] == 202)


def test_the_queue_is_among_the_metrics(web: WebServer) -> None:
    complete(web, PAYLOAD)
    complete(web, {**PAYLOAD, "metadata": {"name": "nightly", "uid": "uid-2"}})
    complete(web, {**PAYLOAD, "metadata": {"name": "nightly", "uid": "uid-3"}})
    with psycopg.connect(web.database) as connection:
        connection.execute("UPDATE workflow_comms.reconcile_queue SET state = 'failed' WHERE workflow_uid = 'uid-2'")

    def counted() -> dict[str, float]:
        return {
            state: web.metric(f'agent_comms_reconcile_queue_runs{{state="{state}"}}')
            for state in ("queued", "running", "done", "failed")
        }

    wait_until(lambda: counted() == {"queued": 2, "running": 0, "done": 0, "failed": 1})


def test_no_credential_is_queued(web: WebServer) -> None:
    token = "ghp_" + "a1B2" * 9
    payload = {
        "metadata": {"name": "leaky", "uid": "leaky-uid", "namespace": "agents"},
        "arguments": {"parameters": [{"name": "repository-token", "value": token}], "password": "hunter2hunter2"},
        "status": {"phase": "Failed", "message": f"could not clone with {token}"},
    }
    assert complete(web, payload, "leaky-uid")[0] == 202
    with psycopg.connect(web.database) as connection:
        ((queued,),) = connection.execute(
            "SELECT payload::text FROM workflow_comms.reconcile_queue WHERE workflow_uid = 'leaky-uid'"
        ).fetchall()
    assert token not in queued
    assert "hunter2" not in queued
    assert "[redacted:github-token]" in queued


def test_a_large_completion_is_taken_in_short_turns(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    breaths: list[int] = []

    class Counted(Turn):
        def breathe(self) -> None:
            breaths.append(1)
            super().breathe()

    monkeypatch.setattr("web.completions.Turn", Counted)
    body = json.dumps({**PAYLOAD, "artifacts": artifacts(2_000)}).encode()
    pool, reader = Pool(database, 1, writes=True), Reader(database, timedelta(minutes=15))
    with closing(pool), closing(reader), seeing(EVERYTHING):
        assert Completions(pool, reader, Redactor()).add("-", None, body).state == "queued"
    # Each of them is made storable, and looked through for credentials.
    assert len(breaths) >= 2 * 2_000
