"""Connections that are lent to one reader after the other: whatever happens on them, each sees what is theirs."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from random import Random

import psycopg
import pytest

import sql
from tests.writers import Writer
from web.pool import Connection, Pool
from web.reach import Reach, check_apart, take_role
from web.sight import EVERYTHING, NOTHING, Sight, seeing

NAMESPACES = ("a", "b", "c", "*", "{a}", "a,b", 'a"', "a\\", '\\","b', "NULL")
SIGHTS = [
    EVERYTHING, NOTHING, Sight(("a", "b")), Sight(("c", "a,b")), Sight(("{a}", "nobody")),
    Sight(('a"', "a\\")), Sight(('\\","b', "NULL")),
    *(Sight((name,)) for name in (*NAMESPACES, "nobody") if name != "*"),
]  # fmt: skip
FOUND = dict.fromkeys(("run_id", "uid", "name"), "run-1") | {
    "namespace": None, "limit": 99, "silent_since": datetime(2000, 1, 1, tzinfo=UTC),
}  # fmt: skip
SEEN = "SELECT DISTINCT workflow_namespace FROM workflow_comms.agent_messages"


@pytest.fixture
def told(database: str) -> str:
    with Writer(database) as writer:
        for namespace in NAMESPACES:
            writer.say("x", workflow_namespace=namespace)
    return database


@pytest.fixture
def pool(told: str) -> Iterator[Pool]:
    """Fewer connections than readers."""
    with closing(Pool(told, 2, apart=True)) as pool:
        yield pool


def seen(connection: Connection) -> set[str]:
    """Whose rows are seen, by a query that is planned anew and by one whose plan is kept for whoever comes next."""
    kept = connection.execute(sql.query("find_runs"), FOUND).fetchall()
    found = {namespace for (namespace,) in connection.execute(SEEN)}
    assert {namespace for namespace, *_ in kept} == found
    return found


def _of(sight: Sight) -> set[str]:
    return set(NAMESPACES) if sight.is_everything else set(sight.namespaces) & set(NAMESPACES)


def _is_refused(connection: Connection) -> None:
    connection.execute("SELECT 1 / 0")


def _is_refused_in_a_transaction(connection: Connection) -> None:
    with connection.transaction():
        connection.execute("SELECT set_config('agent_comms.namespaces', '{*}', true)")
        connection.execute("SELECT 1 / 0")


def _takes_too_long(connection: Connection) -> None:
    with connection.transaction():
        connection.execute("SET LOCAL statement_timeout = '1ms'")
        connection.execute("SELECT pg_sleep(5)")


def _leaves_a_transaction(connection: Connection) -> None:
    connection.execute("BEGIN")


def _fails_by_itself(_: Connection) -> None:
    raise LookupError


def _loses_its_backend(connection: Connection) -> None:
    connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


TROUBLE: list[Callable[[Connection], None]] = [
    _is_refused, _is_refused_in_a_transaction, _takes_too_long, _leaves_a_transaction, _fails_by_itself,
    _loses_its_backend,
]  # fmt: skip


def test_readers_who_take_turns_on_few_connections_see_what_is_theirs_whatever_became_of_the_one_before(
    pool: Pool,
) -> None:
    wrong = []

    def read(number: int) -> int:
        dice, right = Random(number), 0
        while right < 30:
            sight = dice.choice(SIGHTS)
            with seeing(sight):
                try:
                    if dice.random() < 0.15:
                        pool.ask(dice.choice(TROUBLE))
                    elif pool.ask(seen) == _of(sight):
                        right += 1
                    else:
                        wrong.append(sight)
                        return right
                except (psycopg.Error, LookupError):
                    # Whoever comes next gets another connection, or this one as if nothing had been.
                    continue
        return right

    with ThreadPoolExecutor(6) as threads:
        right = sum(threads.map(read, range(6)))
    assert wrong == []
    assert right == 6 * 30
    for sight in SIGHTS:
        with seeing(sight):
            assert pool.ask(seen) == _of(sight), sight


def test_a_connection_of_those_who_read_everything_is_lent_to_nobody_else(told: str) -> None:
    for reach, sights in (
        (Reach.ALL, [NOTHING, Sight(("a",)), Sight(("a", "b"))]),
        (Reach.ONE, [NOTHING, EVERYTHING, Sight(("a", "b"))]),
    ):
        with closing(Connection.open(told, reach)) as connection:
            for sight in sights:
                with pytest.raises(PermissionError):
                    connection.see(sight)


def test_where_nobody_has_said_who_asks_nothing_is_seen(told: str) -> None:
    for reach in (Reach.ONE, Reach.SOME):
        with closing(Connection.open(told, reach)) as connection:
            assert seen(connection) == set()
    with closing(Pool(told, 1, apart=True)) as pool:
        found: list[set[str]] = []
        # A thread of its own, in whose context nobody has been let in.
        thread = threading.Thread(target=lambda: found.append(pool.ask(seen)))
        thread.start()
        thread.join()
        assert found == [set()]


def test_each_kind_of_reader_has_a_role_that_tells_it_from_the_others(told: str) -> None:
    with closing(Connection.open(told, Reach.ONE)) as connection:
        # The list of those who read several is none of its business.
        connection.execute("SELECT set_config('agent_comms.namespaces', '{*}', false)")
        assert seen(connection) == set()
        for namespace in NAMESPACES:
            connection.execute("SELECT set_config('agent_comms.namespace', %s, false)", [namespace])
            assert seen(connection) == {namespace}
        connection.execute("RESET agent_comms.namespace")
        assert seen(connection) == set()


def test_a_database_that_lacks_the_newer_roles_is_read_in_the_one_that_was_there(told: str) -> None:
    with psycopg.connect(told, autocommit=True) as connection:
        connection.execute("REVOKE USAGE ON SCHEMA workflow_comms FROM agent_comms_web_all, agent_comms_web_one")
    with closing(Pool(told, 1, apart=True)) as pool:
        for sight in SIGHTS:
            with seeing(sight):
                role = pool.ask(lambda connection: connection.execute("SELECT current_user").fetchone())
                assert (role, pool.ask(seen)) == (("agent_comms_web",), _of(sight))


@pytest.mark.parametrize("heir", ["agent_comms_web", "agent_comms_web_one"])
def test_a_role_that_inherits_the_sight_of_everything_answers_nobody(database: str, heir: str) -> None:
    with psycopg.connect(database) as connection:
        take_role(connection)
        check_apart(connection)
        connection.execute("RESET ROLE")
        # Never committed: the roles are all databases'.
        connection.execute(f"GRANT agent_comms_web_all TO {heir} WITH INHERIT TRUE".encode())
        take_role(connection, Reach(heir))
        with pytest.raises(psycopg.OperationalError, match="can't be kept apart"):
            check_apart(connection)
        connection.rollback()
