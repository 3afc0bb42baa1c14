"""A run that is over, as its controller tells it: which workflow it was, how it ended, what it left and where."""

import json
from datetime import datetime
from typing import Any

from msgspec import Struct, structs

from flows.completion import CONFINED, Completion, CompletionError, in_one_place, read_completion
from flows.message import DEFAULT_NAMESPACE
from flows.text import storable

Key = tuple[str, str]
# The longest name that a store takes.
MAX_KEY_BYTES = 1_024


class Left(Struct, frozen=True):
    """Something that a run is said to have left.

    Attributes:
        name: what it is called as an artifact.
        key: where it is, below the root or in the bucket; whatever it was said to be.
        bucket: empty where it isn't said.
        confined: whether only such have said it as may not operate in all namespaces.
    """

    name: str
    key: str
    bucket: str = ""
    confined: bool = False


class FinishedRun(Struct, frozen=True):
    """A run that is over.

    Attributes:
        run_id: of the run, where it differs from the uid.
        completion: the controller's word; None where there is none.
        left: what it is said to have left.
        tells_end: whether it is told how or when it ended, and not only that it has.
    """

    namespace: str
    uid: str
    name: str
    run_id: str | None = None
    stage: str | None = None
    agent: str | None = None
    completion: Completion | None = None
    left: tuple[Left, ...] = ()
    tells_end: bool = False

    @property
    def key(self) -> Key:
        """What names the workflow in every system."""
        return self.namespace, self.uid

    def also(self, other: "FinishedRun") -> "FinishedRun":
        """Return a run that was told of twice: the later word laid over the earlier one, as `told_again` in SQL does.

        What it lacks stays, what it says replaces, and what it has left is added. How the run ended is one word: a
        later one replaces all of it.
        """
        # Whoever tells no name is known by the uid.
        name = other.name if other.name != other.uid else self.name
        run_id = other.run_id or self.run_id
        last = other if other.tells_end else self
        completion = last.completion and structs.replace(last.completion, workflow_name=name, run_id=run_id)
        return structs.replace(
            other,
            name=name,
            run_id=run_id,
            stage=other.stage or self.stage,
            agent=other.agent or self.agent,
            completion=completion,
            tells_end=last.tells_end,
            left=_together(self.left, other.left),
        )


def read_finished(payload: bytes, received_at: datetime, namespace: str = DEFAULT_NAMESPACE) -> FinishedRun:
    """Read a run-complete payload: bare or under `data`, its parts objects or JSON strings of such.

    Args:
        payload: JSON, UTF-8.
        received_at: when it came.
        namespace: the workflow's, where the payload doesn't say.

    Raises:
        CompletionError: it is no such payload.
    """
    fields = _opened(_parsed(payload))
    if isinstance(fields, dict) and fields.get("data"):
        fields = _opened(_parsed(fields["data"]))
    if not isinstance(fields, dict):
        message = "payload: it takes a JSON object"
        raise CompletionError(message)
    fields["workflowNamespace"] = fields.get("workflowNamespace") or namespace
    completion = read_completion(json.dumps(fields).encode(), received_at)
    return FinishedRun(
        namespace=completion.workflow_namespace,
        uid=completion.workflow_uid,
        name=completion.workflow_name,
        run_id=completion.run_id,
        stage=_text(fields.get("stage")),
        agent=_text(fields.get("agent_id") or fields.get("agentId")),
        completion=completion,
        tells_end="status" in in_one_place(fields),
        left=_left(fields.get("artifacts")),
    )


def _parsed(value: Any) -> Any:
    """Return a value, or what its JSON says."""
    if not isinstance(value, str | bytes):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        message = "payload: it is not JSON"
        raise CompletionError(message) from None


def _opened(fields: Any) -> Any:
    if not isinstance(fields, dict):
        return fields
    parts = {key: _part(key, fields[key]) for key in ("metadata", "status", "arguments", "artifacts") if key in fields}
    return {**fields, **parts}


def _part(name: str, value: Any) -> Any:
    if isinstance(value, str) and not value.strip():
        return None
    try:
        return _parsed(value)
    except CompletionError:
        message = f"{name}: it is not JSON"
        raise CompletionError(message) from None


def _left(artifacts: Any) -> tuple[Left, ...]:
    left = []
    for each in artifacts if isinstance(artifacts, list) else []:
        if not isinstance(each, dict):
            continue
        key = each.get("key")
        # As it is said: with a letter replaced it would be another one's.
        if isinstance(key, str) and key.strip() and len(key.encode("utf-8", "surrogatepass")) <= MAX_KEY_BYTES:
            confined = each.get(CONFINED) is True
            left.append(Left(_text(each.get("name")) or "", key, _text(each.get("bucket")) or "", confined))
    return tuple(dict.fromkeys(left))


def _together(earlier: tuple[Left, ...], later: tuple[Left, ...]) -> tuple[Left, ...]:
    """Return all that either says, each where it was said first; of one key in a bucket, what was said last."""
    told: dict[tuple[str, str], Left] = {}
    for each in (*earlier, *later):
        place = each.key, each.bucket
        known = told.get(place)
        told[place] = each if each.name or known is None else known
    return tuple(told.values())


def _text(value: Any) -> str | None:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_KEY_BYTES:
        return None
    return storable(value)
