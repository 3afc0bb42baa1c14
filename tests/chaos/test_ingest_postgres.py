"""Postgres, and the way to it and to NATS, in trouble again and again."""

import random
import signal
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from connectors.embedded import EmbeddedPostgres
from tests.disk import full_file
from tests.ingestion import Ingest, Start, administer, poison_with, publish_many, set_for, settles_whole
from tests.proxy import Proxy
from tests.servers import NatsServer, PostgresServer, StreamHandle, fresh_database


def test_postgres_stopped_at_once_again_and_again_loses_and_doubles_nothing(
    stream: StreamHandle, own_postgres_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    own_postgres_server.stop_signal = signal.SIGQUIT
    publish_many(stream, range(100_000))
    with (
        fresh_database(own_postgres_server) as database,
        Ingest(stream, database, tmp_path / "ingest.log") as ingest,
    ):
        for reached in range(5_000, 100_000, 10_000):
            ingest.wait_for_rows(reached)
            own_postgres_server.restart()
        settles_whole(ingest, 100_000)


def test_a_full_device_is_waited_for(stream: StreamHandle, tmp_path: Path) -> None:
    publish_many(stream, range(5_000))
    with (
        full_file(tmp_path) as (database, filled),
        closing(Ingest(stream, database, tmp_path / "ingest.log")) as ingest,
    ):
        with filled():
            ingest.start()
            ingest.wait_until_said("waits: 53100: could not extend file")
            assert ingest.count() == 0
        settles_whole(ingest, 5_000)


@pytest.mark.parametrize("from_client", [True, False], ids=["before it arrives", "before it is answered"])
def test_a_connection_cut_at_each_commit_for_a_while_stores_each_message_once(
    from_client: bool, start: Start, stream: StreamHandle, database: str, postgres_server: PostgresServer
) -> None:
    with Proxy(postgres_server.port) as proxy:
        cut = proxy.cut_at(b"COMMIT\0", from_client=from_client, times=8)
        ingest = start(DATABASE_URL=proxy.instead(database))
        publish_many(stream, range(20_000))
        settles_whole(ingest, 20_000)
        assert cut.done == 8


def test_cuts_at_random_bytes_of_both_connections_lose_and_double_nothing(
    start: Start,
    stream: StreamHandle,
    database: str,
    nats_server: NatsServer,
    postgres_server: PostgresServer,
    seed: int,
) -> None:
    chance = random.Random(seed)
    stream.set_ack_wait(1)
    with ExitStack() as both:
        proxies = [both.enter_context(Proxy(port)) for port in (nats_server.port, postgres_server.port)]
        ingest = start(NATS_URL=proxies[0].instead(stream.url), DATABASE_URL=proxies[1].instead(database))
        cuts = []
        for number in range(50):
            proxy = chance.choice(proxies)
            # Letters that any of them will say sooner or later, and somewhere behind.
            cuts.append(proxy.cut_at(b"e", from_client=chance.random() < 0.5, after=chance.randrange(200_000)))
            publish_many(stream, range(number * 1_000, (number + 1) * 1_000))
        settles_whole(ingest, 50_000)
        assert sum(cut.done for cut in cuts) > 25


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("RAISE EXCEPTION 'no poison, please'", "P0001"),
        ("RAISE 'an index is odd' USING ERRCODE = 'XX000'", "XX000"),
        ("PERFORM FROM no_such_table", "42P01"),
        ("RAISE 'a check fails' USING ERRCODE = '23514'", "23514"),
    ],
)
def test_a_hundred_poison_messages_among_ten_thousand_become_dead_letters(
    action: str, state: str, start: Start, stream: StreamHandle, database: str
) -> None:
    poison_with(database, action)
    ingest = start()
    publish_many(stream, range(10_000), poison=range(33, 10_000, 100))
    settles_whole(ingest, 9_900, letters=100)
    details = ingest.rows("SELECT DISTINCT split_part(detail, ':', 1) FROM workflow_comms.dead_letters")
    assert details == [(state,)]


def test_a_server_too_slow_for_its_own_timeout_makes_no_dead_letters(
    start: Start, stream: StreamHandle, database: str
) -> None:
    set_for(database, "statement_timeout = '500ms'")
    administer(
        database,
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.7); RETURN NEW; END $$",
        "CREATE TRIGGER slow BEFORE INSERT ON workflow_comms.agent_messages FOR EACH ROW EXECUTE FUNCTION slow()",
    )
    ingest = start(AGENT_COMMS_MAX_TRIES="1")
    publish_many(stream, range(200))
    ingest.wait_until_said("waits: 57014: ")
    # Quicker, but never quick enough for a whole batch.
    administer(
        database,
        "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql"
        " AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END $$",
    )
    settles_whole(ingest, 200)
