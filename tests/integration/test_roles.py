"""Each program as its own role of the database: it can do all of its work, and nothing else."""

import getpass
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql as psql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import InsufficientPrivilege

from connectors.embedded import EmbeddedPostgres
from flows.roles import grant
from tests import forks
from tests.artifacts import Archive, Stored, completion, live
from tests.asking import ask, contents, refused
from tests.ingestion import Ingest
from tests.readers import Readers, StartGuarded
from tests.servers import FAST, PostgresServer, StreamHandle
from tests.sidecar import talk
from tests.waiting import PATIENCE_S, wait_until
from tests.webserver import StartWeb
from tests.writers import Writer

API = "/api/agents"
ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "web.cli"]
PASSWORD = "secret-of-a-test"
LINES = "\n".join(talk(2)).encode()
WHOLE = [message.content for message in live(LINES, "run-1", ends=True)]

# Who can log in, as an operator makes them.
LOGINS: dict[str, LiteralString] = {
    "web": "CREATE ROLE {} LOGIN PASSWORD {} IN ROLE agent_comms_web",
    "ingest": "CREATE ROLE {} LOGIN PASSWORD {} BYPASSRLS IN ROLE agent_comms_ingest",
    "backfill": "CREATE ROLE {} LOGIN PASSWORD {} BYPASSRLS IN ROLE agent_comms_backfill",
    "nobody": "CREATE ROLE {} LOGIN PASSWORD {}",
}

As = Callable[[str], str]


@pytest.fixture
def login(postgres_server: PostgresServer, database: str) -> Iterator[As]:
    """Return the address of the database as the user of a program: `login("web")`."""
    made = []
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:

        def make(program: str) -> str:
            user = f"{program}_of_{conninfo_to_dict(database)['dbname']}"
            if user not in made:
                statement = psql.SQL(LOGINS[program]).format(psql.Identifier(user), psql.Literal(PASSWORD))
                connection.execute(statement)
                made.append(user)
            return make_conninfo(database, user=user, password=PASSWORD)

        yield make

        def is_ended() -> bool:
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY(%s)"
            return not connection.execute(end, [made]).fetchall()

        # A session drops its temporary tables, which are its user's, as it ends: after its client has.
        wait_until(is_ended, "the end of what these users began")
        for user in made:
            connection.execute(psql.SQL("DROP ROLE {}").format(psql.Identifier(user)))


READS_MESSAGES = "SELECT * FROM workflow_comms.agent_messages"
WRITES_MESSAGES = "UPDATE workflow_comms.agent_messages SET content = 'x'"
EVERYBODY: list[LiteralString] = [
    WRITES_MESSAGES,
    "DELETE FROM workflow_comms.agent_messages",
    "TRUNCATE workflow_comms.agent_messages",
    "DROP TABLE workflow_comms.agent_messages",
    "ALTER TABLE workflow_comms.agent_messages DISABLE ROW LEVEL SECURITY",
    "DROP POLICY readers ON workflow_comms.agent_messages",
    "CREATE TABLE workflow_comms.x ()",
    "CREATE FUNCTION workflow_comms.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DELETE FROM workflow_comms.runs",
    "DELETE FROM workflow_comms.dead_letters",
    "UPDATE workflow_comms.dead_letters SET payload = ''",
    "UPDATE workflow_comms.dead_letters SET replayed_at = now()",
    "DELETE FROM workflow_comms.reconcile_queue",
    "INSERT INTO workflow_comms.migrations (version, name, checksum) VALUES (99, 'x', 'x')",
    "INSERT INTO workflow_comms.pruned (channel, seq) VALUES ('run', 1)",
    "SELECT * FROM workflow_comms.audit_log",
    "UPDATE workflow_comms.audit_log SET who = 'x'",
    "DELETE FROM workflow_comms.audit_log",
    "TRUNCATE workflow_comms.audit_log",
    "SELECT workflow_comms.grant_roles()",
    "SET ROLE agent_comms",
    "COPY (SELECT 1) TO PROGRAM 'true'",
    "SELECT pg_read_file('/etc/passwd')",
    "CREATE ROLE x",
    "CREATE SCHEMA x",
]
MUST_FAIL: dict[str, list[LiteralString]] = {
    "web": [
        *EVERYBODY,
        "INSERT INTO workflow_comms.agent_messages SELECT * FROM workflow_comms.agent_messages",
        "COPY workflow_comms.agent_messages (id) FROM STDIN",
        "INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key)"
        " VALUES ('', '', '', '', '')",
        "UPDATE workflow_comms.runs SET messages = 0",
        "UPDATE workflow_comms.runs SET workflow_namespace = 'x'",
        "UPDATE workflow_comms.reconcile_queue SET workflow_namespace = 'x'",
        "SELECT * FROM workflow_comms.artifacts",
        "INSERT INTO workflow_comms.audit_log (at, how, action) VALUES ('2000-01-01', 'x', 'x')",
        "INSERT INTO workflow_comms.audit_log (database_user, how, action) VALUES ('x', 'x', 'x')",
    ],
    "ingest": [
        *EVERYBODY,
        "SELECT * FROM workflow_comms.reconcile_queue",
        "SELECT * FROM workflow_comms.artifacts",
        "SELECT * FROM workflow_comms.search_blocks",
        "SELECT payload FROM workflow_comms.reconcile_queue",
    ],
    "backfill": [*EVERYBODY, "SELECT * FROM workflow_comms.search_blocks", "DELETE FROM workflow_comms.artifacts"],
    "nobody": [
        *EVERYBODY,
        READS_MESSAGES,
        "SELECT * FROM workflow_comms.runs",
        "SELECT workflow_comms.newest_seq()",
        "SELECT * FROM workflow_comms.seqs_after('run', 0, 9)",
    ],
}


def _run(connection: psycopg.Connection, statement: LiteralString) -> None:
    if statement.endswith("FROM STDIN"):
        with connection.cursor().copy(statement):
            pass
    else:
        connection.execute(statement)


# What the web becomes to read for others only reads.
ONLY_READS: list[LiteralString] = [
    *MUST_FAIL["web"],
    "INSERT INTO workflow_comms.runs (workflow_namespace, workflow_uid, workflow_name) VALUES ('a', 'y', 'y')",
    "UPDATE workflow_comms.runs SET phase = 'Failed'",
    "INSERT INTO workflow_comms.reconcile_queue (workflow_namespace, workflow_uid, workflow_name, payload)"
    " VALUES ('a', 'y', 'y', '{}')",
    "INSERT INTO workflow_comms.audit_log (how, action) VALUES ('x', 'x')",
    "DELETE FROM workflow_comms.search_blocks",
    "SELECT * FROM workflow_comms.ended_sessions",
]


@pytest.mark.parametrize("role", ["agent_comms_web_all", "agent_comms_web_one"])
def test_who_reads_for_others_only_reads(login: As, role: LiteralString) -> None:
    with psycopg.connect(login("web"), autocommit=True) as connection:
        # Nothing of it is inherited: it has to be taken.
        assert connection.execute("SELECT pg_has_role(%s, 'USAGE')", [role]).fetchone() == (False,)
        connection.execute(f"SET ROLE {role}")
        for statement in ONLY_READS:
            with pytest.raises(InsufficientPrivilege):
                _run(connection, statement)
    for program in ("ingest", "backfill", "nobody"):
        with psycopg.connect(login(program)) as connection, pytest.raises(InsufficientPrivilege):
            connection.execute(f"SET ROLE {role}")


@pytest.mark.parametrize("program", MUST_FAIL)
def test_it_can_do_nothing_else(login: As, program: str) -> None:
    with psycopg.connect(login(program), autocommit=True) as connection:
        for statement in MUST_FAIL[program]:
            with pytest.raises(InsufficientPrivilege):
                _run(connection, statement)
        ours = "SELECT {} FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')"
        owned = f"SELECT count(*) FROM pg_class WHERE relowner IN ({ours.format('oid')})"
        assert connection.execute(owned.encode()).fetchone() == (0,)
        special = ours.format("bool_or(rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication)")
        assert connection.execute(special.encode()).fetchone() == (False,)


def test_the_web_sees_what_it_asks_for_and_nothing_where_it_asks_for_nothing(login: As, database: str) -> None:
    with Writer(database) as writer:
        for namespace in ("a", "b", "*", "", "{a}"):
            writer.say("x", workflow_namespace=namespace)
    with psycopg.connect(login("web"), autocommit=True) as connection:

        def seen(namespaces: str | None) -> set[str]:
            if namespaces is not None:
                connection.execute("SELECT set_config('agent_comms.namespaces', %s, false)", [namespaces])
            return {
                name
                for table in ("agent_messages", "runs")
                for (name,) in connection.execute(
                    psql.SQL("SELECT workflow_namespace FROM workflow_comms.{}").format(psql.Identifier(table))
                )
            }

        assert seen(None) == seen("") == seen("{}") == set()
        assert seen("{a}") == {"a"}
        assert seen("{a,b}") == {"a", "b"}
        assert seen('{""}') == {""}
        assert seen("{NULL}") == set()
        assert seen("{*}") == {"a", "b", "*", "", "{a}"}
        connection.execute("RESET agent_comms.namespaces")
        assert seen(None) == set()
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            seen("a")
        connection.execute("SET agent_comms.namespaces = '{a}'")
        # A row of another's can't be made either.
        for namespace in ("b", "c"):
            with pytest.raises(InsufficientPrivilege, match="row-level security"):
                connection.execute(
                    "INSERT INTO workflow_comms.runs (workflow_namespace, workflow_uid, workflow_name)"
                    " VALUES (%s, 'y', 'y')",
                    [namespace],
                )


def test_every_table_keeps_readers_apart_or_says_why_not(database: str) -> None:
    """A new one has to be entered here, or to have the policy."""
    # Of nobody's rows the web sees the first few and can't see the last: see sql/migrations/0008_roles.sql.
    nobodys = {"migrations", "pruned", "search_segments", "search_blocks", "search_slices", "audit_log", "pulses"}
    nobodys.add("ended_sessions")
    policies = {
        "readers": ["agent_comms_web"], "readers_of_all": ["agent_comms_web_all"],
        "readers_of_one": ["agent_comms_web_one"],
    }  # fmt: skip
    with psycopg.connect(database) as connection:
        rows = connection.execute(
            "SELECT relname, relrowsecurity, (SELECT jsonb_object_agg(policyname, roles) FROM pg_policies"
            " WHERE schemaname = 'workflow_comms' AND tablename = relname)"
            " FROM pg_class WHERE relnamespace = 'workflow_comms'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')"
        ).fetchall()
    assert {name for name, *apart in rows if apart != [True, policies]} == nobodys
    assert {name for name, *apart in rows if apart == [False, None]} == nobodys


def test_a_flow_that_may_not_see_which_migrations_were_applied_says_so_and_stores(
    stream: StreamHandle, login: As, database: str, tmp_path: Path
) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("REVOKE SELECT ON workflow_comms.migrations FROM agent_comms_ingest")
    with Ingest(stream, login("ingest"), tmp_path / "ingest.log") as flow:
        stream.publish("workflow.agents.run.run.agent.planner.message", b'{"content": "x"}')
        flow.database = database
        flow.wait_for_rows(1)
        flow.wait_until_drained()
        assert "postgres: whether the schema is up to date can't be seen: permission denied for table" in flow.said
        assert flow.said.count("level=warning") == 1


def test_the_flow_stores_as_its_role(stream: StreamHandle, login: As, database: str, tmp_path: Path) -> None:
    with Ingest(stream, login("ingest"), tmp_path / "ingest.log") as flow:
        subject = "workflow.agents.run.run.agent.planner.message"
        for number in (1, 1, 2):
            stream.publish(subject, json.dumps({"message_id": str(number), "content": f"x{number}"}).encode())
        stream.publish(subject, b"not JSON")
        stream.publish(subject, b"not JSON")
        flow.wait_until_drained()
        # A second time, by the way for duplicates.
        stream.create_consumer_anew()
        flow.wait_until_drained()
        assert flow.stop() == 0
    with psycopg.connect(database) as connection:
        assert connection.execute("SELECT count(*) FROM workflow_comms.agent_messages").fetchone() == (2,)
        assert connection.execute("SELECT messages FROM workflow_comms.runs").fetchone() == (2,)
        letters = connection.execute("SELECT DISTINCT workflow_namespace FROM workflow_comms.dead_letters").fetchall()
        assert letters == [("agents",)]


def test_backfill_and_reconciliation_work_as_their_role(
    start_web: StartWeb, login: As, archive: Archive, stored: Stored, database: str
) -> None:
    payload = completion("run-1", [archive.add("run-1", LINES)])
    archive.complete(payload)
    archive.complete(completion("run-2", [archive.add("run-2", LINES)]))

    def command(*words: str) -> None:
        environ = {"PATH": os.environ["PATH"], "DATABASE_URL": login("backfill")}
        done = forks.run_text([*COMMAND, *words], env=environ)
        assert done.returncode == 0, done.stderr

    with Writer(database) as writer:
        writer.say("hello", run="run-1")
    web = start_web(DATABASE_URL=login("web"))
    body = json.dumps(payload)
    response, _ = _post(web.port, f"{API}/runs/run-1/complete", body)
    assert response == 202
    command("reconcile", str(archive.folder))
    assert stored.ask("SELECT state FROM workflow_comms.reconcile_queue") == [("done",)]
    command("backfill", str(archive.folder))
    assert stored.contents("run-2") == WHOLE


def _post(port: int, path: str, body: str) -> tuple[int, bytes]:
    from http.client import HTTPConnection

    from connectors.loopback import HOST

    connection = HTTPConnection(HOST, port, timeout=PATIENCE_S)
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def test_the_web_works_as_its_role(start_guarded: StartGuarded, login: As, readers: Readers, database: str) -> None:
    web = start_guarded(DATABASE_URL=login("web"))
    alice = readers.add("alice", "agents", rights=("read", "speak", "operate"))

    def states() -> set[str]:
        checks = json.loads(ask(web, "/readyz")[1])["checks"]
        return {checks[name]["state"] for name in ("readers", "migrations")}

    wait_until(lambda: states() == {"ok"}, "both to be well")
    with Writer(database) as writer:
        for _ in range(3):
            writer.say(*(f"number {number}" for number in range(1_000)))
    with psycopg.connect(database) as connection:

        def indexed() -> bool:
            row = connection.execute("SELECT count(*) FROM workflow_comms.search_segments").fetchone()
            connection.rollback()
            return row is not None and row[0] > 0

        wait_until(indexed)
    # Where that takes long a page is short, and leads on.
    found: list[str] = []
    path = f"{API}/messages?q=number+77&limit=5"
    while path and len(found) < 5:
        page = json.loads(ask(web, path, headers=alice)[1])
        found, path = contents(page) + found, page["prev"]
    assert len(found) >= 5
    assert all("77" in each for each in found)
    assert "grants it" not in web.log()


@pytest.mark.parametrize(
    "words",
    [
        ("dead-letters", "list"),
        ("dead-letters", "replay", "--all"),
        ("dead-letters", "discard", "--all", "--yes"),
        ("reconcile", "--show"),
        ("reconcile", "."),
        ("runs", "rebuild", "--dry-run"),
    ],
    ids=" ".join,
)
def test_an_operator_who_does_not_see_everything_is_told(login: As, words: tuple[str, ...]) -> None:
    done = forks.run([*COMMAND, *words], env={"PATH": os.environ["PATH"], "DATABASE_URL": login("web")})
    assert done.returncode == 2, done
    assert done.stderr.decode().startswith("agent-comms: DATABASE_URL: its user web_of_")
    assert "doesn't see the rows of all namespaces" in done.stderr.decode()


def test_what_operators_do_is_written_down(database: str) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO workflow_comms.dead_letters (subject, payload, reason, detail, dedupe_key, first_seen_at)"
            " VALUES ('x', 'x', 'not_json', 'x', 'x', '2000-01-01'), ('y', 'y', 'not_json', 'y', 'y', '2000-01-01')"
        )
        environ = {"PATH": os.environ["PATH"], "DATABASE_URL": database}
        for words in (
            ["dead-letters", "replay", "--all"],
            ["dead-letters", "discard", "--subject", "x", "--yes"],
            ["prune"],
            # Nothing is left to do, and nothing to note.
            ["prune"],
            ["runs", "rebuild", "--dry-run"],
            ["runs", "rebuild"],
        ):
            forks.run([*COMMAND, *words], env=environ)
        rows = connection.execute(
            "SELECT action, how, who, details FROM workflow_comms.audit_log ORDER BY id"
        ).fetchall()
    assert [action for action, *_ in rows] == [
        "replayed-dead-letters",
        "discarded-dead-letters",
        "pruned",
        "rebuilt-runs",
    ]
    assert {(how, who) for _, how, who, _ in rows} == {("shell", getpass.getuser())}
    assert rows[1][3] == {"ids": [], "subject": "x", "discarded": 1}
    assert rows[2][3]["dead_letters"] == 1


def test_tls_is_asked_for_where_the_address_says_so(database: str) -> None:
    """The server of the tests has none."""
    environ = {"PATH": os.environ["PATH"], "DATABASE_URL": make_conninfo(database, sslmode="require")}
    told = subprocess.run([*COMMAND, "migrate"], capture_output=True, text=True, env=environ, cwd=ROOT, check=False)
    assert told.returncode == 3
    assert "SSL was required" in told.stderr
    assert len(told.stderr.splitlines()) == 1


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A server without any role of ours, on which somebody owns a database and may create no role."""
    with EmbeddedPostgres(tmp_path / "postgres", settings=FAST) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(psql.SQL("CREATE ROLE owner LOGIN PASSWORD {}").format(psql.Literal(PASSWORD)))
            connection.execute("CREATE DATABASE comms OWNER owner")
        yield server


def test_an_owner_who_may_create_no_role_is_told_what_to_have_run(
    bare: EmbeddedPostgres, start_guarded: StartGuarded, readers: Readers
) -> None:
    owner = make_conninfo(bare.dsn("comms"), user="owner", password=PASSWORD)
    environ = {"PATH": os.environ["PATH"], "DATABASE_URL": owner}

    def migrate() -> "subprocess.CompletedProcess[str]":
        words = [*COMMAND, "migrate"]
        return subprocess.run(words, capture_output=True, text=True, env=environ, cwd=ROOT, check=True)

    told = migrate()
    statements = [line for line in told.stdout.splitlines() if line.endswith(";")]
    assert statements == [
        "CREATE ROLE agent_comms_web NOLOGIN;",
        "CREATE ROLE agent_comms_ingest NOLOGIN;",
        "CREATE ROLE agent_comms_backfill NOLOGIN;",
        "GRANT agent_comms_web TO owner;",
        "CREATE ROLE agent_comms_web_all NOLOGIN;",
        "CREATE ROLE agent_comms_web_one NOLOGIN;",
        "GRANT agent_comms_web_all TO agent_comms_web WITH INHERIT FALSE, SET TRUE;",
        "GRANT agent_comms_web_one TO agent_comms_web WITH INHERIT FALSE, SET TRUE;",
    ]
    assert "somebody who may runs this" in told.stderr
    alice = readers.add("alice", "a")
    with Writer(owner) as writer:
        writer.say("ours", workflow_namespace="a")
        writer.say("theirs", workflow_namespace="b")
    # Nobody is shown what may be another's.
    web = start_guarded(DATABASE_URL=owner)
    assert refused(ask(web, f"{API}/messages?q=s", headers=alice))["status"] == 503

    def error() -> str:
        return str(json.loads(ask(web, "/readyz")[1])["checks"]["readers"]["error"])

    wait_until(lambda: error().startswith("readers can't be kept apart: "), "the reason to be told")
    with psycopg.connect(bare.dsn("comms"), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
    assert migrate().stderr == ""
    assert grant(owner) == []

    def readable() -> bool:
        return ask(web, f"{API}/messages?q=s", headers=alice)[0].status == 200

    wait_until(readable)
    assert contents(json.loads(ask(web, f"{API}/messages?q=s", headers=alice)[1])) == ["ours"]


def test_an_owner_who_may_create_roles_needs_nobody(
    bare: EmbeddedPostgres, start_guarded: StartGuarded, readers: Readers
) -> None:
    with psycopg.connect(bare.dsn(), autocommit=True) as connection:
        connection.execute("ALTER ROLE owner CREATEROLE")
    owner = make_conninfo(bare.dsn("comms"), user="owner", password=PASSWORD)
    told = subprocess.run(
        [*COMMAND, "migrate"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "DATABASE_URL": owner},
        cwd=ROOT,
        check=True,
    )
    assert told.stderr == ""
    with Writer(owner) as writer:
        writer.say("ours", workflow_namespace="a")
        writer.say("theirs", workflow_namespace="b")
    alice = readers.add("alice", "a")
    web = start_guarded(DATABASE_URL=owner)
    assert contents(json.loads(ask(web, f"{API}/messages?q=s", headers=alice)[1])) == ["ours"]
