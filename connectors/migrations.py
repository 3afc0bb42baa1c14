"""Forward-only schema migrations from a folder of numbered .sql files.

Each file runs once, in its own transaction, under an advisory lock, and is
remembered with its checksum: an applied file that was edited is an error.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import Connection, sql

# Any number will do, as long as every migrating process takes the same: "agentcom" in ASCII.
LOCK = 0x6167656E74636F6D


class MigrationError(RuntimeError):
    """The database and the folder disagree, or a file's name is not `NNNN_words.sql`."""


class NewerError(MigrationError):
    """The database has all of the folder's migrations, and further ones."""


@dataclass(frozen=True)
class Migration:
    """One file: its number, its name and what it holds."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Migrator:
    """Brings one schema up to date with one folder.

    Attributes:
        folder: holds the `NNNN_words.sql` files.
        schema: where the table `migrations` is kept; created where it is missing.
    """

    folder: Path
    schema: str

    def files(self) -> list[Migration]:
        """Return the folder's migrations in order.

        Raises:
            MigrationError: a file's name has no number, or a number is missing or there twice.
        """
        found = []
        for path in sorted(self.folder.glob("*.sql")):
            number, _, words = path.stem.partition("_")
            if not (number.isdigit() and words):
                message = f"{path.name}: a migration is called NNNN_words.sql"
                raise MigrationError(message)
            found.append(Migration(int(number), path.stem, path.read_text(encoding="utf-8")))
        if [m.version for m in found] != list(range(1, len(found) + 1)):
            message = f"{self.folder}: migrations are numbered from 0001 without a gap"
            raise MigrationError(message)
        return found

    def pending(self, connection: Connection) -> list[Migration]:
        """Return what has not been applied yet.

        Raises:
            NewerError: the database is newer than the folder.
            MigrationError: an applied file was edited.
        """
        applied = self._applied(connection)
        files = self.files()
        for file in files:
            name, checksum = applied.get(file.version, (file.name, file.checksum))
            if checksum != file.checksum:
                message = f"migration {name} was edited after it had been applied; add a new one instead"
                raise MigrationError(message)
        for version in sorted(applied.keys() - {file.version for file in files}):
            message = f"the database has migration {applied[version][0]}, which this version doesn't know: it is newer"
            raise NewerError(message)
        return [m for m in files if m.version not in applied]

    def migrate(self, conninfo: str, note: Callable[[str], None] = lambda _: None) -> list[str]:
        """Apply what is pending and return the names; safe from several processes at once.

        Args:
            conninfo: any libpq connection string.
            note: told each name once it has been applied.
        """
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            try:
                self._create_table(connection)
                pending = self.pending(connection)
                for migration in pending:
                    self._apply(connection, migration)
                    note(migration.name)
            finally:
                if not connection.broken:
                    connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
        return [m.name for m in pending]

    def _table(self) -> sql.Identifier:
        return sql.Identifier(self.schema, "migrations")

    def _create_table(self, connection: Connection) -> None:
        # Asked first, since IF NOT EXISTS needs the right to create even where there is nothing to do.
        if connection.execute("SELECT to_regclass(%s)", [f"{self.schema}.migrations"]).fetchone() != (None,):
            return
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(self.schema)))
        connection.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} (version integer PRIMARY KEY, name text NOT NULL,"
                " checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
            ).format(self._table())
        )

    def _applied(self, connection: Connection) -> dict[int, tuple[str, str]]:
        if connection.execute("SELECT to_regclass(%s)", [f"{self.schema}.migrations"]).fetchone() == (None,):
            return {}
        rows = connection.execute(sql.SQL("SELECT version, name, checksum FROM {}").format(self._table())).fetchall()
        return {version: (name, checksum) for version, name, checksum in rows}

    def _apply(self, connection: Connection, migration: Migration) -> None:
        with connection.transaction():
            # The text is ours, from a file that ships with the code.
            connection.execute(migration.text.encode())
            connection.execute(
                sql.SQL("INSERT INTO {} (version, name, checksum) VALUES (%s, %s, %s)").format(self._table()),
                [migration.version, migration.name, migration.checksum],
            )
