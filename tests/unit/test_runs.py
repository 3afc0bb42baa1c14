import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import sql
from flows.message import Message
from flows.runs import MOST_AGENTS, RunDelta, roll_up, state_said

T0 = datetime(2026, 11, 24, 10, tzinfo=UTC)


def said(kind: str = "message", at: int = 0, content: str = "hello", **changes: Any) -> Message:
    fields: dict[str, Any] = {
        "workflow_uid": "uid-1",
        "workflow_name": "fix-login",
        "workflow_namespace": "agents",
        "run_id": None,
        "step_id": None,
        "agent_id": "planner",
        "role": "assistant",
        "kind": kind,
        "timestamp": T0 + timedelta(seconds=at),
        "channel": "run",
        "stage": None,
        "content": content,
        "attrs": {},
        "dedupe_key": f"{kind}-{at}-{content}",
    }
    return Message(**(fields | changes))


def only(*messages: Message) -> RunDelta:
    (delta,) = roll_up(messages)
    return delta


def test_messages_are_counted_by_kind_and_agent() -> None:
    delta = only(said(), said("tool_call", 1), said("tool_result", 2, agent_id="executor"), said("error", 3))
    assert (delta.messages, delta.tool_calls, delta.errors) == (4, 1, 1)
    assert delta.agents == ["executor", "planner"]
    assert (delta.first_at, delta.last_at) == (T0, T0 + timedelta(seconds=3))


def test_the_last_words_are_the_latest_not_the_last_to_arrive() -> None:
    delta = only(said(at=5, content="late"), said(at=1, content="early"), said("tool_result", 9, "output"))
    assert (delta.last_content, delta.last_agent) == ("late", "planner")


def test_an_older_state_does_not_turn_a_run_back() -> None:
    delta = only(said("status", 9, "succeeded"), said("status", 1, "started"))
    assert (delta.said, delta.said_at) == ("succeeded", T0 + timedelta(seconds=9))
    assert delta.said_started_at == T0 + timedelta(seconds=1)


def test_a_run_that_starts_again_is_running() -> None:
    delta = only(said("status", 2, "started"), said("status", 1, "failed"), said("status", 3, "in progress"))
    assert delta.said == "running"
    # That it goes on is no beginning.
    assert delta.begun_at == T0 + timedelta(seconds=2)


def test_of_two_states_at_the_same_moment_the_end_counts() -> None:
    for order in itertools.permutations([said("status", content=word) for word in ("started", "failed", "done")]):
        assert only(*order).said == "failed"


def test_at_the_same_moment_an_end_that_is_known_counts_more_than_one_that_is_not() -> None:
    words = ["started", "unknown", "done"]
    for order in itertools.permutations([said("status", content=word) for word in words]):
        assert only(*order).said == "succeeded"
        assert only(*(message for message in order if message.content != "done")).said == "unknown"


def test_names_are_those_that_were_said_first_whoever_came_first() -> None:
    nameless = said(at=0, workflow_name="uid-1", attrs={"runtime": "native"})
    early = said(at=1, workflow_name="early", run_id="run-b", attrs={"runtime": "codex"})
    twin = said(at=1, workflow_name="fairly early", run_id="run-a", attrs={"runtime": "argo"})
    late = said(at=2, workflow_name="a late one", run_id="a late one", attrs={"runtime": "a late one"})
    for order in itertools.permutations([nameless, early, twin, late]):
        delta = only(*order)
        assert (delta.workflow_name, delta.run_id, delta.runtime) == ("early", "run-a", "argo")
        assert delta.named_at == delta.run_id_at == delta.runtime_at == T0 + timedelta(seconds=1)
    assert (only(nameless).workflow_name, only(nameless).named_at) == ("uid-1", None)


def test_of_words_at_the_same_moment_the_greater_count_whoever_came_last() -> None:
    words = [said(content="a"), said(content="b", agent_id="x"), said(content="b", agent_id="y")]
    for order in itertools.permutations(words):
        assert (only(*order).last_content, only(*order).last_agent) == ("b", "y")


def test_a_run_keeps_no_more_agents_than_a_row_can_bear() -> None:
    delta = only(*(said(at=number, agent_id=f"{number:05}") for number in reversed(range(1_500))))
    assert delta.agents == [f"{number:05}" for number in range(MOST_AGENTS)]
    assert f"LIMIT {MOST_AGENTS}" in sql.query("add_to_runs")
    assert f"[:{MOST_AGENTS}]" in sql.query("rebuild_runs")


@pytest.mark.parametrize(
    ("message", "state"),
    [
        (said("status", content="started"), "running"),
        (said("status", content="All done", attrs={"status": "Completed"}), "succeeded"),
        (said("status", content="completed", attrs={"exit_code": 1}), "failed"),
        (said("status", content="completed", attrs={"exit_code": 0}), "succeeded"),
        (said("status", content="timed out"), "failed"),
        (said("run-finished", content="bye"), "succeeded"),
        (said("status", content="\t Retrying\n"), "running"),
        (said("status", content="SUCCESS", attrs={"exit_code": "0"}), "succeeded"),
        (said("status", content="done", attrs={"status": ""}), "succeeded"),
        (said("status", content="done", attrs={"status": 200}), "succeeded"),
        (said("status", content="done", attrs={"status": "reviewing"}), None),
        (said("status", content="f\u0130nished"), None),
        (said("status", content="ended; how is not known", attrs={"status": "unknown"}), "unknown"),
        (said("status", content="completed", attrs={"event_type": "turn.completed"}), None),
        (said("status", content="thinking"), None),
        (said("message", content="completed"), None),
        (said("error", content="failed"), None),
    ],
)  # fmt: skip
def test_only_a_status_of_the_run_tells_its_state(message: Message, state: str | None) -> None:
    assert state_said(message) == state


def test_the_general_channel_adds_nothing_to_a_run() -> None:
    assert roll_up([said(channel="general"), said(channel="general", workflow_uid=None)]) == []


def test_runs_come_in_the_order_of_their_keys() -> None:
    deltas = roll_up([said(workflow_uid="b"), said(workflow_uid="a"), said(workflow_uid="b", at=1)])
    assert [(delta.workflow_uid, delta.messages) for delta in deltas] == [("a", 1), ("b", 2)]
