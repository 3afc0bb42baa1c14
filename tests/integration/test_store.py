"""Whose fault it is that a batch was not stored, found out on a real Postgres."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import Cursor, errors

from connectors import binary
from connectors.copy import CopyTable, Row
from connectors.store import Destination, Store, Written

TABLE = CopyTable(name=("public", "words"), columns=("key", "word"), key="key")
CREATE = """
    CREATE TABLE words (
        key text PRIMARY KEY, word text NOT NULL CHECK (word <> 'refused'), seq bigint GENERATED ALWAYS AS IDENTITY);
    CREATE TABLE kept (key text PRIMARY KEY, why text);
"""
# Raises for a word 'raise', takes as long as a word 'sleep 1.5' says, and raises for all while it says so.
TRIGGER = """
    CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.word = 'raise' THEN RAISE EXCEPTION 'not this one'; END IF;
        IF NEW.word LIKE 'sleep %' THEN PERFORM pg_sleep(substr(NEW.word, 7)::float); END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER look BEFORE INSERT ON words FOR EACH ROW EXECUTE FUNCTION look();
"""
FOR_ALL = """
    CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'nothing today'; END $$;
    CREATE TRIGGER never BEFORE INSERT ON words FOR EACH ROW EXECUTE FUNCTION never();
"""
GOOD = ["a", "b", "c", "d", "e"]


def row(word: str) -> Row | None:
    if word == "unmade":
        message = "no row can be made of this"
        raise RecursionError(message)
    key = f"key of {word}"
    return None if word == "copy" else Row(key, binary.text(key) + binary.text(word))


def keep(cursor: Cursor[Any], word: str, why: str) -> None:
    cursor.execute("INSERT INTO kept VALUES (%s, %s)", (word, why))


@pytest.fixture
def admin(database: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(CREATE)
        connection.execute(TRIGGER)
        yield connection


@pytest.fixture(params=[0, len(GOOD) + 3], ids=["by COPY", "by a statement each"])
def store(
    admin: "psycopg.Connection[Any]", database: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store[str]]:
    """However rows are sent, it is found out alike whose fault it is."""
    del admin
    monkeypatch.setattr("connectors.store.FEW", request.param)
    store = Store(Destination(conninfo=database, table=TABLE, row=row, reject=keep, sample="sample"))
    yield store
    store.close()


def set_timeout(admin: "psycopg.Connection[Any]", setting: str) -> None:
    admin.execute(f"ALTER DATABASE {admin.info.dbname} SET {setting}".encode())


def stored(admin: "psycopg.Connection[Any]") -> set[str]:
    return {word for (word,) in admin.execute("SELECT word FROM words").fetchall()}


def whys(written: Written[str]) -> list[tuple[str, str, bool]]:
    return [(failure.item, failure.why.split(":")[0], failure.counts) for failure in written.failed]


def test_what_postgres_says_of_the_data_is_rejected_at_once(
    store: Store[str], admin: "psycopg.Connection[Any]"
) -> None:
    written = store.store(["a", "b", "refused", "c"])
    assert (sorted(written.new), written.rejected, written.failed) == (["a", "b", "c"], ["refused"], [])
    assert stored(admin) == {"a", "b", "c"}
    ((kept, why),) = admin.execute("SELECT key, why FROM kept").fetchall()
    assert kept == "refused"
    assert why.startswith("23514: ")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("raise", "P0001"),
        ("unmade", "RecursionError"),
        ("half \ud800 a pair", "UnicodeEncodeError"),
    ],
)
def test_one_that_fails_alone_while_others_pass_is_named_and_the_others_are_stored(
    bad: str, why: str, store: Store[str], admin: "psycopg.Connection[Any]"
) -> None:
    written = store.store([*GOOD, bad, "f", "copy"])
    assert whys(written) == [(bad, why, True)]
    assert stored(admin) == {*GOOD, "f"}
    assert (len(written.new), written.duplicates) == (6, 1)
    # It goes on, over the same connection.
    assert store.store(["g"]).new == ["g"]


def test_the_order_is_kept_around_what_is_known_already(store: Store[str], admin: "psycopg.Connection[Any]") -> None:
    assert store.store(["m"]).new == ["m"]
    words = ["z", "y", "m", "b", "x", "y", "a"]
    written = store.store(words)
    assert (written.new, written.duplicates) == (["z", "y", "b", "x", "a"], 2)
    in_order = admin.execute("SELECT word FROM words ORDER BY seq").fetchall()
    assert in_order == [("m",), ("z",), ("y",), ("b",), ("x",), ("a",)]


def test_where_nothing_passes_nobody_is_to_blame(store: Store[str], admin: "psycopg.Connection[Any]") -> None:
    admin.execute(FOR_ALL)
    with pytest.raises(errors.RaiseException, match="nothing today"):
        store.store(GOOD)
    with pytest.raises(errors.RaiseException):
        store.store(["raise"])
    admin.execute("DROP TABLE words")
    with pytest.raises(errors.UndefinedTable):
        store.store(["a"])


def test_without_a_sample_only_postgres_word_counts(admin: "psycopg.Connection[Any]", database: str) -> None:
    store = Store(Destination(conninfo=database, table=TABLE, row=row, reject=keep))
    assert store.store(["a", "refused"]).rejected == ["refused"]
    with pytest.raises(errors.RaiseException, match="not this one"):
        store.store(["b", "raise"])
    store.close()
    assert stored(admin) == {"a"}


def test_the_sample_is_never_seen(store: Store[str], admin: "psycopg.Connection[Any]") -> None:
    store.store(["a", "raise", "b"])
    assert stored(admin) == {"a", "b"}


def test_what_nobody_can_keep_is_named_as_well(store: Store[str], admin: "psycopg.Connection[Any]") -> None:
    admin.execute("DROP TABLE kept")
    written = store.store(["a", "refused", "b"])
    assert whys(written) == [("refused", "23514", False)]
    assert "not kept: 42P01" in written.failed[0].why
    assert stored(admin) == {"a", "b"}


def test_one_that_runs_into_the_timeout_while_the_sample_is_quick_is_named(
    store: Store[str], admin: "psycopg.Connection[Any]"
) -> None:
    set_timeout(admin, "statement_timeout = '2s'")
    written = store.store(["a", "sleep 9"])
    assert whys(written) == [("sleep 9", "57014", True)]
    assert stored(admin) == {"a"}


def test_a_batch_that_is_too_much_for_the_timeout_is_stored_in_parts(
    store: Store[str], admin: "psycopg.Connection[Any]"
) -> None:
    set_timeout(admin, "statement_timeout = '1500ms'")
    words = [f"sleep 0.50{number}" for number in range(4)]
    written = store.store(words)
    assert (len(written.new), written.failed) == (4, [])
    assert stored(admin) == set(words)


def test_no_timeout_of_a_server_that_is_slow_for_all_counts(admin: "psycopg.Connection[Any]", database: str) -> None:
    set_timeout(admin, "statement_timeout = '1500ms'")
    # The sample gets through, but takes its time, too.
    store = Store(Destination(conninfo=database, table=TABLE, row=row, reject=keep, sample="sleep 0.75"))
    assert whys(store.store(["sleep 3", "a"])) == [("sleep 3", "57014", False)]
    store.close()
    # It doesn't: then nothing is known of anybody.
    store = Store(Destination(conninfo=database, table=TABLE, row=row, reject=keep, sample="sleep 3"))
    with pytest.raises(errors.QueryCanceled):
        store.store(["sleep 2", "b"])
    store.close()


def test_a_wait_for_a_lock_ends_as_such_and_not_as_a_timeout(
    store: Store[str], admin: "psycopg.Connection[Any]"
) -> None:
    set_timeout(admin, "statement_timeout = '2s'")
    with admin.transaction():
        admin.execute("LOCK TABLE words IN SHARE MODE")
        with pytest.raises(errors.LockNotAvailable):
            store.store(["a"])
    store.close()
    assert store.store(["a"]).new == ["a"]


def test_a_shorter_wait_for_locks_stays_as_it_was_set(store: Store[str], admin: "psycopg.Connection[Any]") -> None:
    set_timeout(admin, "statement_timeout = '10s'")
    set_timeout(admin, "lock_timeout = '50ms'")
    with admin.transaction():
        admin.execute("LOCK TABLE words IN SHARE MODE")
        with pytest.raises(errors.LockNotAvailable):
            store.store(["a"])


def test_a_key_that_failed_once_is_free_for_another(store: Store[str], admin: "psycopg.Connection[Any]") -> None:
    store.store(["raise"])
    admin.execute("ALTER TABLE words DISABLE TRIGGER look")
    assert store.store(["raise"]).new == ["raise"]
    assert store.store(["raise"]).duplicates == 1
