"""Forward-only schema migrations from a folder of numbered .sql files.

Each file runs once, in its own transaction, under an advisory lock, and is
remembered with its checksum: an applied file that was edited is an error.
What waits for somebody's lock keeps all others waiting behind it, so it never does
for long: it lets go of what it has, and is tried again.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import Connection, sql
from psycopg.errors import DeadlockDetected, LockNotAvailable

from connectors.backoff import backoff
from connectors.holders import Holder, Lookout, holders_of_advisory

# Any number will do, as long as every migrating process takes the same: "agentcom" in ASCII.
LOCK = 0x6167656E74636F6D
# How long a migration waits for a lock: longer than Postgres takes to end an autovacuum that is in the way
# (deadlock_timeout, 1 s), and shorter than the pages wait for a connection of theirs (2 s).
LOCK_S = 1.5
# How long others get through between two tries, from the first to the last.
PAUSE_S = (1.0, 10.0)
TELL_EVERY_S = 60.0
# How soon the server notices in the midst of a statement that nobody is there any more.
VANISHED_S = 2.0


class MigrationError(RuntimeError):
    """The database and the folder disagree, or a file's name is not `NNNN_words.sql`."""


class NewerError(MigrationError):
    """The database has all of the folder's migrations, and further ones."""


class EncodingError(MigrationError):
    """The database can't hold every text."""


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
            EncodingError: the database is not in UTF8.
            NewerError: the database is newer than the folder.
            MigrationError: an applied file was edited.
        """
        _check_encoding(connection)
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

    def migrate(
        self,
        conninfo: str,
        note: Callable[[str], None] = lambda _: None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> list[str]:
        """Apply what is pending and return the names; safe from several processes at once.

        A lock that somebody else holds is waited for without end, though only a moment at a time: between two tries
        nothing is held. Whatever a migration has done before it comes to that lock, it does again.

        Args:
            conninfo: any libpq connection string.
            note: told each name once it has been applied.
            tell: told in a line whom a migration waits for, now and then.

        Raises:
            MigrationError: as of `pending`.
        """
        waits = _Waits(tell)
        with psycopg.connect(conninfo, autocommit=True) as connection:
            _check_encoding(connection)
            _bound(connection)
            while not _take_turn(connection):
                waits.tell("the migration", holders_of_advisory(connection, LOCK))
            try:
                self._create_table(connection)
                pending = self.pending(connection)
                if pending:
                    with Lookout(conninfo, connection.info.backend_pid) as lookout:
                        for migration in pending:
                            self._apply_patiently(connection, migration, lookout, waits)
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

    def _apply_patiently(self, connection: Connection, migration: Migration, lookout: Lookout, waits: "_Waits") -> None:
        while True:
            try:
                return self._apply(connection, migration)
            except (LockNotAvailable, DeadlockDetected):
                waits.tell(migration.name, lookout.take())
                waits.pause()

    def _apply(self, connection: Connection, migration: Migration) -> None:
        with connection.transaction():
            # The text is ours, from a file that ships with the code.
            connection.execute(migration.text.encode())
            connection.execute(
                sql.SQL("INSERT INTO {} (version, name, checksum) VALUES (%s, %s, %s)").format(self._table()),
                [migration.version, migration.name, migration.checksum],
            )


class _Waits:
    """What is said while others are waited for, and the pauses that let them through, ever longer."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._tries = 0
        self._told: set[int] | None = None
        self._told_at = 0.0

    def tell(self, who: str, holders: Sequence[Holder]) -> None:
        """Say who waits for whom where that has changed, and now and then."""
        pids = {holder.pid for holder in holders}
        if pids != self._told or time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._told, self._told_at = pids, time.monotonic()
            whom = " and ".join(map(str, holders)) or "a lock that somebody holds"
            self._tell(f"{who} waits for {whom}; it holds nothing meanwhile, and is tried again until that ends")

    def pause(self) -> None:
        """Let others through."""
        time.sleep(backoff(self._tries, PAUSE_S))
        self._tries += 1


def _check_encoding(connection: Connection) -> None:
    # The server says so to everybody, unasked.
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in (None, "UTF8"):
        message = (
            f"the database's encoding is {encoding}, which can't hold every text: make another one by CREATE DATABASE …"
            " ENCODING 'UTF8' TEMPLATE template0, and name it in DATABASE_URL"
        )
        raise EncodingError(message)


def _bound(connection: Connection) -> None:
    """Have a session neither wait for long nor outlive whom it works for."""
    connection.execute(f"SET lock_timeout = {round(LOCK_S * 1000)}".encode())
    # Not every system can tell.
    with suppress(psycopg.Error):
        connection.execute(f"SET client_connection_check_interval = {round(VANISHED_S * 1000)}".encode())


def _take_turn(connection: Connection) -> bool:
    """Say whether nobody else migrates now, so that we may."""
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
    except LockNotAvailable:
        return False
    return True
