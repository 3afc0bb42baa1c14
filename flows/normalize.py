"""Makes a row of what arrived on a subject, or says why it can't.

The subject is trusted, since NATS permissions guard it; the payload is a claim.
Where the two differ the subject wins, and the claim is kept in `attrs.claimed`.
"""

import unicodedata
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from connectors.delivery import JetStreamMessage
from flows import identity, unsaid
from flows.dead_letter import DeadLetter, Reason, UnfitError
from flows.message import CHANNEL_RUN, DEFAULT_NAMESPACE, PERSON, Message
from flows.spelling import Claim, read
from flows.subject import Subject, parse
from flows.text import storable

ROLES = frozenset({"system", "user", "assistant", "tool"})
TOOL_KINDS = frozenset({"tool_call", "tool_result"})
SYSTEM_KINDS = frozenset({"status", "error"})
UNKNOWN_AGENT = "unknown"
DEFAULT_KIND = "message"
DEFAULT_RUNTIME = "native"
STATUS_WITHOUT_CONTENT = "status update"
# The longest Kubernetes name has 253 characters; longer keys would not fit an index.
MAX_NAME = 256
# Clocks differ, but none by more: such a time would keep its run on top of every list.
MAX_AHEAD_S = 86_400
# No agent has spoken before: it is the zero of a program that has set no time.
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
# Set by us alone: what a payload puts there would pass for our word.
RESERVED_ATTRS = frozenset(
    {"claimed", "identity", "redacted", "timestamp_given", "role_given", "run_id_given", "forged", "traceparent"}
)


class Identity(Struct, frozen=True, gc=False):
    """Who speaks, in which workflow, and what the payload claimed beyond that.

    Attributes:
        role: of a message that names none.
        word: whose word it is, where it isn't the subject's alone.
        scope: where the message's key has to be unique.
        claimed: shared by all messages of the same identity; never changed.
    """

    namespace: str
    uid: str | None
    name: str | None
    agent: str
    kind: str
    role: str
    word: str | None
    scope: identity.Scope
    claimed: dict[str, str]


def normalize(message: JetStreamMessage, max_bytes: int) -> Message | DeadLetter:
    """Return the row of a delivered message, or the dead letter; never raises.

    Args:
        message: as it was delivered.
        max_bytes: a larger payload is refused.
    """
    try:
        if len(message.data) > max_bytes:
            detail = f"The message has {len(message.data):,} bytes; {max_bytes:,} are allowed."
            raise UnfitError(Reason.TOO_LARGE, detail)
        subject = parse(message.subject)
        if subject is None:
            raise UnfitError(Reason.UNKNOWN_SUBJECT, "The subject has no shape that is known.")
        return _row(subject, read(message.data), message)
    except UnfitError as unfit:
        return dead_letter(message, unfit)


def dead_letter(message: JetStreamMessage, unfit: UnfitError) -> DeadLetter:
    """Return what is kept of a message that cannot become a row."""
    delivery = message.delivery()
    return DeadLetter(
        subject=storable(message.subject),
        headers={storable(name): storable(value) for name, value in message.headers.items()},
        payload=message.data,
        reason=unfit.reason,
        detail=storable(unfit.detail),
        stream_seq=delivery.stream_seq,
        stored_at=delivery.stored_at,
        deliveries=delivery.deliveries,
        dedupe_key=identity.key_of_place(delivery.stream_seq, delivery.stored_at),
        reply=message.reply,
    )


def _row(subject: Subject, claim: Claim, message: JetStreamMessage) -> Message:
    # What most messages have is told from what few have before anything is called: every message passes here.
    who = identify(
        message.subject,
        claim.workflow_namespace,
        claim.workflow_name,
        claim.workflow_uid,
        claim.agent_id,
        claim.kind,
        claim.channel,
    )
    content = claim.content
    if not content or content.isspace():
        content = content_of(who.kind, claim)
    given = _time(claim.timestamp)
    stored_at = message.stored_at
    usable = given is not None and EARLIEST <= given <= latest_usable(stored_at // 1_000_000_000)
    message_id = claim.message_id
    if message_id and not message_id.isspace():
        key = who.scope.key_of_id(message_id)
    else:
        key = _key_without_id(who, given, content, message)
    # By their places, in the order of `Message`: sixteen names would take longer than reading the payload.
    return Message(
        who.uid,
        who.name,
        who.namespace,
        run_id_of(claim.run_id) if claim.run_id else None,
        word(claim.step_id) if claim.step_id else None,
        who.agent,
        claim.role if claim.role in ROLES else who.role,
        who.kind,
        given if given and usable else message.delivery().stored_time,
        subject.channel,
        word(claim.stage) if claim.stage else None,
        content,
        attrs_of(claim, subject.runtime, who.word, who.claimed, usable_time=usable),
        key,
        message,
        stored_at,
    )


@lru_cache(maxsize=1_024)
def latest_usable(stored_second: int) -> datetime:
    """Return the latest time that a message stored in some second may give."""
    return datetime.fromtimestamp(stored_second + MAX_AHEAD_S, UTC)


def default_role(kind: str) -> str:
    """Return the role of a message that names none."""
    if kind in TOOL_KINDS:
        return "tool"
    return "system" if kind in SYSTEM_KINDS else "assistant"


def word(text: str | None) -> str | None:
    """Return a text that says something, None for white space alone."""
    return text if text and not text.isspace() else None


# Messages of one agent in one run claim the same, and are most of what comes.
@lru_cache(maxsize=16_384)
def identify(
    arrived_on: str,
    namespace: str | None,
    name: str | None,
    uid: str | None,
    agent: str | None,
    kind: str | None,
    channel: str | None,
) -> Identity:
    """Settle who speaks, from a subject of known shape and the payload's claims.

    Raises:
        UnfitError: a name is missing, or too long.
    """
    subject = parse(arrived_on)
    assert subject is not None  # noqa: S101 - whoever calls has looked
    claimed: dict[str, str] = {}

    def settle(field: str, sure: str | None, said: str | None) -> str | None:
        """Take the subject's word, else the payload's; note where they differ."""
        said = word(said)
        if sure is None:
            return _name(field, said)
        if said is not None and said != sure:
            claimed[field] = said
        return _name(field, sure)

    namespace = settle("workflow_namespace", subject.namespace, namespace)
    name = settle("workflow_name", subject.name, name)
    # A subject that names the workflow and no uid means the name; a payload's uid is no part of it.
    uid = settle("workflow_uid", subject.uid or subject.name, uid) or name
    agent = settle("agent_id", subject.agent, agent)
    if agent is not None and _reads_as_person(agent) and subject.agent != PERSON:
        # Only the web speaks for people, on subjects that nobody else may publish on.
        claimed["agent_id"] = agent
        agent = UNKNOWN_AGENT
    kind = settle("kind", subject.kind, kind) or DEFAULT_KIND
    settle("channel", subject.channel, channel)
    if subject.channel == CHANNEL_RUN and uid is None:
        raise UnfitError(Reason.NO_WORKFLOW, "Neither the subject nor the payload names a workflow.")
    whose = "claimed" if subject.namespace is None else None if subject.authority == "subject" else subject.authority
    namespace = namespace or DEFAULT_NAMESPACE
    if whose:
        # What is only claimed must not take the place of what the server vouches for.
        domain = f"{subject.channel}/{whose}"
    else:
        # Nor must a person who guesses an agent's next id.
        domain = f"{CHANNEL_RUN}/{PERSON}" if subject.agent == PERSON else CHANNEL_RUN
    return Identity(
        namespace=namespace,
        uid=uid,
        name=name or uid,
        agent=agent or UNKNOWN_AGENT,
        kind=kind,
        role=default_role(kind),
        word=whose,
        scope=identity.Scope(domain, namespace, uid),
        claimed=claimed,
    )


def _reads_as_person(agent: str) -> bool:
    """Tell whether people would take a name for `person`, however it is spelled."""
    visible = (char for char in unicodedata.normalize("NFKC", agent) if not _is_invisible(char))
    return "".join(visible).strip(" ._-").casefold() == PERSON


def _is_invisible(char: str) -> bool:
    # Formats, marks upon other characters, and letters and symbols that show as nothing.
    return unicodedata.category(char) in ("Cf", "Mn", "Me") or char in "\u115f\u1160\u2800\u3164\uffa0"


def _name(field: str, text: str | None) -> str | None:
    """Return a name, None for white space alone.

    Raises:
        UnfitError: it is too long for an index.
    """
    if text is None or text.isspace() or not text:
        return None
    if len(text) > MAX_NAME:
        detail = f"`{field}` has {len(text):,} characters; {MAX_NAME} are allowed."
        raise UnfitError(Reason.NAME_TOO_LONG, detail)
    return text


def run_id_of(text: str | None) -> str | None:
    """Return a run's id; None for one that is too long for an index, which is only one of a run's names."""
    return text if text and len(text) <= MAX_NAME and not text.isspace() else None


def content_of(kind: str, claim: Claim) -> str:
    """Return what is said in a message of a kind, where its content says nothing.

    Raises:
        UnfitError: nothing else says anything, either.
    """
    for text in (claim.content, claim.status, claim.error):
        if word(text):
            return text  # type: ignore[return-value]  # a word is no None
    if kind == "status":
        return STATUS_WITHOUT_CONTENT
    if claim.tool and kind in TOOL_KINDS:
        return unsaid.in_words(kind, claim.tool)
    raise UnfitError(Reason.NO_CONTENT, "The payload has no content.")


def _time(text: str | None) -> datetime | None:
    """Read an RFC 3339 time; None where it is none, or one without an offset."""
    if text is None:
        return None
    try:
        time = msgspec.convert(text, datetime)
        if time.tzinfo is None:
            return None
        return time if time.tzinfo is UTC else time.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError, ValueError):
        return None


def attrs_of(
    claim: Claim, runtime: str | None, whose: str | None, claimed: dict[str, str], *, usable_time: bool
) -> dict[str, Any]:
    """Return a row's attrs: the claim's own, changed, with what has no column.

    Args:
        claim: what the payload says.
        runtime: as the subject tells it; None where it doesn't.
        whose: word the identity is, where it isn't the subject's alone.
        claimed: what the payload claims beyond what is sure.
        usable_time: whether the row has the time that the claim gives.
    """
    attrs = claim.attrs or {}
    if not RESERVED_ATTRS.isdisjoint(attrs):
        forged = {name: attrs.pop(name) for name in RESERVED_ATTRS & attrs.keys()}
        attrs["forged"] = forged
    if claim.tool:
        attrs["tool"] = claim.tool
    if claim.status:
        attrs.setdefault("status", claim.status)
    attrs["runtime"] = runtime or word(claim.runtime) or DEFAULT_RUNTIME
    if claim.message_id:
        attrs["message_id"] = claim.message_id
    if whose:
        attrs["identity"] = whose
    if claimed:
        attrs["claimed"] = claimed
    if claim.timestamp and not usable_time:
        attrs["timestamp_given"] = claim.timestamp
    if claim.role and claim.role not in ROLES:
        attrs["role_given"] = claim.role
    if claim.run_id and len(claim.run_id) > MAX_NAME:
        attrs["run_id_given"] = claim.run_id
    return attrs


def _key_without_id(who: Identity, given: datetime | None, content: str, message: JetStreamMessage) -> str:
    if given:
        return who.scope.key_of_content(who.agent, who.kind, given, content)
    delivery = message.delivery()
    return identity.key_of_place(delivery.stream_seq, delivery.stored_at)
