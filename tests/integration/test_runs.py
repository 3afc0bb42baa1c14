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
from flows.completion import Completion, complete
from flows.identity import key_of_place
from flows.message import Message
from flows.rebuild import rebuild_on
from flows.redact import Redactor
from flows.storage import messages as destination
from flows.storage import ready
from tests.servers import PostgresServer, fresh_database

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
# Few, so that many are said at the same time, and one that makes Postgres and Python differ if anything does.
MOMENTS = [NOON + timedelta(microseconds=step) for step in (0, 1, 2, 1_000_000)] + [
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
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
keys = st.sampled_from([("agents", "uid-1")] * 4 + [("agents", "uid-2"), ("b", "uid-1"), ("agents", "\U0001f600")])
attrs = st.fixed_dictionaries(
    {},
    optional={
        "runtime": st.sampled_from(["native", "argo", "codex", "\U0001f600" * 300, 5, None]),
        "status": st.sampled_from([*WORDS, "", 0, 200, True, None, [], {"a": 1}, ["done"]]),
        "exit_code": st.sampled_from([0, 1, 0.0, -0.0, 137, "0", "1", "", None, True, False, [], "00"]),
        "event_type": st.sampled_from(["turn.completed", None]),
    },
)


@st.composite
def conversations(draw: st.DrawFn, keys: st.SearchStrategy[tuple[str, str]] = keys, most: int = 12) -> list[Message]:
    """Messages that have much in common, so that there is something to decide between them."""
    moments = st.sampled_from(draw(st.lists(st.sampled_from(MOMENTS), min_size=1, max_size=3)))
    contents = st.sampled_from(draw(st.lists(st.sampled_from(WORDS) | long_texts, min_size=1, max_size=3)))
    return [
        Message(
            workflow_uid=uid,
            workflow_name=draw(names),
            workflow_namespace=namespace,
            run_id=draw(names),
            step_id=None,
            agent_id=draw(st.sampled_from(["planner", "executor", "Z", "\U0001f600", "\uffff"])),
            role="assistant",
            kind=draw(st.sampled_from(KINDS)),
            timestamp=draw(moments),
            channel=draw(st.sampled_from(["run", "run", "run", "general"])),
            stage=None,
            content=draw(contents),
            attrs=draw(attrs),
            dedupe_key=key_of_place(number, 0),
        )
        for number, (namespace, uid) in enumerate(draw(st.lists(keys, max_size=most)))
    ]


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
            self._store.store([ready(message) for message in batch])

    def complete(self, completion: Completion) -> None:
        complete(self.connection, completion)

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
    said = data.draw(conversations())
    places = st.lists(st.integers(0, 30), max_size=4)
    one_way = split(data.draw(st.permutations(said)), data.draw(places))
    another_way = split(data.draw(st.permutations(said * 2)), data.draw(places))

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


completions = st.builds(
    Completion,
    workflow_namespace=st.just("agents"),
    workflow_uid=st.just("uid-1"),
    workflow_name=st.sampled_from(["uid-1", "a", "b"]),
    run_id=st.sampled_from([None, "run-a", "run-b"]),
    phase=st.sampled_from(["Succeeded", "Failed", "Error", ""]),
    started_at=st.none() | st.sampled_from(MOMENTS[:4]),
    finished_at=st.none() | st.sampled_from(MOMENTS[:4]),
    received_at=st.sampled_from([*MOMENTS[:4], NOON + timedelta(seconds=10)]),
)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_messages_and_completions_in_any_order_and_any_number_give_one_row(data: st.DataObject, runs: Runs) -> None:
    said = data.draw(conversations(st.just(("agents", "uid-1")), most=5))
    ends = data.draw(st.lists(completions, min_size=1, max_size=3))

    def tell(events: Sequence[Message | Completion]) -> list[dict[str, Any]]:
        runs.empty()
        for event in events:
            if isinstance(event, Completion):
                runs.complete(event)
            else:
                runs.store([event])
        return runs.rows()

    kept = tell(data.draw(st.permutations([*said, *ends])))
    assert len(kept) == 1
    assert tell(data.draw(st.permutations([*said, *ends, *ends]))) == kept
    assert rebuild_on(runs.connection).changed == []


def end(phase: str = "Succeeded", at: float = 0, **changes: Any) -> Completion:
    fields = {
        "workflow_namespace": "agents",
        "workflow_uid": "uid-1",
        "workflow_name": "fix-login",
        "run_id": None,
        "phase": phase,
        "started_at": NOON - timedelta(hours=1),
        "finished_at": NOON + timedelta(seconds=at),
        "received_at": NOON + timedelta(seconds=at + 5),
    }
    return Completion(**(fields | changes))


def note(at: float, phase: str = "") -> Completion:
    """A completion that tells no time, when it comes."""
    return end(phase, started_at=None, finished_at=None, received_at=NOON + timedelta(seconds=at))


def status(word: str, at: float) -> Message:
    return Message(
        workflow_uid="uid-1",
        workflow_name="uid-1",
        workflow_namespace="agents",
        run_id=None,
        step_id=None,
        agent_id="planner",
        role="system",
        kind="status",
        timestamp=NOON + timedelta(seconds=at),
        channel="run",
        stage=None,
        content=word,
        attrs={},
        dedupe_key=key_of_place(int(at * 1000) + 10**9, 0),
    )


@pytest.mark.parametrize(
    ("events", "state", "finished"),
    [
        ([end()], "succeeded", 0),
        ([end("Failed")], "failed", 0),
        ([end("Error")], "failed", 0),
        ([end("")], "unknown", 0),
        ([status("failed", -5), end("")], "failed", 0),
        ([status("started", -60), end()], "succeeded", 0),
        ([status("succeeded", -5), end("Failed")], "failed", 0),
        # The runtime's clock is ahead, or its last word late: the controller's stands.
        ([status("succeeded", 60), end("Failed")], "failed", 0),
        # Seconds are cut off: it began and ended within the one that the controller tells.
        ([status("started", 0.9), end()], "succeeded", 0),
        ([status("in progress", 60), end()], "succeeded", 0),
        ([status("retrying", 60), end("Failed")], "running", None),
        ([status("retrying", 60), end("Failed"), status("done", 90)], "succeeded", 90),
        ([status("retrying", 60), end("Failed"), end("Succeeded", 120)], "succeeded", 120),
        ([status("started", -60), status("done", -30)], "succeeded", -30),
        ([status("started", -60), status("done", -30), status("resumed", -20)], "running", None),
        ([status("thinking", -60)], "running", None),
        # A completion that tells no time: the messages' own end stands, else when the first one came.
        ([note(0)], "unknown", 0),
        ([note(0), note(60), note(90)], "unknown", 0),
        ([note(0, "Failed"), note(60)], "failed", 0),
        ([note(0), note(60, "Failed"), note(90, "Succeeded")], "succeeded", 0),
        ([status("started", -60), note(0, "Succeeded"), note(60)], "succeeded", 0),
        ([status("started", -60), status("failed", -50), note(0), note(60)], "failed", -50),
        ([status("failed", -50), note(0, "Succeeded"), note(60)], "succeeded", -50),
        ([status("unknown", -50), note(0)], "unknown", -50),
        # Once a time is told, it counts, and what comes after it changes nothing.
        ([note(30), end("Failed"), note(60)], "failed", 0),
        ([status("succeeded", -50), end("Failed"), note(60)], "failed", 0),
        # A retry ends by the completion after it, and of those by the first one.
        ([note(0, "Failed"), status("retrying", 60)], "running", None),
        ([note(0, "Failed"), status("retrying", 60), note(90), note(120)], "unknown", 90),
        ([end("Failed"), status("retrying", 60), note(90, "Succeeded"), note(120)], "succeeded", 90),
        ([end("Failed"), status("retrying", 60), status("done", 80), note(90)], "succeeded", 80),
        ([status("started", -60), status("unknown", -30)], "unknown", -30),
        ([status("started", -60), status("unknown", -30), status("retrying", -20)], "running", None),
        ([status("unknown", -30), end()], "succeeded", 0),
        ([status("unknown", -30), end("")], "unknown", 0),
    ],
)  # fmt: skip
def test_the_controllers_word_is_the_last_one_unless_the_run_begins_again(
    events: list[Message | Completion], state: str, finished: float | None, runs: Runs
) -> None:
    for order in itertools.permutations(events):
        runs.empty()
        for event in order:
            if isinstance(event, Completion):
                runs.complete(event)
            else:
                runs.store([event])
        query = "SELECT state, finished_at FROM workflow_comms.runs"
        finished_at = None if finished is None else NOON + timedelta(seconds=finished)
        assert runs.connection.execute(query).fetchall() == [(state, finished_at)]


def test_of_a_completion_that_is_told_again_and_again_the_first_and_the_last_one_are_kept(runs: Runs) -> None:
    for order in (range(200), reversed(range(200))):
        runs.empty()
        for number in order:
            runs.complete(note(number))
        ((noted,),) = runs.connection.execute("SELECT noted_at FROM workflow_comms.runs")
        assert len(noted) == 50
        assert (noted[0], noted[-1]) == (NOON, NOON + timedelta(seconds=199))


def test_a_run_that_ended_without_a_word_has_a_row_and_a_name(runs: Runs) -> None:
    runs.empty()
    runs.complete(end(run_id="run-7"))
    ((name, run_id, messages, started_at),) = runs.connection.execute(
        "SELECT workflow_name, run_id, messages, started_at FROM workflow_comms.runs"
    )
    assert (name, run_id, messages, started_at) == ("fix-login", "run-7", 0, NOON - timedelta(hours=1))
