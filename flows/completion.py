"""What a workflow's controller says of a run that has ended.

The controller's word is the last one: whatever messages say of the state, the run
ended as the controller says it did. Only a message that says that the run begins
(`started`, `resumed`, `retrying`) more than 2 s after that end opens it once more,
until the next completion: a retry. What runtimes say of an end, before or after,
turns nothing. All of this is settled in the table itself, by columns that follow
from others (migration 0002), so the order of messages and completions does not
matter, nor how often a completion is told.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from psycopg import Connection

import sql
from flows.message import DEFAULT_NAMESPACE
from flows.text import storable

# How a run ends, in the controller's words; another word tells that it ended, and not how.
PHASES = ("Succeeded", "Failed", "Error")
# And the words of a run that has not ended.
_GOING_ON = frozenset({"pending", "running"})
# The longest Kubernetes name has 253 characters; longer keys would not fit an index.
LONGEST_NAME = 256
# A controller's clock may be that far ahead of ours.
AHEAD = timedelta(days=1)


class CompletionError(ValueError):
    """A payload is no run-complete; the text is one line that names the field."""


class Completion(Struct, frozen=True):
    """How and when a run ended.

    Attributes:
        phase: one of `PHASES`; empty where it is none of them.
        started_at: aware, UTC.
        finished_at: aware, UTC.
    """

    workflow_namespace: str
    workflow_uid: str
    workflow_name: str
    run_id: str | None
    phase: str
    started_at: datetime | None
    finished_at: datetime


def read_completion(payload: bytes, received_at: datetime) -> Completion:
    """Read a run-complete payload: bare or under `data`, its parts objects or JSON strings of objects.

    Args:
        payload: JSON, UTF-8.
        received_at: when it came; the run's end where the payload names none that can be.

    Raises:
        CompletionError: it is no JSON object, names no workflow, or says that the run goes on.
    """
    fields = _object("payload", payload)
    if fields.get("data"):
        fields = _object("data", fields["data"])
    metadata, status = _object("metadata", fields.get("metadata")), _object("status", fields.get("status"))
    name = _name("metadata.name", metadata.get("name") or fields.get("workflowName"))
    uid = _name("metadata.uid", metadata.get("uid") or fields.get("workflowUid")) or name
    namespace = _name("metadata.namespace", metadata.get("namespace") or fields.get("workflowNamespace"))
    if uid is None:
        message = "metadata.uid: it is missing, and metadata.name is, too"
        raise CompletionError(message)
    finished_at = _time(status.get("finishedAt") or fields.get("finishedAt"))
    if finished_at is None or finished_at > received_at + AHEAD:
        finished_at = received_at
    return Completion(
        workflow_namespace=namespace or DEFAULT_NAMESPACE,
        workflow_uid=uid,
        workflow_name=name or uid,
        run_id=_name("run_id", fields.get("run_id") or fields.get("runId")),
        phase=_phase(status.get("phase") or fields.get("phase")),
        started_at=_time(status.get("startedAt") or fields.get("startedAt")),
        finished_at=finished_at,
    )


def complete(connection: Connection, completion: Completion) -> None:
    """Note a completion on its run, and make the run's row where no message has come yet; safe to repeat."""
    values = {
        "namespace": completion.workflow_namespace,
        "uid": completion.workflow_uid,
        "name": completion.workflow_name,
        "run_id": completion.run_id,
        "phase": completion.phase,
        "started_at": completion.started_at,
        "finished_at": completion.finished_at,
    }
    connection.execute(sql.query("complete_run"), values)


def _object(field: str, value: Any) -> dict[str, Any]:
    """Return an object, perhaps from its JSON; nothing is an empty one."""
    if value is None or value == "":
        return {}
    if isinstance(value, str | bytes):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            message = f"{field}: it is not JSON"
            raise CompletionError(message) from None
    if not isinstance(value, dict):
        message = f"{field}: it takes a JSON object"
        raise CompletionError(message)
    return value


def _name(field: str, value: Any) -> str | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        message = f"{field}: it takes text"
        raise CompletionError(message)
    if len(value) > LONGEST_NAME:
        message = f"{field}: it has {len(value):,} characters; {LONGEST_NAME} are allowed"
        raise CompletionError(message)
    return storable(value) if not value.isspace() else None


def _phase(value: Any) -> str:
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in _GOING_ON:
        message = f"status.phase: it says that the run goes on: {word.capitalize()}"
        raise CompletionError(message)
    return next((phase for phase in PHASES if phase.lower() == word), "")


def _time(value: Any) -> datetime | None:
    """Read an RFC 3339 time; None where it is none."""
    try:
        time = msgspec.convert(value, datetime)
        return time.astimezone(UTC) if time.tzinfo else None
    except (msgspec.ValidationError, OverflowError, ValueError):
        return None
