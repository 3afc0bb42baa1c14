"""What a batch of messages adds to the runs they belong to.

Every number here can be added in any order, and every choice is made by time, so
that late and backfilled messages never turn a run back, and counting all messages
again gives the same row.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from flows.message import CHANNEL_RUN, Message

State = Literal["running", "succeeded", "failed"]

LAST_CONTENT_CHARS = 400

# What runtimes say of a run's state, in their words.
_STATES: dict[str, State] = {
    **dict.fromkeys(("started", "running", "run-started", "in_progress", "resumed", "retrying"), "running"),
    **dict.fromkeys(
        ("succeeded", "success", "completed", "complete", "done", "finished", "run-finished", "run-completed"),
        "succeeded",
    ),
    **dict.fromkeys(
        ("failed", "failure", "error", "errored", "cancelled", "canceled", "aborted", "timed_out", "run-failed"),
        "failed",
    ),
}
# Kinds that speak of a run's state; `status` messages about a turn or an item don't.
_STATE_KINDS = frozenset({"status", "run-started", "run-finished", "run-completed", "run-failed"})


class RunDelta(Struct):
    """What some messages of one workflow add to its row; fields as in `workflow_comms.runs`."""

    workflow_namespace: str
    workflow_uid: str
    workflow_name: str
    run_id: str | None = None
    runtime: str = "native"
    messages: int = 0
    tool_calls: int = 0
    errors: int = 0
    agents: list[str] = []
    first_at: datetime | None = None
    last_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    state: State | None = None
    state_at: datetime | None = None
    words_at: datetime | None = None
    last_agent: str | None = None
    last_content: str | None = None

    def add(self, message: Message) -> None:
        """Count one more message."""
        at = message.timestamp
        self.messages += 1
        self.tool_calls += message.kind == "tool_call"
        self.errors += message.kind == "error"
        if message.agent_id not in self.agents:
            self.agents.append(message.agent_id)
        self.run_id = self.run_id or message.run_id
        if self.first_at is None or at < self.first_at:
            self.first_at = at
        if self.last_at is None or at > self.last_at:
            self.last_at = at
        if message.kind != "tool_result":
            self._add_words(message)
        state = state_said(message)
        if state:
            self._add_state(state, at)

    def _add_words(self, message: Message) -> None:
        words = message.content[:LAST_CONTENT_CHARS]
        # Of two that were said at the same time the greater text wins, as in the query.
        if self.words_at is None or (message.timestamp, words) > (self.words_at, self.last_content or ""):
            self.words_at = message.timestamp
            self.last_agent = message.agent_id
            self.last_content = words

    def _add_state(self, state: State, at: datetime) -> None:
        if self.state_at is None or (at, _RANK[state]) > (self.state_at, _RANK[self.state or "running"]):
            self.state, self.state_at = state, at
        if state == "running":
            self.started_at = min(self.started_at or at, at)
        else:
            self.finished_at = max(self.finished_at or at, at)


# At the same moment an end outweighs a beginning.
_RANK: dict[State, int] = {"running": 0, "succeeded": 1, "failed": 2}


def state_said(message: Message) -> State | None:
    """Return the state of the run that a message tells of, None where it tells of none."""
    if message.kind not in _STATE_KINDS or "event_type" in message.attrs:
        return None
    if message.kind != "status":
        said: Any = message.kind
    else:
        said = message.attrs.get("status") or message.content
    state = _STATES.get(said.strip().lower().replace(" ", "_")) if isinstance(said, str) else None
    if state == "succeeded" and message.attrs.get("exit_code") not in (None, 0, "0"):
        return "failed"
    return state


def roll_up(messages: Iterable[Message]) -> list[RunDelta]:
    """Return what the messages add, a workflow each, in the order of their keys.

    The general channel adds nothing: what is said there under a run's name is a claim.
    """
    deltas: dict[tuple[str, str], RunDelta] = {}
    for message in messages:
        if message.channel != CHANNEL_RUN or message.workflow_uid is None:
            continue
        key = (message.workflow_namespace, message.workflow_uid)
        delta = deltas.get(key)
        if delta is None:
            name = message.workflow_name or message.workflow_uid
            runtime = message.attrs.get("runtime", "native")
            delta = deltas[key] = RunDelta(*key, name, runtime=str(runtime))
        delta.add(message)
    return [deltas[key] for key in sorted(deltas)]
