"""What a publisher sends: who speaks, from the settings, and what is said, as one payload on its subject."""

import uuid
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import Meta, Struct

from flows import subject
from flows.dead_letter import UnfitError
from flows.fit import fit
from flows.message import CHANNEL_GENERAL, CHANNEL_RUN, PERSON
from flows.normalize import DEFAULT_KIND, MAX_NAME, ROLES, TOOL_KINDS, default_role
from flows.settings import SettingError, Settings
from flows.spelling import Claim, read
from flows.text import MAX_DEPTH, TooDeepError, storable, storable_json

# The headers of a message, and the names of the fields that are cut.
_BESIDE_BYTES = 512

# Settings that become names in every message.
_NAMES = (
    "workflow_namespace",
    "workflow_name",
    "workflow_uid",
    "agent_id",
    "run_id",
    "workflow_step",
    "workflow_stage",
)

Name = Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]


class PayloadError(ValueError):
    """Something can't be said like this; the text is one line."""


class Speaker(Struct, frozen=True):
    """Who publishes: what fills in what a message doesn't say itself."""

    prefix: str
    namespace: str
    name: str
    uid: str
    agent: str
    role: str | None = None
    run_id: str | None = None
    step: str | None = None
    stage: str | None = None
    runtime: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Read the speaker off the settings; a missing uid is the name, and the other way round.

        Raises:
            SettingError: the settings name no workflow, or what no message may carry.
        """
        if settings.workflow_namespace == CHANNEL_GENERAL:
            # Whoever may publish for it may publish for all: its subjects begin like the shared room's.
            message = "WORKFLOW_NAMESPACE: general is the shared room's name in subjects and no namespace; take another"
            raise SettingError(message)
        if settings.agent_id == PERSON:
            message = f"AGENT_ID: {PERSON} is kept for what people say in the pages"
            raise SettingError(message)
        for field in _NAMES:
            if len(getattr(settings, field) or "") > MAX_NAME:
                message = f"{field.upper()}: it takes {MAX_NAME} characters at most"
                raise SettingError(message)
        name = settings.workflow_name or settings.workflow_uid
        uid = settings.workflow_uid or settings.workflow_name
        if name is None or uid is None:
            message = "WORKFLOW_UID or WORKFLOW_NAME: a publisher needs one of them to say which workflow speaks"
            raise SettingError(message)
        return cls(
            prefix=settings.nats_subject_prefix,
            namespace=settings.workflow_namespace,
            name=name,
            uid=uid,
            agent=settings.agent_id,
            role=settings.agent_role,
            run_id=settings.run_id,
            step=settings.workflow_step,
            stage=settings.workflow_stage,
            runtime=settings.agent_runtime,
        )


class Payload(Struct, omit_defaults=True, kw_only=True):
    """One thing an agent said, as a publisher sends it: one JSON object, UTF-8."""

    message_id: Annotated[str, Meta(min_length=1, description="The message's identity: the same id is the same row.")]
    workflow_uid: Annotated[Name, Meta(description="Of the workflow, unique in its namespace.")]
    workflow_name: Annotated[Name, Meta(description="Of the workflow, for people.")]
    workflow_namespace: Annotated[Name, Meta(description="Of the workflow.")]
    agent_id: Annotated[Name, Meta(description="Who speaks, always by the same name: planner, executor, reviewer.")]
    kind: Annotated[
        Name, Meta(description="message, tool_call, tool_result, status, error; any other is kept as it comes.")
    ]
    timestamp: Annotated[str, Meta(description="RFC 3339, with an offset.", extra_json_schema={"format": "date-time"})]
    channel: Annotated[
        Literal["run", "general"] | None, Meta(description="The subject decides; this repeats what it says.")
    ] = None
    role: Annotated[
        Literal["system", "user", "assistant", "tool"] | None, Meta(description="By default the kind decides.")
    ] = None
    run_id: Annotated[Name | None, Meta(description="Where it differs from the uid.")] = None
    step_id: Annotated[Name | None, Meta(description="The step the agent works in.")] = None
    stage: Annotated[Name | None, Meta(description="The stage the agent works in.")] = None
    runtime: Annotated[str | None, Meta(description="native, where nothing else is said.")] = None
    content: Annotated[str | None, Meta(description="Text, Markdown; may carry ANSI colour.")] = None
    status: Annotated[str | None, Meta(description="A word on how things stand.")] = None
    error: Annotated[str | None, Meta(description="What went wrong, where there is no content.")] = None
    tool: Annotated[dict[str, Any] | None, Meta(description="name, input, output, status, exit_code, duration_ms.")] = (
        None
    )
    attrs: Annotated[dict[str, Any] | None, Meta(description="Whatever else there is to say.")] = None


# Not at its first use: threads may have theirs at once, which msgspec doesn't survive.
_payload = msgspec.json.Decoder(Payload)


def schema() -> dict[str, Any]:
    """Return the payload's JSON Schema."""
    made = msgspec.json.schema(Payload)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:agent-comms:payload",
        **made["$defs"]["Payload"],
    }


class Outgoing(Struct, frozen=True):
    """A message, ready to be published."""

    subject: str
    payload: bytes
    message_id: str


def read_line(line: bytes) -> Claim:
    """Read a payload that somebody else wrote, in any accepted spelling.

    Raises:
        PayloadError: it is no JSON object.
    """
    try:
        return read(line)
    except UnfitError as unfit:
        raise PayloadError(unfit.detail) from unfit


def compose(speaker: Speaker, said: Claim, *, general: bool = False) -> Outgoing:
    """Return the message that says something, with what it doesn't say filled in from its speaker.

    Args:
        speaker: who publishes.
        said: what is said; only `content` is needed. A workflow it names itself is not mixed with the speaker's.
        general: into the shared room rather than the run, where `said.channel` names neither.

    Raises:
        PayloadError: a reader could make nothing of it.
    """
    kind = said.kind or DEFAULT_KIND
    channel = said.channel or (CHANNEL_GENERAL if general else CHANNEL_RUN)
    own = said.workflow_uid or said.workflow_name
    message_id = said.message_id or uuid.uuid4().hex
    fields = {
        "message_id": message_id,
        "workflow_uid": said.workflow_uid or own or speaker.uid,
        "workflow_name": said.workflow_name or own or speaker.name,
        "workflow_namespace": said.workflow_namespace or speaker.namespace,
        "agent_id": said.agent_id or speaker.agent,
        "kind": kind,
        "timestamp": said.timestamp or now(),
        "channel": channel,
        "role": said.role or speaker.role or default_role(kind),
        "run_id": said.run_id or (None if own else speaker.run_id),
        "step_id": said.step_id or speaker.step,
        "stage": said.stage or speaker.stage,
        "runtime": said.runtime or speaker.runtime,
        "content": said.content,
        "status": said.status,
        "error": said.error,
        "tool": said.tool,
        "attrs": said.attrs,
    }
    _check(fields)
    return Outgoing(subject=_subject(speaker.prefix, fields), payload=_encoded(fields), message_id=message_id)


def _encoded(fields: dict[str, Any]) -> bytes:
    try:
        data = msgspec.json.encode(Payload(**fields))
        # What Postgres can't hold, or might choke on, takes the path that looks at every value.
        if b"\\u0000" not in data and data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
            return data
    except UnicodeEncodeError:
        pass
    except (TypeError, OverflowError, RecursionError) as error:
        raise PayloadError(" ".join(str(error).split())) from error
    try:
        return msgspec.json.encode(Payload(**_storable(fields)))
    except (TooDeepError, UnicodeEncodeError) as error:
        raise PayloadError(" ".join(str(error).split())) from error


def _storable(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: storable(value) if isinstance(value, str) else storable_json(value) for name, value in fields.items()}


def shrink(payload: bytes, limit: int) -> bytes | None:
    """Return a payload that a server takes, its longest parts cut; None where it can't be.

    Args:
        payload: as `compose` made it.
        limit: bytes of a message, headers included.
    """
    fields = _payload.decode(payload)
    claim = Claim(content=fields.content, tool=fields.tool, attrs=fields.attrs)
    attrs = fields.attrs or {}
    whole = f"line {attrs['line']} of {attrs['artifact']}" if {"line", "artifact"} <= attrs.keys() else ""
    fields.content = fields.tool = fields.attrs = None
    if not fit(claim, limit - len(msgspec.json.encode(fields)) - _BESIDE_BYTES, whole):
        return None
    fields.content, fields.tool, fields.attrs = claim.content, claim.tool, claim.attrs
    return msgspec.json.encode(fields)


def now() -> str:
    """Return this moment as the payload's `timestamp`."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


# One agent says most of it, in a handful of kinds.
_run_subject = lru_cache(maxsize=1_024)(subject.format_run)


def _subject(prefix: str, fields: dict[str, Any]) -> str:
    if fields["channel"] == CHANNEL_GENERAL:
        return subject.format_general(prefix, fields["kind"])
    return _run_subject(
        prefix,
        fields["workflow_namespace"],
        fields["workflow_name"],
        fields["workflow_uid"],
        fields["agent_id"],
        fields["kind"],
    )


def needs_content(said: Claim) -> bool:
    """Say whether words are wanted: a status, and a tool's call or result with its tool, say something without."""
    return _needs_words(said.kind or DEFAULT_KIND, said.tool)


def _needs_words(kind: str, tool: dict[str, Any] | None) -> bool:
    return not (kind == "status" or (tool and kind in TOOL_KINDS))


def _check(fields: dict[str, Any]) -> None:
    """Refuse what a reader would make a dead letter, and what it would take for another's word."""
    message = None
    words = any(str(fields[name] or "").strip() for name in ("content", "status", "error"))
    if not words and _needs_words(fields["kind"], fields["tool"]):
        message = "there is no content"
    elif fields["role"] not in ROLES:
        message = f"role: it takes {', '.join(sorted(ROLES))}, but got {fields['role']!r}"
    elif fields["channel"] not in (CHANNEL_RUN, CHANNEL_GENERAL):
        message = f"channel: it takes {CHANNEL_RUN} or {CHANNEL_GENERAL}, but got {fields['channel']!r}"
    elif fields["workflow_namespace"] == CHANNEL_GENERAL:
        message = f"workflow_namespace: {CHANNEL_GENERAL} is the shared room's name in subjects and no namespace"
    elif fields["agent_id"] == PERSON:
        message = f"agent_id: {PERSON} is kept for what people say in the pages"
    for name in (
        "workflow_uid",
        "workflow_name",
        "workflow_namespace",
        "agent_id",
        "kind",
        "run_id",
        "step_id",
        "stage",
    ):
        if len(fields[name] or "") > MAX_NAME:
            message = f"{name}: it takes {MAX_NAME} characters at most"
    if message:
        raise PayloadError(message)
