"""Whatever the API is asked, Postgres finds it by an index."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, TypeVar, cast
from urllib.parse import quote

import msgspec
import psycopg
import pytest
from flask.testing import FlaskClient

import sql
import web.indexer
from flows.settings import Settings
from web import close_app, create_app
from web.archive import Archive
from web.indexer import index_next
from web.pool import KEEP_PLAN, PLANNED_ONCE, Pool
from web.queries import Reader, Scope, tail
from web.search import FIRST, LAST, named
from web.selection import Selection
from web.sight import EVERYTHING, Sight, seeing

T = TypeVar("T")

API = "/api/agents"
PLACE = quote("2026-05-04T12:00:00Z,2000")
RUN = Scope(workflow_namespace="agents", workflow_uid="uid-1")
FILL = """
    INSERT INTO workflow_comms.agent_messages (id, workflow_uid, workflow_name, workflow_namespace, run_id, agent_id,
        role, kind, "timestamp", channel, content, attrs, dedupe_key)
    SELECT gen_random_uuid(), 'uid-' || n % 20, 'name-' || n % 20, 'agents', 'run-' || n % 20, 'planner', 'assistant',
        'message', '2026-05-04T12:00:00Z'::timestamptz + n * interval '1 second',
        CASE WHEN n % 10 = 0 THEN 'general' ELSE 'run' END, 'word ' || n, '{"repository": "org/shop"}', n::text
    FROM generate_series(1, 4500) AS n
"""
ONLY_GENERAL = (
    FILL.replace("'name-' || n % 20", "'only-general'")
    .replace("'uid-' || n % 20", "NULL")
    .replace("n::text", "'general-' || n")
    .replace("n % 10 = 0", "true")
    .replace("4500", "5")
)
RUNS = """
    INSERT INTO workflow_comms.runs (workflow_namespace, workflow_uid, workflow_name, run_id, agents, first_at, last_at)
    SELECT 'agents', 'uid-' || n, 'name-' || n, 'run-' || n, '{planner}', now() - (n + 5) * interval '1 minute',
        now() - n * interval '1 minute'
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
            "channel=general&runId=nobody",
            "channel=general&runId=only-general",
            "channel=general&runId=only-general&agentId=planner",
            "runId=only-general&include=general",
            "workflowNamespace=agents",
            "workflowNamespace=agents&channel=run",
            "repository=org/shop&include=general",
            "q=word",
            "q=word&channel=run",
            "q=nowhere&runId=run-1",
            "runId=run-1&kind=error,status&agentId=planner",
            "runId=run-1&kind=error&include=general",
            "runId=run-1&errors=1",
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
            "until=2026-01-01&state=failed",
            "until=2026-01-01&workflowNamespace=agents",
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
    "/agents?since=2026-01-01&until=2027-01-01",
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
    "/shelves?since=2026-01-01&until=2027-01-01",
    "/search?q=hello",
    "/agents/run-1/message/2001",
    "/agents/general",
    "/agents/general?at=2010",
    "/agents/general?runId=only-general",
    "/agents/only-general",
    "/agents/general/message/2010",
]


@pytest.fixture
def filled(database: str) -> str:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(FILL)
        connection.execute(ONLY_GENERAL)
        connection.execute(RUNS)
        connection.execute(
            "INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key)"
            " SELECT 'workflow.x', 'x', 'not_json', 'why', n::text FROM generate_series(1, 2000) AS n"
        )
        connection.execute(web.indexer.SESSION)
        while index_next(connection):
            pass
        connection.execute("ANALYZE")
    return database


def test_under_a_name_that_only_the_general_channel_knows_no_more_of_it_is_looked_at_than_bears_it(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(FILL.replace("n % 10 = 0", "true"))
        connection.execute(
            "UPDATE workflow_comms.agent_messages SET workflow_uid = CASE WHEN seq = 7 THEN 'rare' END, workflow_name ="
            " CASE WHEN seq = 2000 THEN 'rare' END, run_id = CASE WHEN seq IN (7, 4000) THEN 'rare' END"
        )
        connection.execute("ANALYZE")
    looked: list[float] = []
    execute = psycopg.Cursor.execute

    def explained(self: Any, query: Any, params: Any = None, **more: Any) -> Any:
        text = query.decode() if isinstance(query, bytes) else str(query)
        if "claimed)s" in text:
            with psycopg.Cursor(self.connection) as cursor:
                execute(cursor, f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", params)
                ((plans,),) = cursor.fetchall()
            looked.append(sum(looked_at(plans[0]["Plan"])))
        return execute(self, query, params, **more)

    monkeypatch.setattr(psycopg.Cursor, "execute", explained)
    for sight in (EVERYTHING, Sight(("agents",)), Sight(("agents", "b"))):
        with closing(Reader(database, timedelta(minutes=15), apart=True)) as reader, seeing(sight):
            archive = Archive(reader)
            selection = archive.resolve(Selection(Scope(channel="general")), "rare")
            assert selection is not None
            for wanted in (selection, msgspec.structs.replace(selection, general=True)):
                assert [event.seq for event in archive.before(wanted, None, 10).events] == [7, 2000, 4000]
                assert [event.seq for event in archive.after(wanted, None, 2).events] == [7, 2000]
            events, more = reader.stretch(selection.scope, 7, 10)
            assert ([event.seq for event in events], more) == ([2000, 4000], False)
            assert reader.cursor_before(selection.scope, 2, 5_000) == 1999
    assert len(looked) >= 15
    assert max(looked) < 20


@pytest.fixture
def client(filled: str) -> Iterator[FlaskClient]:
    app = create_app(Settings(database_url=filled))
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
    for scope in (
        RUN,
        msgspec.structs.replace(RUN, general=True),
        Scope(channel="general"),
        Scope(channel="general", workflow_namespace="agents"),
        Scope(channel="general", claimed="only-general"),
        Scope(general=True, claimed="only-general"),
    ):
        for seq in (0, 4_400):
            reader.stretch(scope, seq, 100)
        reader.cursor_before(scope, 10, reader.head())
    reader.touched_since(0, 10_000)
    reader.runs_by_key([("agents", "uid-1")])
    reader.pruned_to("run")
    reader.ask(lambda connection: tail(connection, 4_000, 100))
    assert len(seen) >= 32
    assert scans == set()


def test_a_plan_that_is_kept_reads_no_table_from_end_to_end_whatever_is_asked(filled: str) -> None:
    arguments = {
        **Selection(RUN, general=True).arguments(),
        **named(FIRST, LAST),
        "run_id": "run-1",
        "silent_since": "infinity",
        "seq": 4_400,
        "seqs": "{4400,4401}",
        "backwards": True,
        "limit": 20,
        "max_bytes": 4_000_000,
        "upto": 2,
        "segment": 2,
        "at": None,
        "block": 0,
        "segments": "{1}",
        "blocks": "{0}",
        "slots": "{1,2}",
        "first": 1,
        "last": 2,
    }

    def kept(connection: psycopg.Connection[Any]) -> dict[str, dict[str, Any]]:
        for text in PLANNED_ONCE:
            connection.execute(text, arguments)
        statements = "SELECT name, statement, cardinality(parameter_types) FROM pg_prepared_statements"
        prepared = connection.execute(statements).fetchall()
        connection.execute(KEEP_PLAN)
        plans = {}
        for name, text, number in prepared:
            if text.startswith("-- "):
                nothing = f"({', '.join(['NULL'] * number)})" if number else ""
                row = connection.execute(f'EXPLAIN (FORMAT JSON) EXECUTE "{name}" {nothing}').fetchone()
                plans[text] = row[0][0]["Plan"] if row else {}
        return plans

    plans = ask(filled, kept)
    assert len(plans) == len(PLANNED_ONCE)
    assert [*chain.from_iterable(map(scanned, plans.values()))] == []
    for text, plan in plans.items():
        of_errors = "AND (workflow_comms.is_wrong(kind, attrs))" in text
        assert ("agent_messages_errors" in json.dumps(plan)) is of_errors, text


@pytest.mark.parametrize("query", ["workflow_messages_before", "workflow_messages_after"])
@pytest.mark.parametrize(
    "wanted",
    [Selection(RUN, general=True), Selection(RUN, errors=True), Selection(RUN, errors=True, general=True)],
)
def test_of_a_giant_little_more_is_looked_at_than_what_is_wanted(database: str, query: str, wanted: Selection) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(FILL.replace("n % 20", "1"))
        connection.execute("UPDATE workflow_comms.agent_messages SET kind = 'error' WHERE seq % 100 = 7")
        connection.execute("ANALYZE")
    arguments = {
        **wanted.arguments(),
        **named(FIRST, LAST),
        "limit": 20,
        "max_bytes": 4_000_000,
    }
    statement = sql.query_of_errors(query) if wanted.errors else sql.query(query)
    explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
    row = ask(database, lambda connection: connection.execute(explain, arguments).fetchone())
    assert row is not None
    assert sum(looked_at(row[0][0]["Plan"])) < 500


@pytest.mark.parametrize("sight", [EVERYTHING, Sight(("a",)), Sight(("a", "b"))], ids=["all", "one", "several"])
@pytest.mark.parametrize("state", [None, "stale"])
def test_for_the_runs_of_a_time_long_ago_those_that_began_later_are_not_looked_at(
    database: str, monkeypatch: pytest.MonkeyPatch, sight: Sight, state: str | None
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO workflow_comms.runs (workflow_namespace, workflow_uid, workflow_name, first_at, last_at)"
            " SELECT (ARRAY['a', 'b', 'c'])[1 + n % 3], n, n, now() - (n + 5) * interval '1 minute',"
            " now() - n * interval '1 minute' FROM generate_series(1, 6000) AS n"
        )
        # Of some nothing has come but the end.
        connection.execute(
            "UPDATE workflow_comms.runs SET first_at = NULL, last_at = NULL, phase_started_at = first_at,"
            " phase_finished_at = last_at WHERE workflow_uid::int % 10 = 0"
        )
        connection.execute("ANALYZE")
    looked: list[float] = []
    execute = psycopg.Cursor.execute

    def explained(self: Any, query: Any, params: Any = None, **more: Any) -> Any:
        text = query.decode() if isinstance(query, bytes) else str(query)
        if "workflow_comms.runs" in text:
            with psycopg.Cursor(self.connection) as cursor:
                execute(cursor, f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", params)
                ((plans,),) = cursor.fetchall()
            looked.append(sum(looked_at(plans[0]["Plan"])))
        return execute(self, query, params, **more)

    monkeypatch.setattr(psycopg.Cursor, "execute", explained)
    until = datetime.now(UTC) - timedelta(minutes=5_900)
    with closing(Reader(database, timedelta(minutes=15), apart=True)) as reader, seeing(sight):
        runs = reader.runs(state=state, until=until, limit=20).runs
    # First those that went on for longer.
    assert len(runs) == 20
    assert runs == sorted(runs, key=lambda run: run.place[0], reverse=True)
    assert [run.begun_at < until <= run.active_at for run in runs[:2] if run.begun_at and run.active_at] == [True, True]
    assert any(run.last_at is None for run in runs) is (state is None)
    assert sum(looked) < 300


def ask(database: str, question: Callable[[psycopg.Connection[Any]], T]) -> T:
    pool = Pool(database, 1)
    with closing(pool), seeing(EVERYTHING):
        return pool.ask(question)


def looked_at(plan: dict[str, Any]) -> Iterator[float]:
    """Yield how many rows of tables each part of a plan has looked at."""
    if "Relation Name" in plan:
        yield (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    for part in plan.get("Plans", []):
        yield from looked_at(part)


def test_a_scan_would_be_seen(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("SET enable_seqscan = off")
        row = connection.execute(
            "EXPLAIN (FORMAT JSON) SELECT FROM workflow_comms.agent_messages WHERE content = 'x'"
        ).fetchone()
    assert row is not None
    assert [*scanned(row[0][0]["Plan"])] == ["agent_messages"]
