"""Real servers for the tests: one NATS and one Postgres a session, a fresh stream and database a test."""

import fcntl
import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import LiteralString

import psycopg
import pytest
from nats.errors import Error as NatsError
from nats.js.api import ConsumerInfo, StreamInfo
from nats.js.errors import NotFoundError
from psycopg import sql as psql

import sql
from connectors.bootstrap import bootstrap
from connectors.connection import NatsConnection, NatsOptions
from connectors.embedded import EmbeddedNats, EmbeddedPostgres
from connectors.migrations import Migrator
from flows import topology
from tests.waiting import wait_until

NatsServer = EmbeddedNats
PostgresServer = EmbeddedPostgres
TEMPLATE = "template_agent_comms"
# A killed process loses nothing by it, and nobody cuts the power in a test; nor is there so much to vacuum.
FAST = {"fsync": "off", "autovacuum_naptime": "10min"}
END_CONNECTIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"

_numbers = itertools.count(1)


class StreamHandle:
    """The stream and its consumer on a server, made anew from the manifests."""

    def __init__(self, server: NatsServer) -> None:
        self.server = server
        self.url = server.url
        self.name = topology.stream().stream_name
        self.durable = topology.consumer().name
        self.connection = NatsConnection(NatsOptions((server.url,), name="tests")).connect()

    def create(self) -> None:
        """Make both anew. While one is there that is deleted for it, nobody may publish."""
        wait_until(self._is_made_anew, "a stream without another's messages")

    def _is_made_anew(self) -> bool:
        try:
            self.connection.run(self.connection.jetstream().delete_stream(self.name))
        except NotFoundError:
            self._bootstrap()
            return True
        self._bootstrap()
        # The server (2.15) removes a deleted stream's folder on the side. One that is deleted before that has ended
        # keeps its own, without a word, and the next stream of the name begins with the messages in there.
        return self.info().state.last_seq == 0

    def _bootstrap(self) -> None:
        assert self.connection.run(bootstrap(self.connection.jetstream(), topology.manifests())) == []

    def publish(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> int:
        """Publish as a bare client does; returns the message's sequence in the stream."""
        ack = self.connection.run(self.connection.jetstream().publish(subject, payload, headers=headers))
        return ack.seq

    def info(self) -> StreamInfo:
        return self.connection.run(self.connection.jetstream().stream_info(self.name))

    def consumer(self) -> ConsumerInfo:
        info: ConsumerInfo = self.connection.run(self.connection.jetstream().consumer_info(self.name, self.durable))
        return info

    def wait_until_reached(self) -> None:
        """Wait until the server answers us, after an end of it that our connection may not even have noticed."""

        def is_reached() -> bool:
            try:
                self.connection.run(self.connection.jetstream().account_info())
            except (NatsError, OSError):
                return False
            return True

        wait_until(is_reached, "an answer to the test's own connection")

    def redeliveries(self) -> int:
        """How many deliveries there have been beyond each message's first."""
        delivered = self.consumer().delivered
        assert delivered is not None
        return delivered.consumer_seq - delivered.stream_seq

    def create_consumer_anew(self) -> None:
        """Forget what was acked: everything in the stream is delivered again."""
        self.connection.run(self.connection.jetstream().delete_consumer(self.name, self.durable))
        self.create_consumer()

    def create_consumer(self) -> None:
        """Make what the manifests say where it isn't."""
        self._bootstrap()

    def set_ack_wait(self, seconds: float) -> None:
        """Have what a killed reader held come again sooner than the manifest says."""
        config = topology.consumer().config()
        config.ack_wait = seconds
        self.connection.run(self.connection.jetstream().add_consumer(self.name, config))

    def is_drained(self) -> bool:
        """Whether everything was delivered and acked."""
        # A consumer is told on the side of what the stream has stored: until then nothing is pending.
        last = self.info().state.last_seq
        info = self.consumer()
        assert info.delivered is not None
        return info.delivered.stream_seq >= last and info.num_pending == 0 and info.num_ack_pending == 0

    def close(self) -> None:
        self.connection.close()


@contextmanager
def fresh_stream(server: NatsServer) -> Iterator[StreamHandle]:
    handle = StreamHandle(server)
    try:
        handle.create()
        yield handle
    finally:
        handle.close()


@contextmanager
def fresh_database(server: PostgresServer, *, left: bool = False) -> Iterator[str]:
    """Give a migrated, empty database of its own.

    Args:
        server: whose.
        left: whether it is left to the server's end: to drop one takes a checkpoint, longer than most tests.
    """
    name = f"test_{next(_numbers)}"
    _execute(server, "CREATE DATABASE {} TEMPLATE {}", name, TEMPLATE)
    try:
        yield server.dsn(name)
    finally:
        if left:
            with psycopg.connect(server.dsn(), autocommit=True) as connection:
                connection.execute(END_CONNECTIONS, [name])
        else:
            _execute(server, "DROP DATABASE {} WITH (FORCE)", name)


def make_template(server: PostgresServer) -> None:
    _execute(server, "CREATE DATABASE {}", TEMPLATE)
    Migrator(sql.MIGRATIONS, sql.SCHEMA).migrate(server.dsn(TEMPLATE))


def _execute(server: PostgresServer, statement: LiteralString, *names: str) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(psql.SQL(statement).format(*map(psql.Identifier, names)))


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with EmbeddedNats(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a server that has the template and has ended in order, made once for all workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cluster"
    with (folder.with_suffix(".lock")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made := folder / "made").exists():
            with EmbeddedPostgres(folder, settings=FAST) as server:
                make_template(server)
            made.touch()
    return folder


def copied(cluster: Path, folder: Path) -> PostgresServer:
    """Give a server with data of its own, without the second that `initdb` takes."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", str(cluster / "data"), str(cluster / "password"), str(folder)], check=True)
    return EmbeddedPostgres(folder, settings=FAST)


@pytest.fixture(scope="session")
def postgres_server(cluster: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    folder = tmp_path_factory.mktemp("postgres")
    with copied(cluster, folder) as server:
        yield server
    # The databases that were left are gigabytes, and pytest keeps the folders of several sessions.
    rmtree(folder)


@pytest.fixture
def own_nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server that the test may stop and kill."""
    with EmbeddedNats(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def own_postgres_server(cluster: Path, tmp_path: Path) -> Iterator[PostgresServer]:
    """A server that the test may stop and kill; it has the template, and `fresh_database` gives one of it."""
    with copied(cluster, tmp_path / "postgres") as server:
        yield server


@pytest.fixture
def stream(nats_server: NatsServer) -> Iterator[StreamHandle]:
    with fresh_stream(nats_server) as handle:
        yield handle


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    with fresh_database(postgres_server, left=True) as dsn:
        yield dsn
