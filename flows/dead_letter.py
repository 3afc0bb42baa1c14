"""What could not become a row, with its bytes and the reason."""

from enum import StrEnum
from typing import Any

from msgspec import Struct


class Reason(StrEnum):
    """Why, as a code."""

    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    TOO_DEEP = "too_deep"
    TOO_LARGE = "too_large"
    NO_CONTENT = "no_content"
    NO_WORKFLOW = "no_workflow"
    NAME_TOO_LONG = "name_too_long"
    UNKNOWN_SUBJECT = "unknown_subject"
    # By its word about the data, or by failing again and again where others are stored.
    REFUSED_BY_POSTGRES = "refused_by_postgres"


class DeadLetter(Struct, frozen=True, gc=False):
    """One row of `workflow_comms.dead_letters`.

    Attributes:
        detail: one sentence for a person.
        stored_at: when the stream stored it, nanoseconds since the Unix epoch.
        deliveries: how often the server has delivered it.
        dedupe_key: the same for each delivery of the same stored message.
        reply: the ack subject that the message still holds.
        redacted: the kinds of the credentials that were replaced in it.
    """

    subject: str
    headers: dict[str, Any]
    payload: bytes
    reason: Reason
    detail: str
    stream_seq: int
    stored_at: int
    deliveries: int
    dedupe_key: str
    reply: str = ""
    redacted: tuple[str, ...] = ()


class UnfitError(ValueError):
    """A payload cannot become a row; carries the reason and the sentence."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
