"""Two tenants with the same names of runs and agents: neither sees a byte of the other, whatever it asks for."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import pytest

from connectors.loopback import HOST
from flows.settings import Settings
from tests.asking import ask
from tests.integration.test_exchange import Line
from tests.readers import Headers, Readers
from tests.sockets import SocketClient
from tests.watcher import RUN_EVENTS, Watcher
from tests.webserver import WebServer
from tests.writers import Writer
from web import create_app

API = "/api/agents"
OURS, THEIRS = "tenant-ours", "tenant-theirs"
# Of each there is something in all that a tenant could see.
NAMES = {OURS: "needle-own", THEIRS: "needle-alien"}
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
# What only a run of the other's is called.
PRIVATE = "their-secret-run"

# Where to look for each endpoint's answer; a new route has to be entered here.
ASKED: dict[str, list[str]] = {
    "static": ["/static/app.css"],
    "signin.show": ["/sign-in"],
    "health.healthz": ["/healthz"],
    "health.readyz": ["/readyz"],
    "openapi.describe": ["/api/openapi.json"],
    "pages.home": ["/"],
    "pages.agents": [
        "/agents",
        "/agents?q=needle",
        f"/agents?workflowNamespace={THEIRS}",
        "/agents?state=running",
        f"/agents?q={PRIVATE}",
    ],
    "pages.search": [
        "/search?q=one",
        "/search?q=needle",
        f"/search?q=one&workflowNamespace={THEIRS}",
        f"/search?q={PRIVATE}",
    ],
    "pages.fresh": ["/freshness"],
    "conversation.general": [
        "/agents/general",
        "/agents/general?q=needle",
        f"/agents/general?workflowNamespace={THEIRS}",
        *(f"/agents/general?at={seq}" for seq in range(1, 13)),
    ],
    "conversation.run": [
        "/agents/run-1",
        "/agents/run-1?include=general&errors=1",
        f"/agents/run-1?workflowNamespace={THEIRS}",
        f"/agents/run?workflowUid=run-1&workflowNamespace={THEIRS}",
        f"/agents/{PRIVATE}?workflowNamespace={THEIRS}",
        *(f"/agents/run-1?at={seq}" for seq in range(1, 13)),
    ],
    "conversation.general_messages": [
        f"/agents/general/messages?{way}"
        for way in ("before=2030-01-01T00:00:00Z,9000000", "after=2000-01-01T00:00:00Z,1", "when=2026-05-04T12:00:30Z")
    ],
    "conversation.run_messages": [
        f"/agents/run-1/messages?{way}{more}"
        for way in ("before=2030-01-01T00:00:00Z,9000000", "after=2000-01-01T00:00:00Z,1", "when=2026-05-04T12:00:30Z")
        for more in ("", "&include=general", f"&workflowNamespace={THEIRS}")
    ],
    "conversation.general_next": ["/agents/general/next?q=needle&after=2000-01-01T00:00:00Z,1"],
    "conversation.run_next": ["/agents/run-1/next?errors=1&after=2000-01-01T00:00:00Z,1"],
    "conversation.run_parts": ["/agents/run-1/parts", f"/agents/run-1/parts?workflowNamespace={THEIRS}"],
    "conversation.run_lanes": ["/agents/run-1/lanes", f"/agents/run-1/lanes?workflowNamespace={THEIRS}"],
    "conversation.run_account": ["/agents/run-1/account", f"/agents/run-1/account?workflowNamespace={THEIRS}"],
    "conversation.run_changes": ["/agents/run-1/changes", f"/agents/run-1/changes?workflowNamespace={THEIRS}"],
    "conversation.general_message": [f"/agents/general/message/{seq}" for seq in range(1, 13)],
    "conversation.run_message": [
        f"/agents/run-1/message/{seq}{more}" for seq in range(1, 13) for more in ("", f"?workflowNamespace={THEIRS}")
    ],
    "conversation.general_message_as": [
        f"/agents/general/message/{seq}/{form}" for seq in range(1, 13) for form in ("raw", "whole")
    ],
    "conversation.run_message_as": [
        f"/agents/run-1/message/{seq}/{form}{more}"
        for seq in range(1, 13)
        for form in ("raw", "whole")
        for more in ("", f"?workflowNamespace={THEIRS}")
    ],
    "ops.show": ["/agents/ops", "/agents/ops?reason=not_json"],
    "ops.parts": ["/agents/ops/parts"],
    "reading.messages": [
        f"{API}/messages?{urlencode(query)}"
        for query in [
            {"runId": "run-1"},
            {"runId": "run-1", "include": "general"},
            {"runId": "run-1", "workflowNamespace": THEIRS},
            {"workflowUid": "run-1"},
            {"workflowUid": "run-1", "workflowNamespace": THEIRS, "include": "general"},
            {"workflowName": "run-1"},
            {"channel": "general"},
            {"channel": "general", "workflowNamespace": THEIRS},
            {"channel": "general", "workflowUid": "run-1"},
            {"channel": "general", "agentId": "planner"},
            {"workflowNamespace": THEIRS},
            {"workflowNamespace": THEIRS, "include": "general"},
            {"q": "needle"},
            {"q": NAMES[THEIRS]},
            {"q": "needle", "include": "general"},
            {"q": "needle", "channel": "general"},
            {"q": "needle", "workflowNamespace": THEIRS},
            {"q": "needle", "kind": "error"},
            {"repository": "org/shop"},
            {"issue": "7"},
            {"branch": "main"},
            {"runId": PRIVATE},
        ]
        for query in [
            query,
            {**query, "format": "jsonl"},
            {**query, "format": "md", "limit": "5"},
            {**query, "after": "2000-01-01T00:00:00Z,1"},
        ]
    ],
    "reading.runs": [
        f"{API}/runs",
        f"{API}/runs?limit=1",
        f"{API}/runs?workflowNamespace={THEIRS}",
        f"{API}/runs?agentId=planner",
        f"{API}/runs?q=needle",
        f"{API}/runs?before=2030-01-01T00:00:00Z,a,a",
    ],
    "reading.one_run": [
        f"{API}/runs/run-1",
        f"{API}/runs/run-1?workflowNamespace={THEIRS}",
        f"{API}/runs/{PRIVATE}",
    ],
    "reading.dead_letters": [
        f"{API}/dead-letters",
        f"{API}/dead-letters?replayed=1",
        f"{API}/dead-letters?subject=workflow.{THEIRS}",
        f"{API}/dead-letters?subject=workflow",
        f"{API}/dead-letters?limit=1",
    ],
    "health.metrics": ["/metrics"],
}
# What never ends, or changes something, is asked for by tests of its own.
ELSEWHERE = {"api.events", "api.run_events", "sockets.serve", "writing.say", "writing.complete"} | {
    "signin.sign_in",
    "signin.sign_out",
    "exchange.live",
    "ops.letter",
    "ops.replay",
}
SHOWING = ("pages", "conversation", "ops", "reading")
# What says of messages only where they are, or how many.
WORDLESS = (
    "pages.home",
    "pages.fresh",
    *(f"conversation.{name}" for name in ("general_next", "run_next", "run_parts", "run_lanes", "run_account")),
    "conversation.run_changes",
)


def test_every_route_is_asked() -> None:
    assert {rule.endpoint for rule in create_app(Settings()).url_map.iter_rules()} == set(ASKED) | ELSEWHERE


@pytest.fixture
def ours(readers: Readers) -> Headers:
    return readers.add("ours", OURS, rights=("read", "speak", "operate"))


@pytest.fixture
def theirs(readers: Readers) -> Headers:
    return readers.add("theirs", THEIRS, rights=("read", "speak", "operate"))


@pytest.fixture
def both(readers: Readers) -> Headers:
    return readers.add("both", OURS, THEIRS)


@pytest.fixture
def everybody(readers: Readers) -> Headers:
    return readers.add("everybody", "*", rights=("read", "speak", "operate"))


@pytest.fixture
def writer(database: str) -> Iterator[Writer]:
    with Writer(database) as writer:
        yield writer


@pytest.fixture
def told(database: str, writer: Writer) -> None:
    """Have both say the same in the same places, each with a word of its own."""
    for number, (namespace, word) in enumerate(NAMES.items()):
        at = NOON + timedelta(minutes=number)
        attrs = {"repository": "org/shop", "issueNumber": "7", "branch": "main", "tool": {"name": word}}
        writer.say(f"{word} one", workflow_namespace=namespace, timestamp=at, attrs=attrs)
        writer.say(f"{word} two", workflow_namespace=namespace, timestamp=at, attrs=attrs, kind="error")
        writer.say(f"{word} general", workflow_namespace=namespace, timestamp=at, channel="general", attrs=attrs)
        writer.say(f"{word} claim", workflow_namespace=namespace, timestamp=at, channel="general", run="run-1")
    writer.say(f"{NAMES[THEIRS]} alone", workflow_namespace=THEIRS, run=PRIVATE, timestamp=NOON)
    with psycopg.connect(database) as connection:
        for namespace, word in NAMES.items():
            connection.execute(
                "INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key)"
                " VALUES (%s, %s, 'not_json', %s, %s)",
                [f"workflow.{namespace}.a.b.agent.c.message", word.encode(), word, word],
            )
            connection.execute(
                "INSERT INTO workflow_comms.reconcile_queue"
                " (workflow_namespace, workflow_uid, workflow_name, payload, report)"
                " VALUES (%s, 'run-1', 'run-1', '{}', jsonb_build_object('lines', %s::text))",
                [namespace, word],
            )
        # Nobody's, as far as its subject tells.
        connection.execute(
            "INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key)"
            " VALUES ('workflow.general.message', %s, 'not_json', 'x', 'x')",
            [NAMES[THEIRS].encode()],
        )


def alien(namespace: str) -> list[bytes]:
    """Return what a tenant must find nowhere."""
    return [name.encode() for other in NAMES if other != namespace for name in (NAMES[other], other)]


def shown(web: WebServer, path: str, headers: Headers) -> bytes:
    response, body = ask(web, path, headers=headers)
    assert response.status in (200, 302, 404), (path, response.status, body)
    # What was asked for may be said again.
    said = bytes(str(response.headers), "utf-8") + body
    for words in (path, quote(path), path.replace("&", "&amp;"), path.partition("?")[2]):
        said = said.replace(words.encode(), b"")
    return said


@pytest.mark.usefixtures("told")
@pytest.mark.parametrize("endpoint", [name for name in ASKED if name.partition(".")[0] in SHOWING])
def test_no_route_shows_a_byte_of_the_other(
    guarded: WebServer, ours: Headers, theirs: Headers, everybody: Headers, endpoint: str
) -> None:
    found = {"ours": 0, "theirs": 0, "everybody": 0}
    for path in ASKED[endpoint]:
        mine = shown(guarded, path, ours)
        for name in (THEIRS, NAMES[THEIRS]):
            # The namespace that was asked for is told again, as one of which nothing is known.
            assert name not in path.replace(THEIRS, "") or NAMES[THEIRS] in path
            if name not in path:
                assert name.encode() not in mine, (path, mine)
        found["ours"] += NAMES[OURS].encode() in mine
        found["theirs"] += NAMES[THEIRS].encode() in shown(guarded, path, theirs)
        found["everybody"] += NAMES[THEIRS].encode() in shown(guarded, path, everybody)
    if endpoint not in WORDLESS:
        assert all(found.values()), found


@pytest.mark.usefixtures("told")
def test_a_dead_letter_of_the_other_is_neither_shown_nor_replayed(
    guarded: WebServer, database: str, ours: Headers
) -> None:
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT id::text, payload FROM workflow_comms.dead_letters").fetchall()
    letter = next(identity for identity, payload in rows if payload == NAMES[THEIRS].encode())
    path = f"/agents/ops/letters/{letter}"
    assert ask(guarded, path, headers=ours)[0].status == 404
    json_too = {"Content-Type": "application/json"}
    assert ask(guarded, f"{path}/replay", "POST", {**ours, **json_too})[0].status == 404


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


@pytest.mark.usefixtures("told")
def test_whose_it_is_makes_no_difference_to_what_is_not_there(guarded: WebServer, ours: Headers) -> None:
    """A run of the other's, and a namespace of theirs, get the answer of what does not exist."""
    for path, there, nowhere in (
        (f"{API}/runs/%s", PRIVATE, "no-such-run-abc"),
        (f"{API}/runs/run-1?workflowNamespace=%s", THEIRS, "tenant-nobody"),
        (f"{API}/messages?runId=%s", PRIVATE, "no-such-run-abc"),
        (f"{API}/messages?workflowNamespace=%s", THEIRS, "tenant-nobody"),
        (f"{API}/runs?workflowNamespace=%s", THEIRS, "tenant-nobody"),
        ("/agents/%s", PRIVATE, "no-such-run-abc"),
        ("/agents/run-1?workflowNamespace=%s", THEIRS, "tenant-nobody"),
        ("/agents/%s/parts", PRIVATE, "no-such-run-abc"),
        ("/agents/%s/message/9", PRIVATE, "no-such-run-abc"),
        (f"{API}/dead-letters?subject=workflow.%s", THEIRS, "tenant-nobody"),
    ):
        answers = []
        for name in (there, nowhere):
            response, body = ask(guarded, path % name, headers=ours)
            headers = [(key, value) for key, value in response.headers.items() if key not in ("Date", "Content-Length")]
            answers.append((response.status, headers, body.replace(name.encode(), b"X")))
        assert answers[0] == answers[1], path


@pytest.mark.usefixtures("told")
def test_counts_and_lists_are_of_what_is_seen(
    guarded: WebServer, ours: Headers, both: Headers, everybody: Headers
) -> None:
    def number(headers: Headers, path: str, key: str) -> int:
        return len(json.loads(ask(guarded, path, headers=headers)[1])[key])

    for path, key, counts in (
        (f"{API}/runs", "runs", (1, 3, 3)),
        (f"{API}/messages?q=needle", "messages", (2, 5, 5)),
        (f"{API}/messages?channel=general", "messages", (2, 4, 4)),
        (f"{API}/dead-letters", "dead_letters", (1, 2, 3)),
    ):
        assert tuple(number(headers, path, key) for headers in (ours, both, everybody)) == counts, path
    one = json.loads(ask(guarded, f"{API}/runs/run-1", headers=ours)[1])
    assert (one["workflow_namespace"], one["messages"], one["others"]) == (OURS, 2, [])
    assert one["reconciliation"]["report"] == {"lines": NAMES[OURS]}
    (other,) = json.loads(ask(guarded, f"{API}/runs/run-1", headers=both)[1])["others"]
    assert {one["workflow_namespace"], other["workflow_namespace"]} <= {OURS, THEIRS}


@pytest.mark.usefixtures("told")
def test_the_list_of_several_namespaces_is_paged_as_a_whole(guarded: WebServer, both: Headers) -> None:
    seen, path = [], f"{API}/runs?limit=1"
    while path:
        page = json.loads(ask(guarded, path, headers=both)[1])
        seen += [(run["workflow_namespace"], run["workflow_uid"]) for run in page["runs"]]
        path = page["next"]
    assert seen == [(THEIRS, "run-1"), (OURS, "run-1"), (THEIRS, PRIVATE)]


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
        their.take_comments(2)


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
        connection = HTTPConnection(HOST, guarded.port, timeout=10)
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
            (f"{API}/runs/run-1/complete?workflowNamespace=%", {"status": {"phase": "Failed"}}),
        ):
            answers = [
                post(path.replace("%", name), json.loads(json.dumps(body).replace("%", name)))
                for name in (there, nowhere)
            ]
            assert answers[0][0] == 403, answers
            assert answers[0][1].replace(there.encode(), b"X") == answers[1][1].replace(nowhere.encode(), b"X")
    assert post(f"{API}/messages", {"content": "x", "run_id": PRIVATE})[0] == 404
    with psycopg.connect(database) as connection:
        row = connection.execute(
            "SELECT count(*) FROM workflow_comms.runs WHERE workflow_namespace = %s AND phase IS NOT NULL", [THEIRS]
        ).fetchone()
    assert row == (0,)


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
