"""Real servers for the tests: one NATS and one Postgres a session, a fresh stream and database a test."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from nats.js.api import ConsumerInfo, StreamInfo
from nats.js.errors import NotFoundError
from psycopg import sql as psql

import sql
from connectors.bootstrap import bootstrap
from connectors.connection import NatsConnection, NatsOptions
from connectors.embedded import EmbeddedNats, EmbeddedPostgres
from connectors.migrations import Migrator
from flows import topology

NatsServer = EmbeddedNats
PostgresServer = EmbeddedPostgres
TEMPLATE = "template_agent_comms"
# A killed process loses nothing by it, and nobody cuts the power in a test.
FAST = {"fsync": "off"}

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
        with suppress(NotFoundError):
            self.connection.run(self.connection.jetstream().delete_stream(self.name))
        left = self.connection.run(bootstrap(self.connection.jetstream(), topology.manifests()))
        assert left == []

    def publish(self, subject: str, payload: bytes, headers: dict[str, str] | None = None) -> int:
        """Publish as a bare client does; returns the message's sequence in the stream."""
        ack = self.connection.run(self.connection.jetstream().publish(subject, payload, headers=headers))
        return ack.seq

    def info(self) -> StreamInfo:
        return self.connection.run(self.connection.jetstream().stream_info(self.name))

    def consumer(self) -> ConsumerInfo:
        info: ConsumerInfo = self.connection.run(self.connection.jetstream().consumer_info(self.name, self.durable))
        return info

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
        self.connection.run(bootstrap(self.connection.jetstream(), topology.manifests()))

    def set_ack_wait(self, seconds: float) -> None:
        """Have what a killed reader held come again sooner than the manifest says."""
        config = topology.consumer().config()
        config.ack_wait = seconds
        self.connection.run(self.connection.jetstream().add_consumer(self.name, config))

    def is_drained(self) -> bool:
        """Whether everything was delivered and acked."""
        info = self.consumer()
        return info.num_pending == 0 and info.num_ack_pending == 0

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
def fresh_database(server: PostgresServer) -> Iterator[str]:
    """Give a migrated, empty database of its own."""
    name = f"test_{next(_numbers)}"
    _execute(server, "CREATE DATABASE {} TEMPLATE {}", name, TEMPLATE)
    try:
        yield server.dsn(name)
    finally:
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
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), settings=FAST) as server:
        make_template(server)
        yield server


@pytest.fixture
def own_nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A server that the test may stop and kill."""
    with EmbeddedNats(tmp_path / "nats") as server:
        yield server


@pytest.fixture
def own_postgres_server(tmp_path: Path) -> Iterator[PostgresServer]:
    """A server that the test may stop and kill; it has the template, and `fresh_database` gives one of it."""
    with EmbeddedPostgres(tmp_path / "postgres", settings=FAST) as server:
        make_template(server)
        yield server


@pytest.fixture
def stream(nats_server: NatsServer) -> Iterator[StreamHandle]:
    with fresh_stream(nats_server) as handle:
        yield handle


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    with fresh_database(postgres_server) as dsn:
        yield dsn
