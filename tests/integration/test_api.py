"""The API's answers: messages and runs as JSON, errors, headers, and what is refused."""

import itertools
import json
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from connectors.loopback import HOST
from tests.asking import ask, contents, get, refused
from tests.servers import PostgresServer, fresh_database
from tests.waiting import PATIENCE_S, wait_until
from tests.watcher import Watcher
from tests.webserver import StartWeb, WebServer
from tests.writers import Writer

MESSAGES = "/api/agents/messages"
RUNS = "/api/agents/runs"
EVENTS = "/api/agents/events"
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


def test_messages_come_in_reading_order_whatever_the_order_of_their_arrival(web: WebServer, writer: Writer) -> None:
    for minute in (3, 1, 2):
        writer.say(str(minute), timestamp=NOON + timedelta(minutes=minute))
    writer.say("1 too", timestamp=NOON + timedelta(minutes=1))
    page = get(web, MESSAGES, runId="run-1")
    assert contents(page) == ["1", "1 too", "2", "3"]
    assert page["prev"] is None
    assert page["next"] is None
    assert page["messages"][0]["timestamp"] == "2026-05-04T12:01:00Z"


def test_pages_of_messages_lead_both_ways_and_end(web: WebServer, writer: Writer) -> None:
    # Twins in time, so that a cursor by time alone would lose or double one.
    writer.say(*map(str, range(7)), timestamp=NOON)
    page = get(web, MESSAGES, runId="run-1", limit=3)
    assert contents(page) == ["4", "5", "6"]
    assert page["next"] is None
    older = get(web, page["prev"])
    assert contents(older) == ["1", "2", "3"]
    oldest = get(web, older["prev"])
    assert contents(oldest) == ["0"]
    assert oldest["prev"] is None
    assert contents(get(web, oldest["next"])) == ["1", "2", "3"]
    assert contents(get(web, get(web, oldest["next"])["next"])) == ["4", "5", "6"]


def test_the_general_channel_has_pages_too(web: WebServer, writer: Writer) -> None:
    writer.say(*map(str, range(5)), channel="general")
    writer.say("elsewhere", channel="general", workflow_namespace="b")
    assert contents(get(web, MESSAGES, channel="general", limit=2)) == ["4", "elsewhere"]
    page = get(web, MESSAGES, channel="general", workflowNamespace="agents", limit=2)
    assert contents(page) == ["3", "4"]
    assert contents(get(web, page["prev"])) == ["1", "2"]


def test_messages_are_filtered(web: WebServer, writer: Writer) -> None:
    writer.say("a", agent_id="planner")
    writer.say("b", agent_id="executor", kind="error")
    writer.say("c", agent_id="executor")
    assert contents(get(web, MESSAGES, runId="run-1", agentId="executor")) == ["b", "c"]
    assert contents(get(web, MESSAGES, workflowUid="run-1", kind="error")) == ["b"]
    assert contents(get(web, MESSAGES, runId="run-1", workflowName="other")) == []
    assert get(web, MESSAGES, runId="nobody") == {"messages": [], "prev": None, "next": None}


def test_a_page_of_large_messages_is_short_but_leads_on(web: WebServer, writer: Writer) -> None:
    words = [str(n) + "x" * 1_000_000 for n in range(9)]
    writer.say(*words)
    page = get(web, MESSAGES, runId="run-1")
    found = contents(page)
    while page["prev"]:
        assert sum(map(len, contents(page))) < 6_000_000
        page = get(web, page["prev"])
        found = contents(page) + found
    assert found == words


@pytest.mark.parametrize(("digits", "shown"), [("1e400", 10**400), ("1e5000", "1" + "0" * 5_000)])
def test_numbers_beyond_all_bounds_break_neither_page_nor_stream(
    web: WebServer, writer: Writer, digits: str, shown: object
) -> None:
    writer.say("big")
    with psycopg.connect(web.database) as connection:
        connection.execute("UPDATE workflow_comms.agent_messages SET attrs = %s", [f'{{"n": {digits}}}'])
    assert get(web, MESSAGES, runId="run-1")["messages"][0]["attrs"]["n"] == shown
    with Watcher(web.url, runId="run-1") as watcher:
        assert watcher.take(1)[0].data["attrs"]["n"] == shown


def test_runs_are_listed_by_activity_and_paged(web: WebServer, writer: Writer) -> None:
    for hour in range(5):
        writer.say("hello", run=f"run-{hour}", timestamp=NOON + timedelta(hours=hour))
    writer.say("hello", run="run-1, too", timestamp=NOON + timedelta(hours=1))
    page = get(web, RUNS, limit=2)
    pages = [page]
    while page["next"]:
        page = get(web, page["next"])
        pages.append(page)
    names = [[run["workflow_uid"] for run in page["runs"]] for page in pages]
    assert names == [["run-4", "run-3"], ["run-2", "run-1"], ["run-1, too", "run-0"]]


def test_runs_are_filtered_and_searched(web: WebServer, writer: Writer) -> None:
    writer.say("100% done", run="silent", timestamp=NOON)
    writer.say("working", run="busy")
    writer.say("run-finished", run="over", kind="status", attrs={"status": "succeeded"})
    writer.say("working", run="far", workflow_namespace="b", agent_id="reviewer")

    def names(**query: str) -> set[str]:
        return {run["workflow_uid"] for run in get(web, RUNS, **query)["runs"]}

    assert names() == {"silent", "busy", "over", "far"}
    assert names(state="stale") == {"silent"}
    assert "silent" not in names(state="running")
    assert "busy" in names(state="running")
    assert names(workflowNamespace="b") == {"far"}
    assert names(q="REVIEW") == {"far"}
    assert names(q="100%") == {"silent"}
    assert names(q="1_0") == set()


def test_one_run_is_shown_with_those_that_share_its_name(web: WebServer, writer: Writer) -> None:
    writer.say("hello", workflow_uid="u-1", workflow_name="nightly", timestamp=NOON)
    writer.say("hello", workflow_uid="u-2", workflow_name="nightly", timestamp=NOON + timedelta(hours=1))
    writer.say("hello", workflow_uid="u-3", workflow_name="nightly", workflow_namespace="b", timestamp=NOON)
    run = get(web, f"{RUNS}/nightly")
    assert (run["workflow_uid"], run["messages"], run["agents"], run["state"]) == ("u-2", 1, ["planner"], "stale")
    assert {other["workflow_uid"] for other in run["others"]} == {"u-1", "u-3"}
    assert get(web, f"{RUNS}/nightly", workflowNamespace="b")["workflow_uid"] == "u-3"
    problem = refused(ask(web, f"{RUNS}/nobody"))
    assert (problem["status"], problem["parameter"]) == (404, "run")


@pytest.mark.parametrize("path", [EVENTS, MESSAGES])
@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({}, "runId"),
        ({"channel": "run"}, "runId"),
        ({"channel": "private"}, "channel"),
        ({"runId": "a\0b"}, "runId"),
        ({"runId": "x" * 1_001}, "runId"),
        ({"runId": "x", "agentId": "\0"}, "agentId"),
        *(
            ({"runId": "x", "limit": limit}, "limit")
            for limit in ("0", "-1", "1.5", "", "+1", "1e3", "٣", " 1", "1_0", "x")
        ),
    ],
)
def test_a_wrong_parameter_is_named(web: WebServer, path: str, query: dict[str, Any], parameter: str) -> None:
    problem = refused(ask(web, path, **query))
    assert (problem["status"], problem["parameter"]) == (400, parameter)
    assert parameter in problem["error"]


@pytest.mark.parametrize(
    ("path", "query", "parameter"),
    [
        (MESSAGES, {"runId": "x", "before": "yesterday"}, "before"),
        (MESSAGES, {"runId": "x", "after": "2026-01-01T00:00:00,1"}, "after"),
        (MESSAGES, {"runId": "x", "before": f"2026-01-01T00:00:00Z,{2**63}"}, "before"),
        (MESSAGES, {"runId": "x", "before": "2026-01-01T00:00:00Z,1", "after": "2026-01-01T00:00:00Z,1"}, "after"),
        (RUNS, {"before": "2026-01-01T00:00:00Z"}, "before"),
        (RUNS, {"before": "2026-01-01T00:00:00Z,a,%00"}, "before"),
        (RUNS, {"state": "asleep"}, "state"),
        (RUNS, {"limit": "many"}, "limit"),
        (EVENTS, {"runId": "x", "html": "yes"}, "html"),
        (EVENTS, {"workflowNamespace": "agents"}, "runId"),
    ],
)
def test_a_wrong_cursor_or_choice_is_named(web: WebServer, path: str, query: dict[str, Any], parameter: str) -> None:
    problem = refused(ask(web, path, **query))
    assert (problem["status"], problem["parameter"]) == (400, parameter)


def test_no_value_of_any_parameter_is_our_failure(web: WebServer) -> None:
    nasty = [
        "\0",
        "'",
        '"; DROP',
        "%",
        "\ud7ff",
        "\uffff",
        "\r\nX: y",
        "{}",
        "9" * 4_000,
        "0" * 4_000,
        "\U0001f600" * 999,
    ]
    names = ["runId", "workflowUid", "workflowNamespace", "workflowName", "agentId", "kind", "channel", "limit"]
    names += ["before", "after", "q", "state", "html", "lastEventId"]
    for name, value, path in itertools.product(names, nasty, [MESSAGES, RUNS, f"{RUNS}/x"]):
        response, body = ask(web, path, **dict[str, Any]({"workflowUid": "x", name: value}))
        assert response.status < 500, (path, name, value, body)
    for value in nasty:
        response, body = ask(web, f"{RUNS}/{quote(value, safe='')}")
        assert response.status in (400, 404, 414), (value, body)


def test_what_is_not_there_is_a_problem_for_machines_and_a_page_for_people(web: WebServer) -> None:
    assert refused(ask(web, "/api/agents/nothing"))["status"] == 404
    response, body = ask(web, "/nothing")
    assert response.status == 404
    assert response.headers["Content-Type"].startswith("text/html")
    assert b"<h1>" in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", [RUNS, EVENTS, "/healthz"])
def test_what_is_only_read_is_not_written(web: WebServer, method: str, path: str) -> None:
    answer = ask(web, path, method)
    assert refused(answer)["status"] == 405
    assert "GET" in answer[0].headers["Allow"]


@pytest.mark.parametrize("path", ["/agents", "/agents/general", "/agents/nobody", "/nothing", "/static/app.css"])
def test_every_page_has_a_strict_policy(web: WebServer, path: str) -> None:
    response, _ = ask(web, path)
    policy = response.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert "default-src 'none'" in policy
    assert not any(word in policy for word in ("*", "unsafe-eval", "unsafe-inline"))
    assert response.headers["Referrer-Policy"] in ("same-origin", "no-referrer", "strict-origin")
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", [RUNS, MESSAGES, f"{EVENTS}?channel=general&limit=0", "/healthz"])
def test_data_is_not_sniffed_and_nobody_else_may_read_it(web: WebServer, path: str) -> None:
    response, _ = ask(web, path, headers={"Origin": "https://elsewhere.example"})
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in response.headers


def raw(web: WebServer, request: bytes) -> tuple[int, bytes]:
    """Send bytes and return the status and the body of what comes back."""
    with socket.create_connection((HOST, web.port), timeout=PATIENCE_S) as connection:
        # It may be refused before it was read to its end.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        answer = b""
        with suppress(ConnectionResetError):
            while not (answer.count(b"\r\n\r\n") and b"}" in answer) and (data := connection.recv(65_536)):
                answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /api/agents/runs?q=" + b"x" * 1_048_576 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET /api/agents/runs HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n", 431),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /api/agents/runs HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n", 400),
        (b"POST /api/agents/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: foo\r\n\r\n", 400),
        (b"POST /api/agents/messages HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST /api/agents/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 9437184\r\n\r\n", 413),
        (b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nboo\r\n0\r\n\r\n", 404),
    ],
    ids=lambda value: None if isinstance(value, int) else value[:60].decode(),
)
def test_what_is_no_request_is_the_clients_mistake(web: WebServer, request_bytes: bytes, status: int) -> None:
    got, body = raw(web, request_bytes)
    assert got == status
    if b"/nothing" not in request_bytes:
        assert json.loads(body)["error"]
    assert ask(web, "/healthz")[0].status == 200


def test_without_postgres_requests_fail_soon_and_say_so(
    start_web: StartWeb, own_postgres_server: PostgresServer
) -> None:
    with fresh_database(own_postgres_server) as dsn:
        web = start_web(DATABASE_URL=dsn)
        assert get(web, RUNS) == {"runs": [], "next": None}
        own_postgres_server.stop()
        answer = ask(web, RUNS)
        assert refused(answer)["status"] == 503
        assert answer[0].headers["Retry-After"]
        assert ask(web, "/agents")[0].status == 503
        own_postgres_server.start()
        wait_until(lambda: ask(web, RUNS)[0].status == 200, "the pool's return")
