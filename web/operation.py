"""What the client of a socket may ask: one JSON object a frame, told apart by its `op`."""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from flows.message import CHANNEL_RUN
from web import parameters
from web.problems import Problem
from web.queries import Scope
from web.stream import Start

Text = Annotated[str, Meta(max_length=parameters.LONGEST, pattern=r"\A[^\x00]*\Z")]
# The client's own name of a subscription.
Name = Annotated[str, Meta(min_length=1, max_length=100)]

_FIELD = re.compile(r"`\$\.(\w+)|field `(\w+)`")


class _Operation(Struct, forbid_unknown_fields=True, frozen=True, tag_field="op"):
    """What all of them have in common."""


class Subscribe(_Operation, frozen=True, tag="subscribe", rename="camel"):
    """Watch a run or the general channel: the newest `limit` messages, or what follows `lastEventId`, then live."""

    id: Name | None = None
    run: Text | None = None
    channel: Literal["run", "general"] | None = None
    include: Literal["general"] | None = None
    workflow_namespace: Text | None = None
    workflow_uid: Text | None = None
    workflow_name: Text | None = None
    agent_id: Text | None = None
    kind: Text | None = None
    last_event_id: str | int | None = None
    limit: Annotated[int, Meta(ge=1)] | None = None

    def scope(self) -> Scope:
        """Return which messages are asked for.

        Raises:
            Problem: no run is named.
        """
        channel = self.channel or CHANNEL_RUN
        if channel == CHANNEL_RUN and not (self.run or self.workflow_uid or self.workflow_name):
            message = "run is missing: name one by run, workflowUid or workflowName, or ask for channel general."
            raise Problem(message, "run")
        return Scope(
            channel=channel,
            workflow_namespace=self.workflow_namespace or None,
            workflow_uid=self.workflow_uid or None,
            workflow_name=self.workflow_name or None,
            agent_id=self.agent_id or None,
            kinds=tuple(word.strip() for word in (self.kind or "").split(",") if word.strip()),
            general=self.include is not None and channel == CHANNEL_RUN,
        )

    def start(self) -> Start:
        """Return where the client goes on."""
        return Start(*parameters.cursor(None if self.last_event_id is None else str(self.last_event_id)))


class Unsubscribe(_Operation, frozen=True, tag="unsubscribe"):
    """Watch it no longer."""

    id: Name


class Ping(_Operation, frozen=True, tag="ping"):
    """Say that you live."""


class Publish(Struct, frozen=True):
    """Say something, as `POST /api/agents/messages` takes it.

    Attributes:
        body: the payload, JSON.
    """

    body: bytes


_decoder: msgspec.json.Decoder[Subscribe | Unsubscribe | Ping] = msgspec.json.Decoder(Subscribe | Unsubscribe | Ping)
_fields = msgspec.json.Decoder(dict[str, Any]).decode


class Unreadable(Problem):
    """A frame is no operation.

    Args:
        op: what it wants to be, where that can be told.
    """

    def __init__(self, error: str, parameter: str | None, op: str | None) -> None:
        super().__init__(error, parameter)
        self.op = op


def read(frame: str | bytes) -> Subscribe | Unsubscribe | Ping | Publish:
    """Read a frame.

    Raises:
        Unreadable: it is no operation.
    """
    if isinstance(frame, bytes):
        message = "frame: it takes text, but got bytes."
        raise Unreadable(message, "frame", None)
    try:
        fields = _fields(frame)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        message = f"frame: it takes a JSON object: {_in_words(error)}."
        raise Unreadable(message, "frame", None) from error
    op = fields.pop("op", None)
    if op == "publish":
        return Publish(msgspec.json.encode(fields))
    if op not in ("subscribe", "unsubscribe", "ping"):
        message = "op: it takes subscribe, unsubscribe, publish or ping."
        raise Unreadable(message, "op", op if isinstance(op, str) else None)
    try:
        return _decoder.decode(frame)
    except msgspec.MsgspecError as error:
        found = _FIELD.search(str(error))
        parameter = (found[1] or found[2]) if found else "id"
        message = f"{parameter}: {_in_words(error)}."
        raise Unreadable(message, parameter, op) from error


def _in_words(error: Exception) -> str:
    return str(error).partition(" - at ")[0] or type(error).__name__
