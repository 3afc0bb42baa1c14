"""The list of runs: every run once, what needs attention first, however many pages it has."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from flows.message import Message
from tests.writers import Writer
from web import attention
from web.queries import Reader, RunRow

NOW = datetime.now(UTC)
STALE = timedelta(minutes=15)


@pytest.fixture
def reader(database: str) -> Iterator[Reader]:
    reader = Reader(database, STALE)
    yield reader
    reader.close()


@pytest.fixture
def writer(database: str) -> Iterator[Writer]:
    with Writer(database) as writer:
        yield writer


def fill(writer: Writer) -> dict[str, list[str]]:
    """Store runs of every shelf; return their names by shelf, as they are to come."""
    minutes = {"failed": 60, "stale": 90, "running": 1, "done": 120, "old-failed": 60 * 30, "old-stale": 60 * 40}
    words = {"failed": "failed", "done": "completed", "old-failed": "failed"}
    messages: list[Message] = []
    names: dict[str, list[str]] = {}
    for shelf, age in minutes.items():
        for number in range(7):
            name = f"{shelf}-{number}"
            at = NOW - timedelta(minutes=age, seconds=number)
            kind = "status" if shelf in words else "message"
            messages.append(writer.message(words.get(shelf, "hello"), run=name, kind=kind, timestamp=at))
            names.setdefault(shelf if shelf in ("failed", "stale", "running") else "rest", []).append(name)
    for message in messages:
        writer.say(message.content, run=message.workflow_name, kind=message.kind, timestamp=message.timestamp)
    return names


@pytest.mark.parametrize("limit", [1, 3, 7, 10, 100])
def test_pages_hold_every_run_once_in_the_order_of_the_shelves(reader: Reader, writer: Writer, limit: int) -> None:
    names = fill(writer)
    found: list[str] = []
    start: tuple[str, attention.RunPlace] | None = None
    while True:
        page = attention.page(reader, {}, limit, NOW, start)
        found += [run.workflow_name for run in page.runs]
        assert len(page.runs) <= limit
        if page.next is None:
            break
        shelf, last = page.next
        start = (shelf, place(last))
    assert found == [name for shelf in ("failed", "stale", "running", "rest") for name in names[shelf]]


def place(run: RunRow) -> attention.RunPlace:
    assert run.last_at is not None
    return run.last_at, *run.key


def test_one_state_is_one_shelf_by_time(reader: Reader, writer: Writer) -> None:
    fill(writer)
    page = attention.page(reader, {"state": "failed"}, 100, NOW)
    (filled,) = page.shelves
    assert filled.shelf is attention.ALL
    assert [run.workflow_name for run in filled.runs] == [
        *(f"failed-{n}" for n in range(7)),
        *(f"old-failed-{n}" for n in range(7)),
    ]


def test_rates_are_counted_by_slices_of_the_half_hour_before_the_last_message(reader: Reader, writer: Writer) -> None:
    for minutes in (0, 0, 1, 14, 29, 31, 90):
        writer.say("x", run="run-1", timestamp=NOW - timedelta(minutes=minutes))
    (run,) = reader.runs()
    rates = reader.ask(lambda connection: attention.rates(connection, [run]))[run.key]
    assert (len(rates), sum(rates)) == (attention.SLICES, 5)
    assert rates[-1] == 3
    assert rates[0] == 1


def test_namespaces_are_told_once_each(reader: Reader, writer: Writer) -> None:
    assert reader.ask(attention.namespaces) == []
    for namespace in ("b", "a", "b", "c"):
        writer.say("x", run=f"run-{namespace}", workflow_namespace=namespace)
    assert reader.ask(attention.namespaces) == ["a", "b", "c"]
