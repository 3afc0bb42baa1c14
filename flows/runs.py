"""What a batch of messages adds to the runs they belong to.

Every number can be added in any order, and every choice is made by time, then by
text, so that a run's row depends on which messages there are and on nothing else:
not on their order, not on how they came in batches. `sql/queries/rebuild_runs.sql`
says the same of all messages at once.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct

from flows.message import CHANNEL_RUN, Message

State = Literal["running", "unknown", "succeeded", "failed"]

LAST_CONTENT_CHARS = 400
# Of more, the first by text are kept: a row is written with each batch, and must not grow with whoever invents names.
MOST_AGENTS = 1_000
LONGEST_RUNTIME = 256

# The words with which runtimes say that a run begins, at first or once more.
_BEGINNINGS = frozenset({"started", "run-started", "resumed", "retrying"})
# What runtimes say of a run's state, in their words.
_STATES: dict[str, State] = {
    **dict.fromkeys((*sorted(_BEGINNINGS), "running", "in_progress"), "running"),
    **dict.fromkeys(
        ("succeeded", "success", "completed", "complete", "done", "finished", "run-finished", "run-completed"),
        "succeeded",
    ),
    **dict.fromkeys(
        ("failed", "failure", "error", "errored", "cancelled", "canceled", "aborted", "timed_out", "run-failed"),
        "failed",
    ),
    # It is over, and who says so doesn't know how it ended.
    "unknown": "unknown",
}
_LONGEST_WORD = max(map(len, _STATES))
_SPACE = " \t\n\r\f\v"
# Kinds that speak of a run's state; `status` messages about a turn or an item don't.
_STATE_KINDS = frozenset({"status", "run-started", "run-finished", "run-completed", "run-failed"})
# At the same moment an end outweighs a beginning, and one that is known another.
_RANK: dict[State, int] = {"running": 0, "unknown": 1, "succeeded": 2, "failed": 3}
_NO_CODE = (None, 0, "0")
# The same for rebuild_runs.sql.
STATE_WORDS: dict[str, list[str]] = {
    "words": [*_STATES],
    "states": [*_STATES.values()],
    "beginnings": sorted(_BEGINNINGS),
    "state_kinds": sorted(_STATE_KINDS),
}
NATIVE = "native"


class RunDelta(Struct, gc=False, omit_defaults=True):
    """What some messages of one workflow add to its row; fields as in `workflow_comms.runs`.

    Attributes:
        workflow_name: the first name said that isn't the uid; the uid where none was.
        named_at: when that name was said; in the same way `run_id_at` and `runtime_at`.
        runtime: the first runtime said that isn't the default.
        agents: sorted, the first `MOST_AGENTS`.
        words_at: when the last words were said; what a tool answers is none.
        said: the state that was told last, at `said_at`.
        begun_at: when it was last told that the run begins.
        said_started_at: when it was first told that the run runs.
    """

    workflow_namespace: str
    workflow_uid: str
    workflow_name: str
    runtime: str
    messages: int
    tool_calls: int
    errors: int
    agents: list[str]
    first_at: datetime
    last_at: datetime
    named_at: datetime | None = None
    run_id: str | None = None
    run_id_at: datetime | None = None
    runtime_at: datetime | None = None
    words_at: datetime | None = None
    last_agent: str | None = None
    last_content: str | None = None
    said: State | None = None
    said_at: datetime | None = None
    begun_at: datetime | None = None
    said_started_at: datetime | None = None

    def add_state(self, message: Message) -> None:
        """Note what a message tells of the run's state."""
        word, state = _state_word(message)
        if state is None:
            return
        at = message.timestamp
        if self.said is None or self.said_at is None or (at, _RANK[state]) > (self.said_at, _RANK[self.said]):
            self.said, self.said_at = state, at
        if state == "running":
            self.said_started_at = min(self.said_started_at or at, at)
        if word in _BEGINNINGS:
            self.begun_at = max(self.begun_at or at, at)


def roll_up(messages: Iterable[Message]) -> list[RunDelta]:
    """Return what the messages add, a workflow each, in the order of their keys.

    The general channel adds nothing: what is said there under a run's name is a claim.
    """
    runs: defaultdict[tuple[str, str], list[Message]] = defaultdict(list)
    for message in messages:
        if message.channel == CHANNEL_RUN and (uid := message.workflow_uid) is not None:
            runs[message.workflow_namespace, uid].append(message)
    # The writers of runs lock their rows in this order, lest two of them wait for each other.
    return [_delta(*key, runs[key]) for key in sorted(runs)]


def _delta(namespace: str, uid: str, messages: Sequence[Message]) -> RunDelta:
    # One loop over plain variables: every message passes here.
    words = messages[0]
    first_at = last_at = words.timestamp
    named_at = run_id_at = runtime_at = words_at = last_agent = last_content = None
    name = run_id = ""
    runtime = NATIVE
    tool_calls = errors = 0
    agents = {words.agent_id}
    tells = False
    for message in messages:
        at, kind = message.timestamp, message.kind
        agents.add(message.agent_id)
        if at > last_at:
            last_at = at
        elif at < first_at:
            first_at = at
        # Of two that were said at the same time, the lesser text wins.
        said = message.workflow_name
        if said and said != uid and (named_at is None or at < named_at or (at == named_at and said < name)):
            name, named_at = said, at
        said = message.run_id
        if said and (run_id_at is None or at < run_id_at or (at == run_id_at and said < run_id)):
            run_id, run_id_at = said, at
        said = message.attrs.get("runtime", NATIVE)
        if said != NATIVE and isinstance(said, str):
            said = said[:LONGEST_RUNTIME]
            if runtime_at is None or at < runtime_at or (at == runtime_at and said < runtime):
                runtime, runtime_at = said, at
        if kind == "tool_result":
            continue
        # The last words: of two at the same time the greater text wins, then the greater agent.
        if words_at is None or at > words_at or (at == words_at and _words(message) > _words(words)):
            words, words_at = message, at
        if kind == "tool_call":
            tool_calls += 1
        elif kind == "error":
            errors += 1
        elif kind in _STATE_KINDS:
            tells = True
    if words_at is not None:
        last_content, last_agent = _words(words)
    delta = RunDelta(
        namespace, uid, name or uid, runtime, len(messages), tool_calls, errors, sorted(agents)[:MOST_AGENTS],
        first_at, last_at, named_at, run_id or None, run_id_at, runtime_at, words_at, last_agent, last_content,
    )  # fmt: skip
    if tells:
        for message in messages:
            delta.add_state(message)
    return delta


def _words(message: Message) -> tuple[str, str]:
    return message.content[:LAST_CONTENT_CHARS], message.agent_id


def state_said(message: Message) -> State | None:
    """Return the state of the run that a message tells of, None where it tells of none."""
    return _state_word(message)[1]


def telling(kind: str, attrs: dict[str, Any]) -> dict[str, Any] | None:
    """Return what of a message's attrs its run's state depends on; None where the message tells of none."""
    if kind not in _STATE_KINDS or "event_type" in attrs:
        return None
    return {name: attrs[name] for name in ("status", "exit_code") if name in attrs}


def _state_word(message: Message) -> tuple[str, State | None]:
    attrs = message.attrs
    if message.kind not in _STATE_KINDS or "event_type" in attrs:
        return "", None
    said: Any = message.kind
    if said == "status":
        said = attrs.get("status")
        said = said if isinstance(said, str) and said else message.content
    word = said.strip(_SPACE)
    if len(word) > _LONGEST_WORD or not word.isascii():
        return "", None
    word = word.lower().replace(" ", "_")
    state = _STATES.get(word)
    if state == "succeeded" and attrs.get("exit_code") not in _NO_CODE:
        return word, "failed"
    return word, state
