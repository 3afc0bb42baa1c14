from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows.message import Message
from flows.runs import RunDelta, roll_up, state_said

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
    assert delta.agents == ["planner", "executor"]
    assert (delta.first_at, delta.last_at) == (T0, T0 + timedelta(seconds=3))


def test_the_last_words_are_the_latest_not_the_last_to_arrive() -> None:
    delta = only(said(at=5, content="late"), said(at=1, content="early"), said("tool_result", 9, "output"))
    assert (delta.last_content, delta.last_agent) == ("late", "planner")


def test_an_older_state_does_not_turn_a_run_back() -> None:
    delta = only(said("status", 9, "succeeded"), said("status", 1, "started"))
    assert delta.state == "succeeded"
    assert delta.started_at == T0 + timedelta(seconds=1)
    assert delta.finished_at == T0 + timedelta(seconds=9)


def test_a_run_that_starts_again_is_running() -> None:
    assert only(said("status", 1, "failed"), said("status", 2, "started")).state == "running"


@pytest.mark.parametrize(
    ("message", "state"),
    [
        (said("status", content="started"), "running"),
        (said("status", content="All done", attrs={"status": "Completed"}), "succeeded"),
        (said("status", content="completed", attrs={"exit_code": 1}), "failed"),
        (said("status", content="completed", attrs={"exit_code": 0}), "succeeded"),
        (said("status", content="timed out"), "failed"),
        (said("run-finished", content="bye"), "succeeded"),
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
