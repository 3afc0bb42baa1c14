"""What a workflow's controller says of a run that has ended.

The controller's word is the last one: whatever messages say of the state, the run
ended as the controller says it did. Only a message that says that the run begins
(`started`, `resumed`, `retrying`) more than 2 s after that end opens it once more,
until the next completion: a retry. What runtimes say of an end, before or after,
turns nothing, save where the controller tells no time: then the end is the one that
the messages tell, and where they tell none, when the first completion came. All of
this is settled in the table itself, by columns that follow from others (migrations
0002 and 0017), so the order of messages and completions does not matter, nor how
often a completion is told.
"""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from psycopg import Connection

import sql
from flows.message import DEFAULT_NAMESPACE
from flows.normalize import EARLIEST, latest_usable
from flows.text import storable

# How a run ends, in the controller's words; another word tells that it ended, and not how.
PHASES = ("Succeeded", "Failed", "Error")
# Of two words on the same end the greater one counts: see complete_run.sql.
RANK = {phase: rank for rank, phase in enumerate(("", "Succeeded", "Error", "Failed"))}
# And the words of a run that has not ended.
_GOING_ON = frozenset({"pending", "running"})
_STARTS = ("startedAt", "started_at")
_ENDS = ("finishedAt", "finished_at")
_NAMES = ("name", "uid", "namespace")
# What `in_one_place` says elsewhere.
_ELSEWHERE = {"phase", *_STARTS, *_ENDS, "runId", "agentId"}
_ELSEWHERE |= {spelled for part in _NAMES for spelled in (f"workflow_{part}", f"workflow{part.capitalize()}")}
_TEXTS = ("run_id", "runId", "stage", "agent_id", "agentId")
# The longest Kubernetes name has 253 characters; longer keys would not fit an index.
LONGEST_NAME = 256
# What Go writes for a time that nobody has set: nothing is told.
_ZERO_TIME = "0001-01-01T00:00:00Z"
# Of one run, in all that is told of it; and the bytes of JSON that this is.
MOST_ARTIFACTS = 10_000
MOST_BYTES = 16 * 1024 * 1024
# What marks, in a payload that is kept, an artifact that only such have named as may not operate in all namespaces; and
# a payload that a sweep has queued, which is nobody's word.
CONFINED = "confined"
SWEPT = "swept"
# What says nothing.
_NOTHING: tuple[Any, ...] = (None, "", {}, [])


class CompletionError(ValueError):
    """A payload is no run-complete; the text is one line that names the field."""


class Completion(Struct, frozen=True):
    """How and when a run ended.

    Attributes:
        phase: one of `PHASES`; empty where it is none of them.
        started_at: aware, UTC; None where it isn't told.
        finished_at: aware, UTC; None where it isn't told.
        received_at: when it came; what counts in place of the end, where nobody tells that.
    """

    workflow_namespace: str
    workflow_uid: str
    workflow_name: str
    run_id: str | None
    phase: str
    started_at: datetime | None
    finished_at: datetime | None
    received_at: datetime


def read_completion(payload: bytes | dict[str, Any], received_at: datetime) -> Completion:
    """Read a run-complete payload: bare or under `data`, its parts objects or JSON strings of objects.

    Args:
        payload: JSON, UTF-8, or the object that it says.
        received_at: when it came. A time much later can't be, nor one before there were agents; such count as not told.

    Raises:
        CompletionError: it is no JSON object, names no workflow, or says that the run goes on.
    """
    fields = _object("payload", payload)
    if fields.get("data"):
        fields = _object("data", fields["data"])
    metadata, status = _object("metadata", fields.get("metadata")), _object("status", fields.get("status"))
    name, uid, namespace = (_told(part, metadata, fields) for part in _NAMES)
    uid = uid or name
    if uid is None:
        message = "metadata.uid: it is missing, and metadata.name is, too"
        raise CompletionError(message)
    return Completion(
        workflow_namespace=namespace or DEFAULT_NAMESPACE,
        workflow_uid=uid,
        workflow_name=name or uid,
        run_id=_name("run_id", fields.get("run_id") or fields.get("runId")),
        phase=_phase(*_given(("phase",), status, fields)),
        started_at=_usable(_given(_STARTS, status, fields)[1], received_at),
        finished_at=_usable(_given(_ENDS, status, fields)[1], received_at),
        received_at=received_at,
    )


def check_fields(fields: dict[str, Any]) -> None:
    """Refuse what has a field of the wrong type, or a time that is none: whoever has sent it means something by it.

    Args:
        fields: a run-complete payload whose parts are objects.

    Raises:
        CompletionError: it has.
    """
    for prefix, part in (("status.", _object("status", fields.get("status"))), ("", fields)):
        _check_text(f"{prefix}phase", part.get("phase"))
        for name in (*_STARTS, *_ENDS):
            if _is_given(part.get(name)) and _time(part[name]) is None:
                message = f"{prefix}{name}: it takes an RFC 3339 time with its zone"
                raise CompletionError(message)
    for name in _TEXTS:
        _check_text(name, fields.get(name))
    artifacts = fields["artifacts"] if _is_given(fields.get("artifacts")) else []
    if not isinstance(artifacts, list):
        message = "artifacts: it takes an array"
        raise CompletionError(message)
    if len(artifacts) > MOST_ARTIFACTS:
        message = f"artifacts: it has {len(artifacts):,} entries; {MOST_ARTIFACTS:,} are allowed"
        raise CompletionError(message)
    for number, each in enumerate(artifacts):
        if not isinstance(each, dict):
            message = f"artifacts[{number}]: it takes a JSON object"
            raise CompletionError(message)
        for name in ("name", "key", "bucket"):
            _check_text(f"artifacts[{number}].{name}", each.get(name))


def _check_text(field: str, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        message = f"{field}: it takes text"
        raise CompletionError(message)


def _is_given(value: Any) -> bool:
    """Say whether a field holds anything: a sensor sends empty text where there is nothing, a controller its zero."""
    return value not in (None, "", _ZERO_TIME)


def _given(names: tuple[str, ...], status: dict[str, Any], fields: dict[str, Any]) -> tuple[str, Any]:
    """Return the first of a field's spellings that holds anything, and what; None in the last one otherwise."""
    spelled = [(f"status.{name}", status.get(name)) for name in names]
    spelled += [(name, fields.get(name)) for name in names]
    return next((each for each in spelled if _is_given(each[1])), spelled[-1])


def told_in(part: str, metadata: dict[str, Any], fields: dict[str, Any]) -> str | None:
    """Return the field that tells a workflow's `name`, `uid` or `namespace`; None where none does."""
    if metadata.get(part):
        return f"metadata.{part}"
    return next((field for field in (f"workflow_{part}", f"workflow{part.capitalize()}") if fields.get(field)), None)


def in_one_place(fields: dict[str, Any]) -> dict[str, Any]:
    """Return a run-complete payload that says each thing in one place and spelling, to be laid over another one.

    Args:
        fields: a payload whose parts are objects.
    """
    metadata, status = dict(_object("metadata", fields.get("metadata"))), _object("status", fields.get("status"))
    for part in _NAMES:
        if (field := told_in(part, metadata, fields)) in fields:
            metadata[part] = fields[field]
    end = {names[0]: _given(names, status, fields)[1] for names in (("phase",), _STARTS, _ENDS)}
    parts = {
        "metadata": metadata,
        "status": {name: value for name, value in end.items() if _is_given(value)},
        "run_id": fields.get("run_id") or fields.get("runId"),
        "agent_id": fields.get("agent_id") or fields.get("agentId"),
    }
    rest = {name: value for name, value in fields.items() if name not in _ELSEWHERE and name not in parts}
    return {**rest, **{name: part for name, part in parts.items() if part}}


def told_again(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """Return a run-complete payload, laid over what was told before.

    What it lacks stays, what it says replaces, and artifacts are added to those that are known, in the order in which
    they were named first. `status` tells one end and is taken whole.

    Args:
        earlier: what was told before, as this returns it. What a sweep wrote was nobody's word.
        later: a payload that says each thing in one place.

    Raises:
        CompletionError: with what was told before it is too much.
    """
    earlier = {} if earlier.get(SWEPT) is True else _said(earlier)
    known = earlier.get("artifacts")
    artifacts = _all_artifacts(known, later.get("artifacts"))
    if len(artifacts) > max(MOST_ARTIFACTS, len(known) if isinstance(known, list) else 0):
        message = f"artifacts: with those told before the run has {len(artifacts):,}; {MOST_ARTIFACTS:,} are allowed"
        raise CompletionError(message)
    parts = {
        "status": _said(later.get("status")) or earlier.get("status"),
        "metadata": {**_said(earlier.get("metadata")), **_said(later.get("metadata"))},
        "artifacts": artifacts,
    }
    return _said({**earlier, **_said(later), **parts})


def _all_artifacts(*lists: Any) -> list[dict[str, Any]]:
    """Return all artifacts that lists name; of one key in one bucket what was said last.

    What somebody has named who may operate in all namespaces is not confined, whoever else names it.
    """
    told: dict[tuple[str, str], dict[str, Any]] = {}
    for each in (each for some in lists if isinstance(some, list) for each in some):
        if artifact := _said(each):
            key = artifact.get("key") or json.dumps(artifact, sort_keys=True)
            place = str(key), str(artifact.get("bucket") or "")
            known = told.setdefault(place, {CONFINED: True})
            is_confined = CONFINED in known and CONFINED in artifact
            known.update(artifact)
            if not is_confined:
                known.pop(CONFINED, None)
    return [*told.values()]


def _said(part: Any) -> dict[str, Any]:
    """Return what an object says: its fields, save empty ones."""
    return {name: value for name, value in part.items() if value not in _NOTHING} if isinstance(part, dict) else {}


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
        "received_at": completion.received_at,
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


def _told(part: str, metadata: dict[str, Any], fields: dict[str, Any]) -> str | None:
    field = told_in(part, metadata, fields)
    if field is None:
        return None
    return _name(field, metadata[part] if field == f"metadata.{part}" else fields[field])


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


def _phase(field: str, value: Any) -> str:
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in _GOING_ON:
        message = f"{field}: it says that the run goes on: {word.capitalize()}"
        raise CompletionError(message)
    return next((phase for phase in PHASES if phase.lower() == word), "")


def _usable(value: Any, received_at: datetime) -> datetime | None:
    """Return an RFC 3339 time, in UTC; None where it is none, or can't be meant."""
    time = _time(value)
    # Compared first: the first and the last hours that can be written have no place in UTC.
    if time is None or not EARLIEST <= time <= latest_usable(int(received_at.timestamp())):
        return None
    return time.astimezone(UTC)


def _time(value: Any) -> datetime | None:
    """Read an RFC 3339 time; None where it is none."""
    try:
        time = msgspec.convert(value, datetime)
    except (msgspec.ValidationError, OverflowError, ValueError):
        return None
    return time if time.tzinfo else None
