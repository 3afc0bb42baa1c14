"""The list of runs: every run once, what needs attention first, however many pages it has."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from flows.completion import Completion, complete
from flows.message import Message
from tests.writers import Writer
from web import attention
from web.queries import Reader, RunPlace
from web.sight import Sight, seeing

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


def fill(writer: Writer, now: datetime) -> dict[str, list[str]]:
    """Store runs of every shelf; return their names by shelf, as they are to come."""
    minutes = {"failed": 60, "stale": 90, "running": 1, "done": 120, "old-failed": 60 * 30, "old-stale": 60 * 40}
    words = {"failed": "failed", "done": "completed", "old-failed": "failed"}
    messages: list[Message] = []
    names: dict[str, list[str]] = {}
    for shelf, age in minutes.items():
        for number in range(7):
            name = f"{shelf}-{number}"
            at = now - timedelta(minutes=age, seconds=number)
            kind = "status" if shelf in words else "message"
            messages.append(writer.message(words.get(shelf, "hello"), run=name, kind=kind, timestamp=at))
            names.setdefault(shelf if shelf in ("failed", "stale", "running") else "rest", []).append(name)
    for message in messages:
        writer.say(message.content, run=message.workflow_name, kind=message.kind, timestamp=message.timestamp)
    return names


@pytest.mark.parametrize("limit", [1, 3, 7, 10, 100])
def test_a_few_of_what_waits_come_first_and_pages_hold_every_other_run_once(
    reader: Reader, writer: Writer, limit: int
) -> None:
    now = datetime.now(UTC)
    names = fill(writer, now)
    page = attention.page(reader, attention.Filters(), limit, now)
    shelves = {filled.shelf.name: filled for filled in page.shelves}
    assert list(shelves) == ["failed", "stale", "running", "rest"]
    for shelf in attention.SHELVES[:-1]:
        filled = shelves.pop(shelf.name)
        assert [run.workflow_name for run in filled.runs] == names[shelf.name][: shelf.few]
        assert filled.is_cut == (shelf.few < len(names[shelf.name]))
    found = [run.workflow_name for run in shelves["rest"].runs]
    while page.next is not None:
        page = attention.page(reader, attention.Filters(), limit, now, page.next)
        found += [run.workflow_name for run in page.runs]
        assert len(page.runs) <= limit
    assert found == names["rest"]


def test_a_place_on_a_shelf_goes_on_there_and_through_those_behind_it(reader: Reader, writer: Writer) -> None:
    now = datetime.now(UTC)
    names = fill(writer, now)
    first = attention.page(reader, attention.Filters(), 10, now).shelves[0].runs[0]
    found: list[str] = []
    start: tuple[str, RunPlace] | None = ("failed", first.place)
    while start is not None:
        page = attention.page(reader, attention.Filters(), 10, now, start)
        found += [run.workflow_name for run in page.runs]
        start = page.next
    assert found == [name for shelf in ("failed", "stale", "running", "rest") for name in names[shelf]][1:]


def numbers(reader: Reader, now: datetime, **more: Any) -> list[int]:
    return [total.number for total in attention.totals(reader, attention.Filters(**more), now)]


def test_every_run_of_a_shelf_is_counted_as_it_is_filtered_and_for_who_may_see_it(
    reader: Reader, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    fill(writer, now)
    for number in range(3):
        writer.say("x", run=f"theirs-{number}", workflow_namespace="theirs", timestamp=now - timedelta(minutes=20))
    assert numbers(reader, now) == [7, 10, 7]
    assert numbers(reader, now, namespace="theirs") == [0, 3, 0]
    assert numbers(reader, now, since=now - timedelta(minutes=30)) == [0, 3, 7]
    assert numbers(reader, now, until=now - timedelta(minutes=30)) == [7, 7, 0]
    assert numbers(reader, now, q="failed") == []
    with seeing(Sight(("theirs", "nobody"))):
        assert numbers(reader, now) == [0, 3, 0]
        assert numbers(reader, now, namespace="agents") == [0, 0, 0]
    monkeypatch.setattr(attention, "MOST_ON_SHELF", 5)
    assert [total.words for total in attention.totals(reader, attention.Filters(), now)] == ["5+", "5+", "5+"]


def test_a_run_that_ended_before_it_said_anything_is_on_the_shelf_of_its_end(
    reader: Reader, writer: Writer, database: str
) -> None:
    now = datetime.now(UTC)
    fill(writer, now)
    with psycopg.connect(database) as connection:
        for uid, phase, hours in (("new", "Failed", 0.5), ("old", "Failed", 40), ("good", "Succeeded", 3)):
            end = now - timedelta(hours=hours)
            complete(connection, Completion("agents", uid, uid, None, phase, None, end, end))
    shelves = {
        filled.shelf.name: filled.runs for filled in attention.page(reader, attention.Filters(), 100, now).shelves
    }
    places = {name: [run.workflow_uid for run in runs if not run.messages] for name, runs in shelves.items()}
    assert places == {"failed": ["new"], "stale": [], "running": [], "rest": ["good", "old"]}
    assert shelves["failed"][0].workflow_uid == "new"
    assert numbers(reader, now) == [8, 7, 7]
    assert numbers(reader, now, until=now - timedelta(minutes=45)) == [7, 7, 0]


def test_one_state_is_one_shelf_by_time(reader: Reader, writer: Writer) -> None:
    now = datetime.now(UTC)
    fill(writer, now)
    page = attention.page(reader, attention.Filters(state="failed"), 100, now)
    (filled,) = page.shelves
    assert filled.shelf is attention.ALL
    assert [run.workflow_name for run in filled.runs] == [
        *(f"failed-{n}" for n in range(7)),
        *(f"old-failed-{n}" for n in range(7)),
    ]


def test_rates_are_counted_by_slices_of_the_half_hour_before_the_last_message(reader: Reader, writer: Writer) -> None:
    now = datetime.now(UTC)
    for minutes in (0, 0, 1, 14, 29, 31, 90):
        writer.say("x", run="run-1", timestamp=now - timedelta(minutes=minutes))
    (run,) = reader.runs().runs
    rates = reader.ask(lambda connection: attention.rates(connection, [run]))[run.key]
    assert (len(rates), sum(rates)) == (attention.SLICES, 5)
    assert rates[-1] == 3
    assert rates[0] == 1


def test_namespaces_are_told_once_each(reader: Reader, writer: Writer) -> None:
    assert reader.ask(attention.namespaces) == []
    for namespace in ("b", "a", "b", "c"):
        writer.say("x", run=f"run-{namespace}", workflow_namespace=namespace)
    assert reader.ask(attention.namespaces) == ["a", "b", "c"]
