"""What a person says: into a run or into the general channel, by way of NATS as everybody else."""

from http import HTTPStatus
from uuid import uuid4

import msgspec
from msgspec import Struct

from connectors.connection import NatsUnavailable
from connectors.puback import PublishError, TooLarge
from flows import subject
from flows.dead_letter import UnfitError
from flows.message import CHANNEL_GENERAL, CHANNEL_RUN, PERSON
from flows.normalize import MAX_NAME
from flows.payload import now
from flows.spelling import Claim, read
from flows.text import storable_json
from web.audit import Audit
from web.door import check_namespace
from web.history import UNANSWERED
from web.limits import Limit
from web.link import Link
from web.person import Person
from web.problems import Problem
from web.queries import Reader, RunRow
from web.sight import current

KIND = "message"
ROLE = "user"
_NAMES = ("message_id", "workflow_uid", "workflow_name", "workflow_namespace", "run_id", "step_id", "stage")


class _Place(Struct, frozen=True):
    """Where something is said; in the general channel a workflow need not be named."""

    channel: str
    namespace: str
    name: str | None = None
    uid: str | None = None
    run_id: str | None = None

    def subject(self, prefix: str) -> str:
        if self.channel == CHANNEL_GENERAL:
            return subject.format_general_person(prefix, self.namespace, KIND)
        return subject.format_run(prefix, self.namespace, self.name, self.uid, PERSON, KIND)


class Speech:
    """Publishes what people say; it is shown once it comes back through the flow.

    Args:
        link: to NATS.
        reader: knows the runs.
        prefix: of the subjects.
        max_bytes: of a payload; the flow takes no larger one.
        limit: how often one reader may say something.
        audit: notes who said something.

    Attributes:
        max_bytes: of a payload.
    """

    def __init__(self, link: Link, reader: Reader, prefix: str, max_bytes: int, limit: Limit, audit: Audit) -> None:
        self._link = link
        self._reader = reader
        self._prefix = prefix
        self.max_bytes = max_bytes
        self._limit = limit
        self._audit = audit

    def say(self, body: bytes, person: Person, source: str) -> str:
        """Publish a message and return its id, under which it can be sent again without being said twice.

        Args:
            body: a payload as runtimes send it, of which `content` and a place are needed. Whatever it claims of
                its speaker, a person does.
            person: who that is; they speak where what is in sight here is theirs to speak in.
            source: the address that they came from.

        Raises:
            Problem: it can't be said, or NATS is away.
        """
        self._limit.take(person.name or source)
        claim = _read(body)
        place = self._place(claim)
        message_id = claim.message_id or uuid4().hex
        payload = _payload(claim, place, message_id, person.name)
        if len(payload) > self.max_bytes:
            message = f"content: the message may have {self.max_bytes:,} bytes, but has {len(payload):,}."
            raise _too_large(message)
        # Before it is done: whoever says something is answered before it comes back to them.
        self._audit.note("said", person, source, place.namespace, message_id, channel=place.channel, run=place.uid)
        try:
            self._link.publish(place.subject(self._prefix), payload, message_id)
        except TooLarge as error:
            message = f"content: {error}."
            self._audit.note("not-sent", person, source, place.namespace, message_id)
            raise _too_large(message) from error
        except (NatsUnavailable, PublishError) as error:
            self._audit.note("not-sent", person, source, place.namespace, message_id)
            # Where NATS is and what it says are for whoever runs this: they are in the log and at /readyz.
            why = "NATS can't be reached at the moment" if isinstance(error, NatsUnavailable) else str(error)
            sentence = f"The message was not sent: {why}. Send it again with the same message_id: {message_id}"
            raise Problem(sentence, None, HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "3"}) from error
        return message_id

    def _place(self, claim: Claim) -> _Place:
        namespace = claim.workflow_namespace
        if namespace == CHANNEL_GENERAL:
            message = f"workflow_namespace: {CHANNEL_GENERAL} is the shared room's name in subjects and no namespace."
            raise Problem(message, "workflow_namespace")
        if namespace:
            check_namespace(current(), namespace, "workflow_namespace")
        if claim.channel == CHANNEL_GENERAL:
            return _Place(
                CHANNEL_GENERAL,
                namespace or current().home,
                claim.workflow_name,
                claim.workflow_uid,
                claim.run_id,
            )
        found = self._find(claim)
        if found is not None:
            return _Place(CHANNEL_RUN, found.workflow_namespace, found.workflow_name, found.workflow_uid, found.run_id)
        uid, name = claim.workflow_uid or claim.workflow_name, claim.workflow_name or claim.workflow_uid
        if uid is None:
            message = "run_id: no run has this id."
            raise Problem(message, "run_id", HTTPStatus.NOT_FOUND)
        # Nobody has spoken in it yet, or Postgres doesn't say.
        return _Place(CHANNEL_RUN, namespace or current().home, name, uid, claim.run_id)

    def _find(self, claim: Claim) -> RunRow | None:
        others = {"workflow_uid": claim.workflow_uid, "workflow_name": claim.workflow_name}
        given = next((name for name in (*others.values(), claim.run_id) if name), "")
        try:
            match = self._reader.run(given, claim.workflow_namespace)
        except UNANSWERED:
            if claim.workflow_uid and claim.workflow_name:
                return None
            raise
        for run in filter(None, [match.run, *match.others]):
            # As everywhere, a run's id may be any of its names.
            ids = (None, run.run_id, run.workflow_uid, run.workflow_name)
            if claim.run_id in ids and all(value in (None, getattr(run, field)) for field, value in others.items()):
                return run
        return None


def _read(body: bytes) -> Claim:
    try:
        claim = read(body)
    except UnfitError as unfit:
        message = f"body: {unfit.detail}"
        raise Problem(message, "body") from unfit
    for field in _NAMES:
        name = getattr(claim, field)
        if name and name.isspace():
            message = f"{field}: it is empty."
            raise Problem(message, field)
        if len(name or "") > MAX_NAME:
            message = f"{field}: it takes {MAX_NAME} characters at most."
            raise Problem(message, field)
    _check(claim)
    return claim


def _check(claim: Claim) -> None:
    if not (claim.content or "").strip():
        message = "content: there is none."
        raise Problem(message, "content")
    if claim.kind not in (None, KIND):
        message = f"kind: a person says a {KIND}, but got {claim.kind!r}."
        raise Problem(message, "kind")
    if claim.channel not in (None, CHANNEL_RUN, CHANNEL_GENERAL):
        message = f"channel: it takes {CHANNEL_RUN} or {CHANNEL_GENERAL}, but got {claim.channel!r}."
        raise Problem(message, "channel")
    if claim.channel != CHANNEL_GENERAL and not (claim.workflow_uid or claim.workflow_name or claim.run_id):
        message = f"channel: name a run by workflow_uid, workflow_name or run_id, or say {CHANNEL_GENERAL}."
        raise Problem(message, "channel")


def _payload(claim: Claim, place: _Place, message_id: str, author: str | None) -> bytes:
    # Who says it is our word, so nobody else's claim to it is sent on.
    attrs = {name: value for name, value in (claim.attrs or {}).items() if name != "author"}
    if author is not None:
        attrs["author"] = author
    fields = {
        "message_id": message_id,
        "workflow_uid": place.uid,
        "workflow_name": place.name,
        "workflow_namespace": place.namespace,
        "agent_id": PERSON,
        "kind": KIND,
        # Ours: a clock that goes wrong would put what was said in a place where nobody reads it.
        "timestamp": now(),
        "channel": place.channel,
        "role": ROLE,
        "run_id": place.run_id,
        "step_id": claim.step_id,
        "stage": claim.stage,
        "content": claim.content,
        "attrs": attrs or None,
    }
    present = {name: value for name, value in fields.items() if value is not None}
    return msgspec.json.encode(storable_json(present))


def _too_large(sentence: str) -> Problem:
    return Problem(sentence, "content", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
