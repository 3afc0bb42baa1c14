"""What the client of a socket may ask: one JSON object a frame, told apart by its `op`."""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

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


class _Watch(_Operation, frozen=True, rename="camel"):
    """What is watched, and by which name."""

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

    @property
    def place(self) -> tuple[str | None, Scope]:
        """What tells whether the same is asked for: a run's name that has still to be looked up, and the scope."""
        return self.run or None, self.scope()


class Subscribe(_Watch, frozen=True, tag="subscribe"):
    """Watch a run or the general channel: the newest `limit` messages, or what follows `lastEventId`, then live."""

    def start(self) -> Start:
        """Return where the client goes on."""
        return Start(*parameters.cursor(None if self.last_event_id is None else str(self.last_event_id)))


class Unsubscribe(_Watch, frozen=True, tag="unsubscribe"):
    """Watch no longer what has this name, or what was subscribed in these words; where to go on is none of them."""

    @property
    def names_a_place(self) -> bool:
        """Whether it says what was subscribed, be it beside a name."""
        return replace(self, id=None, last_event_id=None, limit=None) != Unsubscribe()

    def is_of(self, name: str, asked: Subscribe) -> bool:
        """Whether a subscription is meant; where a name and a place are there, both have to be its own.

        Raises:
            Problem: it names no run, and not the general channel.
        """
        return self.id in (None, name) and (not self.names_a_place or self.place == asked.place)


class Ping(_Operation, frozen=True, tag="ping"):
    """Say that you live."""


class Publish(Struct, frozen=True):
    """Say something, as `POST /api/agents/messages` takes it.

    Attributes:
        body: the payload, JSON.
        by_run: whether its run was named by `run`, as in what is subscribed.
    """

    body: bytes
    by_run: bool = False


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
        return _publish(fields)
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


def _publish(fields: dict[str, Any]) -> Publish:
    """Return what is to be said; a run may be named as in what is subscribed, by any of its names."""
    if "run" not in fields:
        return Publish(msgspec.json.encode(fields))
    for name in ("runId", "run_id"):
        if name in fields:
            message = f"run: it is there as {name}, too."
            raise Unreadable(message, "run", "publish")
    fields["run_id"] = fields.pop("run")
    return Publish(msgspec.json.encode(fields), by_run=True)


def _in_words(error: Exception) -> str:
    return str(error).partition(" - at ")[0] or type(error).__name__
