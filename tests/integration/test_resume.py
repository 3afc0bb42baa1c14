"""Whoever goes on after a cursor gets each later message, in the order of commits, however far behind."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

import web.queries
from tests.writers import Writer
from web.queries import Reader, Scope

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
def reader(database: str) -> Iterator[Reader]:
    reader = Reader(database, timedelta(minutes=15))
    yield reader
    reader.close()


@pytest.mark.parametrize(("near", "far"), [(2_000, 500), (4, 3), (4, 1)], ids=["near", "far", "far, one by one"])
@pytest.mark.parametrize("channel", ["run", "general"])
def test_a_run_is_read_on_from_anywhere(
    database: str, reader: Reader, monkeypatch: pytest.MonkeyPatch, near: int, far: int, channel: str
) -> None:
    monkeypatch.setattr(web.queries, "NEAR", near)
    monkeypatch.setattr(web.queries, "FAR", far)
    dice = Random(1)
    said: list[tuple[str, str]] = []
    with Writer(database) as writer:
        for number in range(60):
            run, kind = dice.choice(["run-1", "run-1", "run-2"]), dice.choice(["message", "message", "error"])
            said.append((run, kind))
            # Time says nothing of the order of commits.
            at = NOON + timedelta(seconds=dice.randrange(1_000))
            writer.say(str(number), run=run, kind=kind, channel=channel, timestamp=at)
    for kinds in ((), ("error",), ("error", "message"), ("status",)):
        scope = Scope(channel=channel, workflow_namespace="agents", workflow_uid="run-1", kinds=kinds)
        for seq in (0, 1, 30, 55, 60):
            expected = [
                number + 1
                for number, (run, kind) in enumerate(said)
                if run == "run-1" and number + 1 > seq and (not kinds or kind in kinds)
            ]
            found: list[int] = []
            cursor, more = seq, True
            while more:
                events, more = reader.stretch(scope, cursor, 7)
                # Or a reader would ask the same again for ever.
                assert events or not more
                assert len(events) <= 7
                found += [event.seq for event in events]
                cursor = found[-1] if found else cursor
            assert found == expected
