"""What a reader of few namespaces asks costs what is theirs, and not what everybody says."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from flask.testing import FlaskClient

from flows.settings import Settings
from tests.readers import Readers
from web import close_app, create_app
from web.attention import namespaces
from web.queries import Reader, Scope
from web.sight import Sight, seeing

API = "/api/agents"
LIMIT = 20
# Of 100 tenants one says a hundredth of it, and one has fallen silent long ago.
ONE, SILENT = "tenant-5", "silent"
FILL = """
    INSERT INTO workflow_comms.agent_messages (id, workflow_uid, workflow_name, workflow_namespace, agent_id,
        role, kind, "timestamp", channel, content, attrs, dedupe_key)
    SELECT gen_random_uuid(), 'uid', 'name', CASE WHEN n <= 50 THEN 'silent' ELSE 'tenant-' || n * 7 % 99 END,
        'planner', 'assistant', 'message', '2026-05-04T12:00:00Z'::timestamptz + n * interval '1 second',
        'general', 'word ' || n, '{}', n::text
    FROM generate_series(1, 12000) AS n
"""
RUNS = """
    INSERT INTO workflow_comms.runs (workflow_namespace, workflow_uid, workflow_name, agents, last_at)
    SELECT CASE WHEN n > 3970 THEN 'silent' ELSE 'tenant-' || n * 7 % 99 END, 'uid-' || n, 'name-' || n, '{planner}',
        now() - n * interval '1 minute'
    FROM generate_series(1, 4000) AS n
"""
LETTERS = """
    INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key, first_seen_at)
    SELECT 'workflow.' || CASE WHEN n > 3970 THEN 'silent' ELSE 'tenant-' || n * 7 % 99 END || '.a.b.agent.c.message',
        'x', 'not_json', 'why', n::text, now() - n * interval '1 minute'
    FROM generate_series(1, 4000) AS n
"""
ASKED = [
    *(
        f"{API}/messages?channel=general&limit={LIMIT}{more}"
        for more in ("", "&before=2026-05-04T13:00:00Z,3600", "&after=2026-05-04T12:00:20Z,20", "&format=jsonl")
    ),
    f"{API}/messages?channel=general&limit={LIMIT}&q=word&before=2026-05-04T12:00:40Z,40",
    f"{API}/runs?limit={LIMIT}",
    f"{API}/runs?limit={LIMIT}&q=nothing",
    f"{API}/runs?limit={LIMIT}&state=failed",
    f"{API}/dead-letters?limit={LIMIT}",
    f"{API}/dead-letters?limit={LIMIT}&reason=not_json",
]


class Cost:
    """What queries cost: pages of tables and indexes, and rows that were read for nothing."""

    def __init__(self) -> None:
        self.queries = self.buffers = self.rows = self.removed = 0

    def add(self, plan: dict[str, Any]) -> None:
        self.queries += 1
        self.buffers += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        self.rows += plan["Actual Rows"]
        self._add_removed(plan)

    def _add_removed(self, plan: dict[str, Any]) -> None:
        self.removed += round(plan.get("Rows Removed by Filter", 0) * plan["Actual Loops"])
        for part in plan.get("Plans", []):
            self._add_removed(part)


Measure = Callable[[Callable[[], object]], Cost]


@pytest.fixture
def cost_of(monkeypatch: pytest.MonkeyPatch) -> Measure:
    execute = psycopg.Cursor.execute
    costs: list[Cost] = []

    def explained(self: Any, query: Any, params: Any = None, **more: Any) -> Any:
        text = query.decode() if isinstance(query, bytes) else str(query)
        # Ours begin with a sentence.
        if costs and text.startswith("-- "):
            with psycopg.Cursor(self.connection) as cursor:
                execute(cursor, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {text}", params)
                ((plans,),) = cursor.fetchall()
            costs[-1].add((plans if isinstance(plans, list) else json.loads(plans))[0]["Plan"])
        return execute(self, query, params, **more)

    monkeypatch.setattr(psycopg.Cursor, "execute", explained)

    def measure(question: Callable[[], object]) -> Cost:
        costs.append(Cost())
        question()
        return costs.pop()

    return measure


@pytest.fixture
def client(database: str, tmp_path: Path) -> Iterator[FlaskClient]:
    with psycopg.connect(database, autocommit=True) as connection:
        for statement in (FILL, RUNS, LETTERS, "VACUUM ANALYZE"):
            connection.execute(statement.encode())
    readers = Readers(tmp_path / "readers.toml")
    readers.add("all", "*")
    for name, *namespaces_ in READERS:
        readers.add(name, *namespaces_)
    app = create_app(Settings(database_url=database, agent_comms_auth="token", agent_comms_readers_file=readers.path))
    yield app.test_client()
    close_app(app)


READERS = [
    ("one", ONE),
    ("silent", SILENT),
    ("few", ONE, SILENT),
    ("many", SILENT, *(f"nobody-{n}" for n in range(11))),
]


@pytest.mark.parametrize(("name", "namespaces_"), [(name, spaces) for name, *spaces in READERS])
def test_whoever_reads_few_namespaces_pays_for_what_is_theirs(
    client: FlaskClient, cost_of: Measure, name: str, namespaces_: list[str]
) -> None:
    def get(url: str, name: str) -> Callable[[], object]:
        def ask() -> object:
            response = client.get(url, headers={"Authorization": f"Bearer token-of-{name}"})
            assert response.status_code == 200, response.text
            return response.data

        return ask

    wrong = {}
    for url in ASKED:
        theirs, everybodys = cost_of(get(url, name)), cost_of(get(url, "all"))
        # A row of theirs is on a page of its own, and each namespace is one way down an index.
        allowed = everybodys.buffers + 4 * theirs.rows + 8 * theirs.queries * len(namespaces_) + 60
        # Words and states are looked for among their own rows.
        if theirs.buffers > allowed or theirs.removed > 100:
            wrong[url] = (theirs.buffers, allowed, theirs.removed)
    reader = cast("Reader", client.application.extensions["reader"])
    general = Scope(channel="general")
    with seeing(Sight(tuple(namespaces_))):
        for question in (
            lambda: reader.stretch(general, 0, LIMIT),
            lambda: reader.stretch(general, 6_000, LIMIT),
            lambda: reader.cursor_before(general, LIMIT, 12_000),
            lambda: reader.ask(namespaces),
        ):
            cost = cost_of(question)
            allowed = 4 * LIMIT + 8 * len(namespaces_)
            if cost.buffers > allowed or cost.removed:
                wrong[question.__code__.co_names[-1]] = (cost.buffers, allowed, cost.removed)
    assert wrong == {}


def test_what_is_not_theirs_is_not_even_asked_for(client: FlaskClient, cost_of: Measure) -> None:
    for query in (
        "messages?channel=general&workflowNamespace=tenant-6",
        "messages?workflowNamespace=tenant-6",
        "messages?workflowNamespace=tenant-6&workflowUid=uid",
        "messages?workflowNamespace=tenant-6&q=word",
    ):
        url = f"{API}/{query}"
        cost = cost_of(lambda url=url: client.get(url, headers={"Authorization": "Bearer token-of-one"}))  # type: ignore[misc]
        assert cost.queries == 0, query
