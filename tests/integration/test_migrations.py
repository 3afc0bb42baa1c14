import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Composed, Identifier

import sql
from connectors.embedded import EmbeddedPostgres
from connectors.migrations import MigrationError, Migrator, NewerError
from flows.completion import Completion, complete


@pytest.fixture
def empty(database: str) -> str:
    """A database with nothing in it."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP SCHEMA workflow_comms CASCADE")
    return database


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
    before = Migrator(tmp_path, sql.SCHEMA)
    for path in sql.MIGRATIONS.glob("*.sql"):
        if path.name < "0020":
            shutil.copy(path, tmp_path)
    before.migrate(empty)
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
