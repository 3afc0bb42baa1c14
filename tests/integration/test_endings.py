"""What is remembered of sign-ins that were ended."""

import time
from collections.abc import Iterator

import psycopg
import pytest

from tests.servers import PostgresServer, fresh_database
from tests.waiting import wait_until
from web.endings import Endings
from web.pool import Pool


def rows(database: str) -> list[str]:
    with psycopg.connect(database) as connection:
        return [name for (name,) in connection.execute("SELECT session FROM workflow_comms.ended_sessions ORDER BY 1")]


@pytest.fixture
def pool(database: str) -> Iterator[Pool]:
    pool = Pool(database, 1, writes=True)
    yield pool
    pool.close()


def test_those_whose_cookies_have_ended_by_themselves_are_forgotten(database: str, pool: Pool) -> None:
    now = time.time()
    first = Endings(pool)
    assert first.end("long-ago", now - 4_000)
    assert first.end("lately", now + 60)
    assert not first.end("lately", now + 60)
    assert rows(database) == ["lately"]
    assert Endings(pool).has("lately")
    assert not Endings(pool).has("long-ago")


def test_what_postgres_did_not_take_it_gets_later(
    own_postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    with fresh_database(own_postgres_server) as database:
        pool = Pool(database, 1, writes=True)
        endings = Endings(pool)
        try:
            assert not endings.has("x")
            own_postgres_server.stop()
            assert endings.end("x", time.time() + 60)
            assert endings.has("x")
            assert "sign-out: not stored" in caplog.text
            own_postgres_server.start()
            endings.start()
            wait_until(lambda: rows(database) == ["x"])
        finally:
            endings.close()
            pool.close()
