"""Two tenants with the same names of runs and agents: what is live shows neither a byte of the other."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

import psycopg
import pytest

from connectors.loopback import HOST
from tests.asking import ask
from tests.integration.test_exchange import Line
from tests.readers import Headers
from tests.sockets import SocketClient
from tests.tenants import NAMES, OURS, PRIVATE, THEIRS, people, tell
from tests.waiting import PATIENCE_S
from tests.watcher import RUN_EVENTS, Watcher
from tests.webserver import WebServer
from tests.writers import Writer

API = "/api/agents"

ours, theirs, both, everybody = people("function")


@pytest.fixture
def writer(database: str) -> Iterator[Writer]:
    with Writer(database) as writer:
        yield writer


@pytest.fixture
def told(database: str, writer: Writer) -> None:
    tell(database, writer)


@pytest.mark.usefixtures("told")
def test_a_topic_of_the_other_stays_silent(guarded: WebServer, writer: Writer, ours: Headers) -> None:
    topics = [
        f"/api/agents/events?{urlencode({'workflowNamespace': THEIRS, 'workflowUid': 'run-1'})}",
        "/api/agents/events?channel=general",
        "/api/agents/runs/events",
        f"/api/agents/runs/events?workflowNamespace={THEIRS}",
    ]
    with closing(Line(guarded, *((0, topic) for topic in topics), headers=ours)) as line:
        for namespace in (THEIRS, OURS):
            writer.say(f"{NAMES[namespace]} live", workflow_namespace=namespace)
            writer.say(f"{NAMES[namespace]} over", workflow_namespace=namespace, channel="general")
        said = ""
        while f"{NAMES[OURS]} over" not in said:
            said += json.dumps(line.take(1)[0].data)
    assert NAMES[THEIRS] not in said


LIVE: list[dict[str, str]] = [
    {"runId": "run-1"},
    {"runId": "run-1", "include": "general"},
    {"runId": "run-1", "workflowNamespace": THEIRS},
    {"workflowUid": "run-1", "workflowNamespace": THEIRS},
    {"channel": "general"},
    {"channel": "general", "workflowNamespace": THEIRS},
    {"channel": "general", "workflowUid": "run-1"},
    {"runId": PRIVATE},
    {"runId": "not-yet"},
]


def until_the_end(watcher: Watcher) -> str:
    """Return all that a stream says up to the last words."""
    heard = []
    for event in watcher:
        heard.append(event)
        if event.name == "message" and event.said == "the end":
            break
    return str(heard)


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("last_id", [None, "0", "99999"], ids=str)
def test_no_stream_shows_a_byte_of_the_other(
    guarded: WebServer, writer: Writer, ours: Headers, theirs: Headers, last_id: str | None
) -> None:
    with ExitStack() as open_:

        def watch(headers: Headers, query: dict[str, str]) -> Watcher:
            return open_.enter_context(Watcher(guarded.url, headers=headers, last_id=last_id, **query))

        mine = [(query, watch(ours, query)) for query in LIVE]
        other = [(query, watch(theirs, query)) for query in LIVE]
        places = [(run, channel) for run in ("run-1", PRIVATE, "not-yet") for channel in ("run", "general")]
        # What the hub hands out comes in order: what is not one's own would come before the end.
        for words in ("live", "more", None):
            for namespace, word in NAMES.items():
                for run, channel in places:
                    text = "the end" if words is None else f"{word} {words}"
                    writer.say(text, workflow_namespace=namespace, run=run, channel=channel)
        for query, watcher in other:
            heard = until_the_end(watcher)
            assert NAMES[OURS] not in heard, query
            assert NAMES[THEIRS] in heard, query
        for query, watcher in mine:
            if query.get("workflowNamespace") == THEIRS:
                watcher.skip_to_comments(2, without='data: {"id"')
                continue
            heard = until_the_end(watcher)
            assert NAMES[THEIRS] not in heard, query
            assert THEIRS not in heard, query
            assert NAMES[OURS] in heard, query


@pytest.mark.usefixtures("told")
def test_the_stream_of_runs_tells_of_ones_own(
    guarded: WebServer, writer: Writer, ours: Headers, everybody: Headers
) -> None:
    with (
        Watcher(guarded.url, RUN_EVENTS, headers=ours, last_id="0") as mine,
        Watcher(guarded.url, RUN_EVENTS, headers=everybody, last_id="0") as every,
        Watcher(guarded.url, RUN_EVENTS, headers=ours, workflowNamespace=THEIRS, last_id="0") as their,
    ):
        writer.say("x", workflow_namespace=THEIRS, run="new-run")
        writer.say("x", workflow_namespace=OURS, run="last-run")

        def runs(watcher: Watcher) -> list[tuple[str, str]]:
            found: list[tuple[str, str]] = []
            for event in watcher:
                found.append((event.data["run"]["workflow_namespace"], event.data["run"]["workflow_uid"]))
                if found[-1][1] == "last-run":
                    return found
            return found

        assert set(runs(mine)) == {(OURS, "run-1"), (OURS, "last-run")}
        assert {(THEIRS, "new-run"), (THEIRS, "run-1"), (THEIRS, PRIVATE)} <= set(runs(every))
        their.skip_to_comments(2, without='data: {"')


@pytest.mark.usefixtures("told")
def test_no_socket_shows_a_byte_of_the_other(guarded: WebServer, writer: Writer, ours: Headers) -> None:
    with SocketClient(guarded, **ours) as client:
        for number, subscription in enumerate(
            [
                {"run": "run-1"},
                {"run": "run-1", "include": "general"},
                {"channel": "general"},
                {"run": "run-1", "workflowNamespace": THEIRS},
                {"run": PRIVATE},
                {"run": "run-1", "lastEventId": "0"},
            ]
        ):
            client.send("subscribe", id=f"s{number}", **subscription)
        for channel in ("run", "general"):
            writer.say(f"{NAMES[THEIRS]} live", workflow_namespace=THEIRS, channel=channel)
            writer.say(f"{NAMES[THEIRS]} live", workflow_namespace=THEIRS, run=PRIVATE, channel=channel)
        writer.say("the end", workflow_namespace=OURS)
        found: list[dict[str, Any]] = []
        ended: set[str] = set()
        while ended != {"s0", "s1", "s5"}:
            found.append(client.take())
            if found[-1].get("content") == "the end":
                ended.add(found[-1]["subscription"])
        assert NAMES[THEIRS] not in str(found)
        assert THEIRS not in str(found)
        assert NAMES[OURS] in str(found)


@pytest.mark.usefixtures("told")
def test_nobody_speaks_or_completes_in_anothers_namespace(guarded: WebServer, database: str, ours: Headers) -> None:
    headers = {**ours, "Content-Type": "application/json"}

    def post(path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        connection = HTTPConnection(HOST, guarded.port, timeout=PATIENCE_S)
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        return answer

    for there, nowhere in ((THEIRS, "tenant-nobody"),):
        for path, body in (
            (f"{API}/messages", {"content": "x", "channel": "general", "workflow_namespace": "%"}),
            (f"{API}/messages", {"content": "x", "workflow_uid": "run-1", "workflow_namespace": "%"}),
            (f"{API}/messages", {"content": "x", "run_id": "run-1", "workflow_namespace": "%"}),
            (
                f"{API}/runs/run-1/complete",
                {"metadata": {"name": "run-1", "uid": "run-1", "namespace": "%"}, "status": {"phase": "Failed"}},
            ),
            (f"{API}/runs/run-1/complete", {"workflow_uid": "run-1", "workflow_namespace": "%"}),
            (f"{API}/runs/run-1/complete", {"workflowUid": "run-1", "workflowNamespace": "%"}),
            (f"{API}/runs/run-1/complete?workflowNamespace=%", {"status": {"phase": "Failed"}}),
        ):
            answers = [
                post(path.replace("%", name), json.loads(json.dumps(body).replace("%", name)))
                for name in (there, nowhere)
            ]
            assert answers[0][0] == 403, answers
            assert json.loads(answers[0][1])["parameter"] == field_of(path, body)
            assert answers[0][1].replace(there.encode(), b"X") == answers[1][1].replace(nowhere.encode(), b"X")
    assert post(f"{API}/messages", {"content": "x", "run_id": PRIVATE})[0] == 404
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "SELECT count(*) FROM workflow_comms.runs WHERE workflow_namespace = %s AND phase IS NOT NULL", [THEIRS]
        ).fetchone()
    assert row == (0,)


def field_of(path: str, body: dict[str, Any]) -> str:
    """Return where a caller has written a namespace."""
    if "namespace" in body.get("metadata", {}):
        return "metadata.namespace"
    return "workflowNamespace" if "?" in path else next(name for name in body if name.lower().endswith("namespace"))


@pytest.mark.usefixtures("told")
def test_what_is_asked_at_the_same_time_is_not_mixed_up(guarded: WebServer, ours: Headers, theirs: Headers) -> None:
    """One connection to Postgres serves both in turns, and streams that begin together share their questions."""
    for _ in range(20):
        with (
            Watcher(guarded.url, headers=ours, channel="general") as mine,
            Watcher(guarded.url, headers=theirs, channel="general") as other,
        ):
            assert {event.data["workflow_namespace"] for event in mine.take(2)} == {OURS}
            assert {event.data["workflow_namespace"] for event in other.take(2)} == {THEIRS}
        for headers, namespace in ((ours, OURS), (theirs, THEIRS)):
            runs = json.loads(ask(guarded, f"{API}/runs", headers=headers)[1])["runs"]
            assert {run["workflow_namespace"] for run in runs} == {namespace}
