"""A disk that can be filled: Postgres gets ENOSPC from the kernel, and answers 53100."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from connectors.embedded import EmbeddedPostgres
from connectors.launch import nobody
from tests.servers import FAST, TEMPLATE, make_template

SIZE = "64m"
# Written to in every transaction, and extended page by page: the device knows nothing of reserving space.
TABLE = "workflow_comms.runs"

Filled = Callable[[], AbstractContextManager[None]]


def may_mount(folder: Path) -> bool:
    """Whether this system lets us have a mount of our own."""
    done = subprocess.run([*_with_small_disk(folder), "true"], capture_output=True, check=False)
    return done.returncode == 0


def _with_small_disk(folder: Path) -> list[str]:
    """Return the words before a command that sees a small disk in a folder; it goes with the command."""
    owner = f",uid={nobody().pw_uid}" if os.geteuid() == 0 else ""
    own = [] if os.geteuid() == 0 else ["--user", "--map-current-user", "--keep-caps"]
    mount = f'mount -t tmpfs -o size={SIZE},mode=0700{owner} none "$0" && exec "$@"'
    return ["unshare", *own, "--mount", "sh", "-c", mount, str(folder)]


class SmallDiskPostgres(EmbeddedPostgres):
    """A server whose databases may lie on a small disk that nobody but itself sees."""

    @property
    def disk(self) -> Path:
        return self.folder / "disk"

    def command(self) -> list[str]:
        self.disk.mkdir(exist_ok=True)
        return [*_with_small_disk(self.disk), *super().command()]


@contextmanager
def small_disk(folder: Path) -> Iterator[tuple[str, Filled]]:
    """Give a database on a small disk, and what fills the disk for a while: a table of somebody else's."""
    with SmallDiskPostgres(folder, settings=FAST) as server:
        make_template(server)
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{server.disk}'".encode())
            connection.execute(f"CREATE DATABASE small TEMPLATE {TEMPLATE} TABLESPACE small".encode())
        yield server.dsn("small"), lambda: _filled(server.dsn("small"))


@contextmanager
def _filled(database: str) -> Iterator[None]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CREATE TABLE filler (filling text); ALTER TABLE filler ALTER filling SET STORAGE plain")
        for rows in (100, 1):
            _fill(connection, rows)
        yield
        connection.execute("DROP TABLE filler")


def _fill(connection: "psycopg.Connection[Any]", rows: int) -> None:
    try:
        while True:
            connection.execute("INSERT INTO filler SELECT repeat('x', 7000) FROM generate_series(1, %s)", (rows,))
    except psycopg.errors.DiskFull:
        return


@contextmanager
def full_file(folder: Path) -> Iterator[tuple[str, Filled]]:
    """Give a database, and what puts the table of runs onto a device that is always full.

    For systems that let nobody mount anything.
    """
    with EmbeddedPostgres(folder, settings=FAST) as server:
        make_template(server)
        database = server.dsn(TEMPLATE)
        with psycopg.connect(database) as connection:
            row = connection.execute("SELECT pg_relation_filepath(%s)", (TABLE,)).fetchone()
        assert row is not None
        yield database, lambda: _replaced(server.data / row[0])


@contextmanager
def _replaced(file: Path) -> Iterator[None]:
    aside = file.with_suffix(".aside")
    file.rename(aside)
    file.symlink_to("/dev/full")
    yield
    file.unlink()
    aside.rename(file)


@contextmanager
def disk(folder: Path) -> Iterator[tuple[str, Filled]]:
    """Give a database whose disk can be filled, in the most honest way that this system allows."""
    trial = folder / "trial"
    trial.mkdir()
    way = small_disk if may_mount(trial) else full_file
    with way(folder / "server") as given:
        yield given
