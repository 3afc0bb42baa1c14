from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

import sql
from connectors.embedded import EmbeddedPostgres
from connectors.migrations import MigrationError, Migrator


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


def test_a_database_that_is_newer_than_the_code_is_an_error(empty: str, tmp_path: Path) -> None:
    folder(tmp_path, m0001_one="CREATE TABLE one ()", m0002_two="CREATE TABLE two ()").migrate(empty)
    (tmp_path / "0002_two.sql").unlink()
    with pytest.raises(MigrationError, match="it is newer"):
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


def test_nothing_is_pending_once_migrated(postgres_server: EmbeddedPostgres, database: str) -> None:
    assert postgres_server.port
    with psycopg.connect(database) as connection:
        assert Migrator(sql.MIGRATIONS, sql.SCHEMA).pending(connection) == []
