"""Two tenants with the same names of runs and agents: neither sees a byte of the other, whatever it asks for."""

import json
from collections.abc import Iterator
from urllib.parse import quote, urlencode

import psycopg
import pytest

from flows.settings import Settings
from tests.asking import ask
from tests.readers import Headers, Readers, guarded_settings
from tests.servers import NatsServer, PostgresServer, fresh_database
from tests.tenants import NAMES, OURS, PRIVATE, THEIRS, people, tell
from tests.webserver import WebServer
from tests.writers import Writer
from web import create_app

API = "/api/agents"

ours, theirs, both, everybody = people("module")

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
    "pages.shelves": ["/shelves", f"/shelves?workflowNamespace={THEIRS}"],
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
    "reading.flow_words": [f"{API}/flows"],
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
    "pages.shelves",
    *(f"conversation.{name}" for name in ("general_next", "run_next", "run_parts", "run_lanes", "run_account")),
    "conversation.run_changes",
    "reading.flow_words",
)


def test_every_route_is_asked() -> None:
    assert {rule.endpoint for rule in create_app(Settings()).url_map.iter_rules()} == set(ASKED) | ELSEWHERE


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Readers:
    return Readers(tmp_path_factory.mktemp("readers") / "readers.toml")


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[str]:
    with fresh_database(postgres_server) as dsn:
        with Writer(dsn) as writer:
            tell(dsn, writer)
        yield dsn


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, database: str, readers: Readers, nats_server: NatsServer
) -> Iterator[WebServer]:
    """One web for all: nothing here says anything."""
    with WebServer(tmp_path_factory.mktemp("web"), guarded_settings(database, readers, nats_server)) as web:
        yield web


def shown(web: WebServer, path: str, headers: Headers) -> bytes:
    response, body = ask(web, path, headers=headers)
    assert response.status in (200, 302, 404), (path, response.status, body)
    # What was asked for may be said again.
    said = bytes(str(response.headers), "utf-8") + body
    for words in (path, quote(path), path.replace("&", "&amp;"), path.partition("?")[2]):
        said = said.replace(words.encode(), b"")
    return said


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


def test_counts_and_lists_are_of_what_is_seen(
    guarded: WebServer, ours: Headers, both: Headers, everybody: Headers
) -> None:
    def number(headers: Headers, path: str, key: str) -> int:
        return len(json.loads(ask(guarded, path, headers=headers)[1])[key])

    for path, key, counts in (
        (f"{API}/runs", "runs", (1, 3, 3)),
        (f"{API}/messages?q=needle&channel=run", "messages", (2, 5, 5)),
        (f"{API}/messages?q=needle", "messages", (4, 9, 9)),
        (f"{API}/messages?channel=general", "messages", (2, 4, 4)),
        (f"{API}/dead-letters", "dead_letters", (1, 2, 3)),
    ):
        assert tuple(number(headers, path, key) for headers in (ours, both, everybody)) == counts, path
    one = json.loads(ask(guarded, f"{API}/runs/run-1", headers=ours)[1])
    assert (one["workflow_namespace"], one["messages"], one["others"]) == (OURS, 2, [])
    assert one["reconciliation"]["report"] == {"lines": NAMES[OURS]}
    (other,) = json.loads(ask(guarded, f"{API}/runs/run-1", headers=both)[1])["others"]
    assert {one["workflow_namespace"], other["workflow_namespace"]} <= {OURS, THEIRS}


def test_the_list_of_several_namespaces_is_paged_as_a_whole(guarded: WebServer, both: Headers) -> None:
    seen, path = [], f"{API}/runs?limit=1"
    while path:
        page = json.loads(ask(guarded, path, headers=both)[1])
        seen += [(run["workflow_namespace"], run["workflow_uid"]) for run in page["runs"]]
        path = page["next"]
    assert seen == [(THEIRS, "run-1"), (OURS, "run-1"), (THEIRS, PRIVATE)]
