import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.pq import ExecStatus

import sql
from tests.servers import PostgresServer, fresh_database

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in sql.QUERIES.glob("*.sql"))
PLACEHOLDER = re.compile(r"%\((\w+)\)s|%%")


def numbered(text: str) -> str:
    """Return a query with `$n` in place of its named placeholders, as the driver sends it."""
    numbers: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        return f"${numbers.setdefault(found[1], len(numbers) + 1)}" if found[1] else "%"

    return PLACEHOLDER.sub(number, text)


@pytest.fixture(scope="module")
def connection(postgres_server: PostgresServer) -> Iterator[psycopg.Connection]:
    with fresh_database(postgres_server, left=True) as dsn, psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize("name", NAMES)
def test_each_query_parses_against_the_migrated_schema(name: str, connection: psycopg.Connection) -> None:
    result = connection.pgconn.prepare(b"", numbered(sql.query(name)).encode())
    assert result.status == ExecStatus.COMMAND_OK, result.error_message.decode()


@pytest.mark.parametrize("name", NAMES)
def test_each_query_begins_with_a_sentence(name: str) -> None:
    first = sql.query(name).splitlines()[0]
    assert re.fullmatch(r"-- [A-Z].*[.;:,\w]", first)


@pytest.fixture(scope="module")
def code() -> str:
    return "".join(path.read_text() for folder in ("flows", "web") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_each_query_is_used(name: str, code: str) -> None:
    family, _, member = name.rpartition("_")
    # One of a family is asked for as f"family_{member}".
    assert f'"{name}"' in code or (f'"{family}_{{' in code and f'"{member}"' in code)
