import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Composed, Identifier

import sql
from connectors import holders, migrations
from connectors.embedded import EmbeddedPostgres
from connectors.migrations import MigrationError, Migrator, NewerError
from flows.completion import Completion, complete
from flows.schema import lacking
from tests.ingestion import administer, holding
from tests.waiting import wait_until


@pytest.fixture
def empty(database: str) -> str:
    """A database with nothing in it."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA workflow_comms CASCADE")
    return database


def before(number: str, tmp_path: Path) -> Migrator:
    """The migrations before one."""
    for path in sql.MIGRATIONS.glob("*.sql"):
        if path.name < number:
            shutil.copy(path, tmp_path)
    return Migrator(tmp_path, sql.SCHEMA)


def folder(tmp_path: Path, **files: str) -> Migrator:
    for name, text in files.items():
        (tmp_path / f"{name.removeprefix('m')}.sql").write_text(text)
    return Migrator(tmp_path, sql.SCHEMA)


def test_migrating_twice_is_migrating_once(empty: str) -> None:
    migrator = Migrator(sql.MIGRATIONS, sql.SCHEMA)
    assert migrator.migrate(empty) == [migration.name for migration in migrator.files()]
    assert migrator.migrate(empty) == []


def test_several_processes_at_once_apply_each_migration_once(empty: str) -> None:
    migrator = Migrator(sql.MIGRATIONS, sql.SCHEMA)
    with ThreadPoolExecutor(8) as pool:
        applied = list(pool.map(lambda _: migrator.migrate(empty), range(8)))
    assert sorted(map(len, applied)) == [0] * 7 + [len(migrator.files())]


def test_an_edited_migration_is_an_error(empty: str, tmp_path: Path) -> None:
    folder(tmp_path, m0001_one="CREATE TABLE one ()").migrate(empty)
    edited = folder(tmp_path, m0001_one="CREATE TABLE one (id integer)")
    with pytest.raises(MigrationError, match="0001_one was edited"):
        edited.migrate(empty)


def test_a_database_that_is_newer_than_the_code_is_told_from_one_that_differs(empty: str, tmp_path: Path) -> None:
    folder(tmp_path, m0001_one="CREATE TABLE one ()", m0002_two="CREATE TABLE two ()").migrate(empty)
    (tmp_path / "0002_two.sql").unlink()
    with pytest.raises(NewerError, match="it is newer"):
        Migrator(tmp_path, sql.SCHEMA).migrate(empty)
    (tmp_path / "0001_one.sql").write_text("CREATE TABLE another ()")
    with pytest.raises(MigrationError, match="0001_one was edited"):
        Migrator(tmp_path, sql.SCHEMA).migrate(empty)


def test_a_migration_that_fails_leaves_nothing_behind(empty: str, tmp_path: Path) -> None:
    broken = folder(tmp_path, m0001_one="CREATE TABLE one (); SELECT 1/0")
    with pytest.raises(psycopg.errors.DivisionByZero):
        broken.migrate(empty)
    repaired = folder(tmp_path, m0001_one="CREATE TABLE one ()")
    assert repaired.migrate(empty) == ["0001_one"]


@pytest.mark.parametrize(("name", "words"), [("one", "NNNN_words"), ("0003_three", "without a gap")])
def test_a_misnamed_file_is_an_error(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "0001_one.sql").touch()
    (tmp_path / f"{name}.sql").touch()
    with pytest.raises(MigrationError, match=words):
        Migrator(tmp_path, sql.SCHEMA).files()


def test_a_client_that_knows_no_infinite_time_reads_every_table(empty: str, tmp_path: Path) -> None:
    before("0020", tmp_path).migrate(empty)
    # As the versions before wrote it, here and after the migration.
    completed = """
        INSERT INTO workflow_comms.runs (
            workflow_namespace, workflow_uid, workflow_name, named_at, run_id, run_id_at, noted_at
        )
        VALUES ('agents', %s, 'nightly', 'infinity', 'r-1', 'infinity', ARRAY[now()])
    """
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(completed, ["before"])
        Migrator(sql.MIGRATIONS, sql.SCHEMA).migrate(empty)
        connection.execute(completed, ["beside"])
        now = datetime.now(UTC)
        complete(connection, Completion("agents", "after", "nightly", "r-1", "", None, None, now))
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'workflow_comms'").fetchall()
        for (table,) in tables:
            for is_binary in (False, True):
                statement = Composed([SQL("SELECT * FROM workflow_comms."), Identifier(table)])
                connection.execute(statement, binary=is_binary).fetchall()
        marks = connection.execute("SELECT DISTINCT named_at > %s, run_id_at > %s FROM workflow_comms.runs", [now, now])
        assert marks.fetchall() == [(True, True)]


def test_nothing_is_pending_once_migrated(postgres_server: EmbeddedPostgres, database: str) -> None:
    assert postgres_server.port
    with psycopg.connect(database) as connection:
        assert Migrator(sql.MIGRATIONS, sql.SCHEMA).pending(connection) == []


@pytest.fixture(params=["SQL_ASCII", "LATIN1"])
def narrow(postgres_server: EmbeddedPostgres, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database that can't hold every text."""
    name = f"in_{request.param.lower()}"
    made = f"CREATE DATABASE {name} ENCODING '{request.param}' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
    administer(postgres_server.dsn(), made)
    yield postgres_server.dsn(name)
    administer(postgres_server.dsn(), f"DROP DATABASE {name} WITH (FORCE)")


def test_a_database_that_is_not_in_utf8_is_refused_before_anything_is_made(narrow: str) -> None:
    with pytest.raises(MigrationError, match=r"the database's encoding is .*: make another one by CREATE DATABASE"):
        Migrator(sql.MIGRATIONS, sql.SCHEMA).migrate(narrow)
    with psycopg.connect(narrow) as connection:
        assert connection.execute("SELECT to_regnamespace('workflow_comms') IS NULL").fetchone() == (True,)
        assert "the database's encoding is " in lacking(connection)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for a lock for no longer than it takes to see whose it is."""
    monkeypatch.setattr(migrations, "LOCK_S", 0.2)
    monkeypatch.setattr(migrations, "PAUSE_S", (0.05, 0.1))
    monkeypatch.setattr(holders, "LOOK_EVERY_S", 0.02)


@pytest.mark.usefixtures("hasty")
def test_a_reader_in_the_way_of_a_migration_is_named_and_keeps_nobody_else_waiting(empty: str, tmp_path: Path) -> None:
    before("0012", tmp_path).migrate(empty)
    told: list[str] = []
    reader = make_conninfo(empty, application_name="somebody's report")
    with ThreadPoolExecutor(1) as pool:
        with holding(reader, "SELECT count(*) FROM workflow_comms.runs") as session:
            pid = session.info.backend_pid
            migrating = pool.submit(Migrator(sql.MIGRATIONS, sql.SCHEMA).migrate, empty, tell=told.append)
            wait_until(lambda: any(f"process {pid} (somebody's report of " in line for line in told), "its name")
            with psycopg.connect(make_conninfo(empty, options="-c statement_timeout=1min"), autocommit=True) as page:
                for _ in range(3):
                    page.execute("SELECT count(*) FROM workflow_comms.agent_messages")
            assert not migrating.done()
        assert migrating.result()[0] == "0012_policies"
    (line,) = [line for line in told if f"process {pid} " in line]
    assert line.startswith("0012_policies waits for ")
    assert "idle in transaction, since 20" in line


@pytest.mark.usefixtures("hasty")
def test_a_migration_that_is_another_process_s_is_waited_for_by_its_name(empty: str) -> None:
    told: list[str] = []
    another = make_conninfo(empty, application_name="agent-comms-migrate")
    with ThreadPoolExecutor(1) as pool:
        with holding(another, f"SELECT pg_advisory_lock({migrations.LOCK})") as session:
            migrating = pool.submit(Migrator(sql.MIGRATIONS, sql.SCHEMA).migrate, empty, tell=told.append)
            wait_until(lambda: told, "a word")
            assert f"the migration waits for process {session.info.backend_pid} (agent-comms-migrate of " in told[0]
        assert len(migrating.result()) == len(Migrator(sql.MIGRATIONS, sql.SCHEMA).files())
    assert len(told) == 1


def sessions(database: str, name: str) -> int:
    with psycopg.connect(database) as connection:
        query = "SELECT FROM pg_stat_activity WHERE application_name = %s AND datname = current_database()"
        return len(connection.execute(query, [name]).fetchall())


def test_whoever_is_killed_while_it_migrates_leaves_no_session_behind(empty: str, tmp_path: Path) -> None:
    folder(tmp_path, m0001_one="SELECT pg_sleep(100000)")
    program = (
        "import sys; from pathlib import Path; from connectors.migrations import Migrator;"
        "Migrator(Path(sys.argv[1]), sys.argv[2]).migrate(sys.argv[3])"
    )
    address = make_conninfo(empty, application_name="to be killed")
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path), sql.SCHEMA, address]) as process:
        with psycopg.connect(empty, autocommit=True) as connection:
            asleep = "SELECT FROM pg_stat_activity WHERE application_name = 'to be killed' AND wait_event = 'PgSleep'"
            wait_until(lambda: connection.execute(asleep).fetchall(), "it to be in the midst of it")
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: not sessions(empty, "to be killed"), "the end of its session")
    assert Migrator(sql.MIGRATIONS, sql.SCHEMA).migrate(empty)
