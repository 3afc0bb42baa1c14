"""Reads a payload in whatever spelling it comes, into one struct.

A payload in the canonical spelling is decoded straight into `Claim`; anything
else goes by way of a dict, slower and more tolerant.
"""

import json
import math
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Struct

from flows.dead_letter import Reason, UnfitError
from flows.text import MAX_DEPTH, REPLACEMENT, TooDeepError, storable_json


class Claim(Struct, forbid_unknown_fields=True, gc=False):
    """What a payload says of itself. Nothing of it is trusted yet, all of it is storable.

    Attributes:
        status: a word on how things stand; content where there is no other.
        tool: `{name, input, output, status, exit_code, duration_ms}`.
        attrs: what the payload says beside; what has no place of its own is under `extra`.
    """

    message_id: str | None = None
    workflow_uid: str | None = None
    workflow_name: str | None = None
    workflow_namespace: str | None = None
    run_id: str | None = None
    step_id: str | None = None
    agent_id: str | None = None
    role: str | None = None
    kind: str | None = None
    timestamp: str | None = None
    channel: str | None = None
    stage: str | None = None
    runtime: str | None = None
    content: str | None = None
    status: str | None = None
    error: str | None = None
    tool: dict[str, Any] | None = None
    attrs: dict[str, Any] | None = None


# The first spelling that holds something wins.
SPELLINGS: dict[str, tuple[str, ...]] = {
    "message_id": ("message_id", "messageId", "id"),
    "workflow_uid": ("workflow_uid", "workflowUid"),
    "workflow_name": ("workflow_name", "workflowName"),
    "workflow_namespace": ("workflow_namespace", "workflowNamespace"),
    "run_id": ("run_id", "runId"),
    "step_id": ("step_id", "stepId", "workflow_step", "workflowStep"),
    "agent_id": ("agent_id", "agentId"),
    "role": ("role",),
    "kind": ("kind",),
    "timestamp": ("timestamp", "sent_at", "sentAt", "created_at", "createdAt"),
    "channel": ("channel",),
    "stage": ("stage", "workflow_stage", "workflowStage"),
    "runtime": ("runtime",),
    "content": ("content", "text", "message"),
    "status": ("status",),
    "error": ("error",),
}
TOOL_SPELLINGS = ("tool", "tool_call", "toolCall")
# Of a tool's fields, those that have another spelling.
TOOL_FIELDS = {"exitCode": "exit_code", "durationMs": "duration_ms"}
ATTRS_SPELLINGS = ("attrs", "attributes", "meta")
# What runtimes send beside the message, and the name it gets in attrs.
ASIDES = {
    "repository": "repository",
    "issueNumber": "issueNumber",
    "issue_number": "issueNumber",
    "branch": "branch",
    "exit_code": "exit_code",
    "exitCode": "exit_code",
}
# Fields that may hold more than a word; a structure there is shown as JSON.
_PROSE = frozenset({"content", "status", "error"})
_KNOWN = frozenset(
    {name for names in SPELLINGS.values() for name in names} | {*TOOL_SPELLINGS, *ATTRS_SPELLINGS, *ASIDES}
)
_ENVELOPES = ("message", "data")
_SERVERS_ANSWER = "io.nats.jetstream."
_MAX_ENVELOPES = 3

_CONTAINERS = frozenset({dict, list})
_BACKSLASH = ord("\\")
_canonical = msgspec.json.Decoder(Claim)


def read(data: bytes) -> Claim:
    """Read a payload.

    Raises:
        UnfitError: it is no JSON object.
    """
    # What Postgres cannot hold, or might choke on, takes the path that looks at every value.
    # Most payloads hold no escape, and a byte given as a number is found ten times as quickly as a text.
    if _BACKSLASH not in data or b"\\u0000" not in data:
        try:
            claim = _canonical.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            pass
        else:
            attrs, tool = claim.attrs, claim.tool
            if tool and not TOOL_FIELDS.keys().isdisjoint(tool):
                claim.tool = tool = _spelled_alike(tool)
            if (attrs is None or _is_flat(attrs)) and (tool is None or _is_flat(tool)):
                return claim
            if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
                return claim
    return read_tolerantly(data)


def _is_flat(fields: dict[str, Any]) -> bool:
    return _CONTAINERS.isdisjoint(map(type, fields.values()))


def read_tolerantly(data: bytes) -> Claim:
    """Read a payload of any accepted spelling; the same claim as `read`'s where both can.

    Raises:
        UnfitError: it is no JSON object, or none that somebody has said.
    """
    fields = _parse(data)
    if str(fields.get("type")).startswith(_SERVERS_ANSWER):
        # Nobody has said it: whoever may ask JetStream can have it answer on a subject of the stream.
        raise UnfitError(Reason.NO_CONTENT, "The payload is an answer of JetStream's, not a message.")
    fields = _unwrap(fields)
    claim = Claim(tool=_tool(fields))
    for field, spellings in SPELLINGS.items():
        setattr(claim, field, _first_text(fields, spellings, field in _PROSE))
    attrs = _attrs(fields)
    for spelling, name in ASIDES.items():
        if fields.get(spelling) is not None:
            attrs.setdefault(name, fields[spelling])
    if extra := {name: value for name, value in fields.items() if name not in _KNOWN}:
        attrs["extra"] = extra
    claim.attrs = attrs or None
    if claim.message_id and REPLACEMENT in claim.message_id:
        claim.message_id = _told_apart(claim.message_id, data)
    return claim


def _told_apart(message_id: str, data: bytes) -> str:
    """Return an id that tells what was replaced in it: two that differ in nothing else are two messages."""
    said = _loaded(data.decode("utf-8-sig", "surrogateescape"))
    exact = _first_text(_unwrap(said), SPELLINGS["message_id"], prose=False) if isinstance(said, dict) else None
    if exact is None or exact == message_id:
        return message_id
    return f"{message_id}~{blake2b(exact.encode('utf-8', 'surrogatepass'), digest_size=8).hexdigest()}"


def _parse(data: bytes) -> dict[str, Any]:
    try:
        value = storable_json(_loaded(data.decode("utf-8-sig", "replace")))
    except (RecursionError, TooDeepError):
        raise UnfitError(Reason.TOO_DEEP, f"The payload is nested more than {MAX_DEPTH} levels.") from None
    except ValueError as error:
        raise UnfitError(Reason.NOT_JSON, f"The payload is not JSON: {error}.") from None
    if not isinstance(value, dict):
        kind = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(type(value), "a number")
        raise UnfitError(Reason.NOT_AN_OBJECT, f"The payload is {kind}, not a JSON object.")
    return value


def _loaded(text: str) -> Any:
    return json.loads(text, parse_int=_int, parse_float=_float, parse_constant=str)


def _int(digits: str) -> int | str:
    # A number that 64 bits can't hold is kept as its text.
    return int(digits) if len(digits) < 19 else digits


def _float(digits: str) -> float | str:
    value = float(digits)
    return value if math.isfinite(value) else digits


def _unwrap(fields: dict[str, Any]) -> dict[str, Any]:
    for _ in range(_MAX_ENVELOPES):
        name = next((name for name in _ENVELOPES if isinstance(fields.get(name), dict)), None)
        if name is None or (name == "data" and _first_text(fields, SPELLINGS["content"], prose=True)):
            break
        outer = {key: value for key, value in fields.items() if key != name}
        fields = {**outer, **fields[name]}
    return fields


def _first_text(fields: dict[str, Any], spellings: tuple[str, ...], prose: bool) -> str | None:
    for spelling in spellings:
        text = _text(fields.get(spelling), prose)
        if text is not None and not text.isspace() and text:
            return text
    return None


def _text(value: Any, prose: bool) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if prose and isinstance(value, dict) and isinstance(value.get("message"), str):
        return value["message"]  # type: ignore[no-any-return]  # just seen to be a string
    return json.dumps(value, ensure_ascii=False) if prose else None


def _tool(fields: dict[str, Any]) -> dict[str, Any] | None:
    for spelling in TOOL_SPELLINGS:
        value = fields.get(spelling)
        if isinstance(value, dict) and value:
            return _spelled_alike(value)
        if isinstance(value, str) and value.strip():
            return {"name": value}
    return None


def _spelled_alike(tool: dict[str, Any]) -> dict[str, Any]:
    """Return what is said of a tool with its fields by their own names; one that is there by that keeps its value."""
    renamed = {other: name for other, name in TOOL_FIELDS.items() if other in tool and tool.get(name) is None}
    kept = {name: value for name, value in tool.items() if name not in renamed.values()}
    return {renamed.get(name, name): value for name, value in kept.items()}


def _attrs(fields: dict[str, Any]) -> dict[str, Any]:
    attrs: dict[str, Any] = {}
    for spelling in reversed(ATTRS_SPELLINGS):
        value = fields.get(spelling)
        if isinstance(value, dict):
            attrs |= value
        elif value is not None:
            # Not an object, but somebody meant something by it.
            attrs[spelling] = value
    return attrs
