"""The sink alone, on a real Postgres: what it acks, what it keeps, what it gives up."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
import pytest
from psycopg import Cursor

from connectors import binary
from connectors.copy import CopyTable, Row
from connectors.postgres import PostgresSink
from connectors.store import Destination
from tests.waiting import wait_until

TABLE = CopyTable(name=("public", "words"), columns=("word",), key="word")
CREATE = """
    CREATE TABLE words (word text PRIMARY KEY);
    CREATE TABLE kept (word text PRIMARY KEY, why text NOT NULL);
    CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.word LIKE 'bad%' THEN RAISE EXCEPTION 'not this one'; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER look BEFORE INSERT ON words FOR EACH ROW EXECUTE FUNCTION look();
"""
OFTEN_S = 0.05


class Notes:
    """Takes acks, and remembers them."""

    def __init__(self) -> None:
        self.acked: list[str] = []
        self.kept: list[str] = []

    def open(self) -> None:
        """Nothing to open."""

    def ack(self, replies: Sequence[str]) -> None:
        self.acked += replies

    def in_progress(self, replies: Sequence[str]) -> None:
        self.kept += replies

    def close(self) -> None:
        """Nothing to close."""


def keep(cursor: Cursor[Any], word: str, why: str) -> None:
    cursor.execute("INSERT INTO kept VALUES (%s, %s)", (word, why))


class Writing:
    """A sink's partition with its notes; a word that begins with 'copy' needs no row."""

    def __init__(self, database: str, admin: "psycopg.Connection[Any]", **options: Any) -> None:
        self.admin = admin
        self.notes = Notes()
        self.sink = PostgresSink(
            destination=Destination(
                conninfo=database,
                table=TABLE,
                row=lambda word: None if word.startswith("copy") else Row(word, binary.text(word)),
                reject=keep,
                sample="sample",
            ),
            reply=str,
            size=len,
            acks=self.notes,
            **options,
        )
        self._partition = self.sink.build("write", 0, 1)

    def write(self, *words: str) -> None:
        self._partition.write_batch(list(words))

    def write_soon(self, *words: str) -> threading.Thread:
        thread = threading.Thread(target=self.write, args=words)
        thread.start()
        return thread

    def close(self) -> None:
        self._partition.close()

    def wait_for_ack(self, *words: str) -> None:
        wait_until(lambda: set(words) <= set(self.notes.acked), f"acks of {words}, not only {self.notes.acked}")

    def wait_for_word(self, word: str) -> None:
        """Wait until the server is told of it anew."""
        before = len(self.notes.kept)
        wait_until(lambda: word in self.notes.kept[before:], f"a word that {word} is in progress")

    def stored(self) -> set[str]:
        return {word for (word,) in self.admin.execute("SELECT word FROM words").fetchall()}

    def given_up(self) -> dict[str, str]:
        return dict(self.admin.execute("SELECT word, why FROM kept").fetchall())


@pytest.fixture
def admin(database: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(CREATE)
        yield connection


@pytest.fixture
def writing(database: str, admin: "psycopg.Connection[Any]") -> Iterator[Callable[..., Writing]]:
    made: list[Writing] = []

    def make(**options: Any) -> Writing:
        made.append(Writing(database, admin, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_neighbours_are_acked_at_once_and_the_culprit_after_its_last_try(writing: Callable[..., Writing]) -> None:
    sink = writing(max_tries=3)
    sink.write("a", "bad", "b")
    sink.wait_for_ack("a", "b", "bad")
    assert sink.notes.acked == ["a", "b", "bad"]
    assert sink.given_up()["bad"].startswith("P0001: not this one")
    assert sink.given_up()["bad"].endswith("(tried 3 times)")
    assert sink.stored() == {"a", "b"}


def test_a_lone_culprit_is_given_up_too_and_what_comes_meanwhile_does_not_wait(
    writing: Callable[..., Writing],
) -> None:
    sink = writing(max_tries=1_000)
    sink.write("bad")
    for number in range(20):
        sink.write(f"word {number}")
        sink.wait_for_ack(f"word {number}")
    assert sink.notes.acked == [f"word {number}" for number in range(20)]
    sink = writing(max_tries=2)
    sink.write("bad alone")
    sink.wait_for_ack("bad alone")
    assert [*sink.given_up()] == ["bad alone"]


def test_one_that_fits_after_all_is_stored(writing: Callable[..., Writing]) -> None:
    sink = writing(max_tries=1_000)
    sink.write("bad", "a")
    sink.wait_for_ack("a")
    sink.admin.execute("DROP TRIGGER look ON words")
    sink.wait_for_ack("bad")
    assert (sink.stored(), sink.given_up()) == ({"a", "bad"}, {})


def test_a_copy_is_acked_no_sooner_than_what_it_may_be_a_copy_of(writing: Callable[..., Writing]) -> None:
    sink = writing(max_tries=1_000)
    sink.write("bad", "copy 1", "a")
    sink.wait_for_ack("a")
    sink.write("copy 2", "b")
    sink.wait_for_ack("b")
    assert sink.notes.acked == ["a", "b"]
    sink.admin.execute("DROP TRIGGER look ON words")
    sink.wait_for_ack("bad", "copy 1", "copy 2")


def test_what_is_held_is_kept_in_progress_wherever_it_waits(writing: Callable[..., Writing]) -> None:
    sink = writing(max_tries=1_000, in_progress_every_s=OFTEN_S, batch_rows=2)
    sink.write("bad", "copy", "a")
    sink.wait_for_ack("a")
    sink.wait_for_word("bad")
    sink.wait_for_word("copy")
    with sink.admin.transaction():
        sink.admin.execute("LOCK TABLE words")
        sink.write("being written")
        sink.wait_for_word("being written")
        sink.write("waiting 1", "waiting 2")
        arriving = sink.write_soon("finds no room")
        for word in ("being written", "waiting 1", "waiting 2", "finds no room", "bad", "copy"):
            sink.wait_for_word(word)
    arriving.join()
    sink.wait_for_ack("being written", "waiting 1", "waiting 2", "finds no room")


def test_what_a_batch_waits_for_is_said_once_and_that_it_is_stored(
    writing: Callable[..., Writing], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    silences: list[float] = []
    sink = writing(long_s=0.2, unanswered=lambda: silences.append(time.monotonic()))
    cut = b"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'words'::regclass AND NOT granted"

    def told(words: str) -> list[str]:
        return [record.getMessage() for record in caplog.records if words in record.getMessage()]

    with sink.admin.transaction():
        sink.admin.execute("LOCK TABLE words")
        sink.write("a", "b")
        wait_until(lambda: told("has had no answer for"), "a word of it")
        # Whoever cuts the connection has it asked anew, and another wait is no news.
        wait_until(lambda: sink.admin.execute(cut).fetchall(), "a connection that waits for the lock")
        wait_until(lambda: len(silences) > 1, "another long wait")
    sink.wait_for_ack("a", "b")
    (line,) = told("has had no answer for")
    holder = sink.admin.info.backend_pid
    assert line.startswith("postgres: a batch of 2 has had no answer for ")
    assert line.endswith(f" s: it waits for a lock of process {holder} (Lock relation)")
    with sink.admin.transaction():
        sink.admin.execute("LOCK TABLE words")
        sink.write("c")
        wait_until(lambda: len(told("has had no answer for")) == 2, "a word of the next")
    sink.wait_for_ack("c")
    assert len(told("postgres: answers again; a batch of 1 is stored after ")) == 1


def test_nothing_is_said_of_what_is_written_at_once(writing: Callable[..., Writing]) -> None:
    every_s = 0.5
    sink = writing(in_progress_every_s=every_s)
    slow: set[str] = set()
    for number in range(40):
        word, began = f"word {number}", time.monotonic()
        sink.write(word)
        sink.wait_for_ack(word)
        # On a busy machine: what has been written for half of it is kept already.
        if time.monotonic() - began > every_s / 2:
            slow.add(word)
    assert set(sink.notes.kept) <= slow


def test_a_cut_connection_counts_against_nobody(writing: Callable[..., Writing]) -> None:
    sink = writing(max_tries=2)
    cut = b"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE relation = 'words'::regclass AND NOT granted"
    with sink.admin.transaction():
        sink.admin.execute("LOCK TABLE words")
        sink.write("a", "b")
        for _ in range(3):
            wait_until(lambda: sink.admin.execute(cut).fetchall(), "a connection that waits for the lock")
    sink.wait_for_ack("a", "b")
    assert (sink.stored(), sink.given_up()) == ({"a", "b"}, {})


def test_what_nobody_takes_stays_and_delays_nobody(writing: Callable[..., Writing]) -> None:
    sink = writing(max_tries=2)
    sink.admin.execute("ALTER TABLE kept RENAME TO gone")
    sink.write("bad", "a")
    sink.wait_for_ack("a")
    for number in range(10):
        sink.write(f"word {number}")
        sink.wait_for_ack(f"word {number}")
    assert "bad" not in sink.notes.acked
    sink.admin.execute("ALTER TABLE gone RENAME TO kept")
    sink.wait_for_ack("bad")
    assert list(sink.given_up()) == ["bad"]


def test_an_end_waits_for_no_suspect(writing: Callable[..., Writing], caplog: pytest.LogCaptureFixture) -> None:
    sink = writing(max_tries=1_000)
    sink.write("bad", "copy")
    sink.write("a")
    sink.close()
    assert (sink.stored(), sink.notes.acked) == ({"a"}, ["a"])
    assert "ends with 2 messages not stored" in caplog.text


def test_asked_to_end_it_lets_go_of_what_finds_no_room_and_acks_none_of_it(
    writing: Callable[..., Writing], caplog: pytest.LogCaptureFixture
) -> None:
    ending = threading.Event()
    sink = writing(batch_rows=1, patience_s=0.1, ending=ending.is_set)
    with sink.admin.transaction():
        sink.admin.execute("LOCK TABLE words")
        sink.write("a")
        sink.write("b")
        waiting = sink.write_soon("c", "d")
        ending.set()
        waiting.join(60)
        assert not waiting.is_alive()
        sink.write("e")
        sink.close()
        assert "ends with 5 messages not stored" in caplog.text
        assert sink.notes.acked == []
    sink.wait_for_ack("a", "b")
    assert sink.stored() == {"a", "b"}
