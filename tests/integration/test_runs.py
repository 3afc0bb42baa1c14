"""A run's row depends on which messages there are and on nothing else; made anew of them, it is the same."""

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.store import Store
from flows.identity import key_of_place
from flows.message import Message
from flows.rebuild import rebuild_on
from flows.redact import Redactor
from flows.storage import messages as destination
from tests.servers import PostgresServer, fresh_database

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
# Few, so that many are said at the same time, and one that makes Postgres and Python differ if anything does.
MOMENTS = [NOON + timedelta(microseconds=step) for step in (0, 1, 2, 1_000_000)] + [
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]
WORDS = [
    "started", " Running\n", "IN PROGRESS", "resumed", "retrying", "succeeded", "Done", "run-finished", "failed",
    "timed out", "CANCELED", "thinking", "f\u0130nished", "\u00a0done", "done\u2003", "\u212aill", "done " * 9, " ",
]  # fmt: skip
TEXTS = ["a", "b", "B", "\u00e9", "e\u0301", "\uffff", "\U0001f600", "\U00010000", "\ufffd", "%s", "\\", "\"'", "{}"]
KINDS = ["message", "tool_call", "tool_result", "error", *["status"] * 3, "run-started", "run-failed", "log"]

texts = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
long_texts = st.builds(lambda text, times: text * times, texts, st.sampled_from([1, 399, 400, 401]))
names = st.none() | st.sampled_from(["uid-1", "a", "B", "\U0001f600", "\uffff"])
attrs = st.fixed_dictionaries(
    {},
    optional={
        "runtime": st.sampled_from(["native", "argo", "codex", "\U0001f600" * 300, 5, None]),
        "status": st.sampled_from([*WORDS, "", 0, 200, True, None, [], {"a": 1}, ["done"]]),
        "exit_code": st.sampled_from([0, 1, 0.0, -0.0, 137, "0", "1", "", None, True, False, [], "00"]),
        "event_type": st.sampled_from(["turn.completed", None]),
    },
)
messages = st.builds(
    Message,
    workflow_uid=st.sampled_from(["uid-1", "uid-1", "uid-1", "uid-2", "\U0001f600"]),
    workflow_name=names,
    workflow_namespace=st.sampled_from(["agents", "agents", "agents", "b"]),
    run_id=names,
    step_id=st.none(),
    agent_id=st.sampled_from(["planner", "executor", "Z", "\U0001f600", "\uffff"]),
    role=st.just("assistant"),
    kind=st.sampled_from(KINDS),
    timestamp=st.sampled_from(MOMENTS),
    channel=st.sampled_from(["run", "run", "run", "run", "general"]),
    stage=st.none(),
    content=st.sampled_from(WORDS) | long_texts,
    attrs=attrs,
    dedupe_key=st.integers(0, 999).map(lambda number: key_of_place(number, 0)),
)


class Runs:
    """One database that is emptied as often as it takes."""

    def __init__(self, dsn: str) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True)
        self._store = Store(destination(dsn, Redactor()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()
        self.connection.close()

    def empty(self) -> None:
        self.connection.execute("DELETE FROM workflow_comms.agent_messages")
        self.forget_runs()

    def forget_runs(self) -> None:
        self.connection.execute("DELETE FROM workflow_comms.runs")

    def store(self, *batches: Sequence[Message]) -> None:
        """Store batches as the flow does."""
        for batch in batches:
            self._store.store(batch)

    def rows(self) -> list[dict[str, Any]]:
        query = "SELECT to_jsonb(runs) FROM workflow_comms.runs ORDER BY workflow_namespace, workflow_uid"
        return [row for (row,) in self.connection.execute(query)]


@pytest.fixture(scope="module")
def runs(postgres_server: PostgresServer) -> Iterator[Runs]:
    with fresh_database(postgres_server) as database, Runs(database) as handle:
        yield handle


def split(items: Sequence[Message], places: list[int]) -> list[Sequence[Message]]:
    edges = sorted({0, *(place % (len(items) + 1) for place in places), len(items)})
    return [items[start:end] for start, end in itertools.pairwise(edges)]


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_order_any_batches_and_any_repetition_give_the_row_that_all_messages_at_once_give(
    data: st.DataObject, runs: Runs
) -> None:
    said = data.draw(st.lists(messages, min_size=1, max_size=12, unique_by=lambda message: message.dedupe_key))
    places = st.lists(st.integers(0, 30), max_size=4)
    one_way = split(data.draw(st.permutations(said)), data.draw(places))
    repeated = data.draw(st.permutations([*said, *data.draw(st.lists(st.sampled_from(said), max_size=6))]))
    another_way = split(repeated, data.draw(places))

    runs.empty()
    runs.store(*one_way)
    kept = runs.rows()
    assert len(kept) == len({(m.workflow_namespace, m.workflow_uid) for m in said if m.channel == "run"})
    made_anew = rebuild_on(runs.connection)
    assert (made_anew.changed, made_anew.runs) == ([], len(kept))

    runs.empty()
    runs.store(*another_way)
    assert runs.rows() == kept

    runs.forget_runs()
    assert len(rebuild_on(runs.connection).changed) == len(kept)
    assert runs.rows() == kept
