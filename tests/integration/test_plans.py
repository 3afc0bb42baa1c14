"""Whatever the API is asked, Postgres finds it by an index."""

import json
from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import quote

import psycopg
import pytest
from flask.testing import FlaskClient

import web.indexer
from flows.settings import Settings
from web import close_app, create_app
from web.indexer import index_next
from web.queries import Reader, Scope, tail

API = "/api/agents"
PLACE = quote("2026-05-04T12:00:00Z,2000")
FILL = """
    INSERT INTO workflow_comms.agent_messages (id, workflow_uid, workflow_name, workflow_namespace, run_id, agent_id,
        role, kind, "timestamp", channel, content, attrs, dedupe_key)
    SELECT gen_random_uuid(), 'uid-' || n % 20, 'name-' || n % 20, 'agents', 'run-' || n % 20, 'planner', 'assistant',
        'message', '2026-05-04T12:00:00Z'::timestamptz + n * interval '1 second',
        CASE WHEN n % 10 = 0 THEN 'general' ELSE 'run' END, 'word ' || n, '{"repository": "org/shop"}', n::text
    FROM generate_series(1, 4500) AS n
"""
RUNS = """
    INSERT INTO workflow_comms.runs (workflow_namespace, workflow_uid, workflow_name, run_id, agents, last_at)
    SELECT 'agents', 'uid-' || n, 'name-' || n, 'run-' || n, '{planner}', now() - n * interval '1 minute'
    FROM generate_series(0, 2000) AS n
"""
ASKED = [
    *(
        f"{API}/messages?{scope}{more}"
        for scope in (
            "runId=run-1",
            "workflowUid=uid-1",
            "workflowName=name-1",
            "workflowUid=uid-1&workflowNamespace=agents&include=general",
            "channel=general",
            "channel=general&workflowNamespace=agents",
            "channel=general&runId=run-1",
            "workflowNamespace=agents",
            "repository=org/shop&include=general",
            "q=word",
            "q=nowhere&runId=run-1",
            "runId=run-1&kind=error,status&agentId=planner",
            "runId=run-1&since=2026-05-04T12:30:00Z&until=2026-05-04T13:00:00Z",
        )
        for more in ("", f"&before={PLACE}", f"&after={PLACE}", "&format=jsonl", "&format=md&limit=2000")
    ),
    *(
        f"{API}/runs?{query}"
        for query in (
            "",
            "workflowNamespace=agents",
            "workflowNamespace=nobody",
            *(f"state={state}" for state in ("running", "stale", "failed", "unknown")),
            "agentId=planner",
            "agentId=nobody",
            "q=name",
            "q=nothing",
            "since=2026-01-01&until=2027-01-01",
            "before=2099-01-01T00:00:00Z,agents,uid-1",
        )
    ),
    f"{API}/runs/run-1",
    f"{API}/runs/nobody",
    f"{API}/dead-letters",
    f"{API}/dead-letters?reason=not_json&subject=workflow.&replayed=1",
    f"{API}/dead-letters?before=2099-01-01T00:00:00Z,1,00000000-0000-0000-0000-000000000000",
    "/agents",
    "/agents?state=stale&q=x",
    "/agents/run-1",
    "/agents?shelf=rest&before=2099-01-01T00:00:00Z,agents,uid-1",
    "/agents/run-1?at=2001",
    "/agents/run-1?include=general&errors=1&q=hello",
    f"/agents/run-1/messages?before={PLACE}",
    f"/agents/run-1/messages?after={PLACE}&agentId=planner",
    f"/agents/run-1/next?errors=1&after={PLACE}",
    "/agents/run-1/parts",
    "/agents/run-1/lanes",
    "/agents/run-1/account",
    "/agents/run-1/changes",
    "/agents/ops",
    "/freshness",
    "/search?q=hello",
    "/agents/run-1/message/2001",
    "/agents/general",
    "/agents/general?at=2010",
    "/agents/general/message/2010",
]


@pytest.fixture
def client(database: str) -> Iterator[FlaskClient]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(FILL)
        connection.execute(RUNS)
        connection.execute(
            "INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key)"
            " SELECT 'workflow.x', 'x', 'not_json', 'why', n::text FROM generate_series(1, 2000) AS n"
        )
        connection.execute(web.indexer.SESSION)
        while index_next(connection):
            pass
        connection.execute("ANALYZE")
    app = create_app(Settings(database_url=database))
    yield app.test_client()
    close_app(app)


def scanned(plan: dict[str, Any]) -> Iterator[str]:
    """Yield the tables that a plan reads from end to end."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for part in plan.get("Plans", []):
        yield from scanned(part)


def test_no_query_of_the_api_or_of_a_page_reads_a_table_from_end_to_end(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = psycopg.Cursor.execute
    scans: set[tuple[str, str]] = set()
    seen: set[str] = set()

    def explained(self: Any, query: Any, params: Any = None, **more: Any) -> Any:
        text = query.decode() if isinstance(query, bytes) else str(query)
        # Ours begin with a sentence.
        if text.startswith("-- "):
            seen.add(text)
            with psycopg.Cursor(self.connection) as cursor:
                execute(cursor, f"EXPLAIN (FORMAT JSON) {text}", params)
                ((plans,),) = cursor.fetchall()
            plan = (plans if isinstance(plans, list) else json.loads(plans))[0]["Plan"]
            scans.update((text.split("\n")[0], table) for table in scanned(plan))
        return execute(self, query, params, **more)

    monkeypatch.setattr(psycopg.Cursor, "execute", explained)
    for url in ASKED:
        response = client.get(url)
        assert response.status_code in (200, 404), (url, response.text)
        assert response.data is not None
    reader = cast("Reader", client.application.extensions["reader"])
    run = Scope(workflow_namespace="agents", workflow_uid="uid-1")
    for scope in (run, Scope(channel="general"), Scope(channel="general", workflow_namespace="agents")):
        for seq in (0, 4_400):
            reader.stretch(scope, seq, 100)
        reader.cursor_before(scope, 10, reader.head())
    reader.touched_since(0, 10_000)
    reader.runs_by_key([("agents", "uid-1")])
    reader.pruned_to("run")
    reader.ask(lambda connection: tail(connection, 4_000, 100))
    assert len(seen) >= 32
    assert scans == set()


def test_a_scan_would_be_seen(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("SET enable_seqscan = off")
        row = connection.execute(
            "EXPLAIN (FORMAT JSON) SELECT FROM workflow_comms.agent_messages WHERE content = 'x'"
        ).fetchone()
    assert row is not None
    assert [*scanned(row[0][0]["Plan"])] == ["agent_messages"]
