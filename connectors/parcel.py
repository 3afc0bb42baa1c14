"""A message on its way, and its ticket while it is under way."""

from typing import NamedTuple

from msgspec import Struct


class Parcel(Struct, frozen=True, array_like=True):
    """A message on its way, and where it comes from.

    Attributes:
        origin: what the message was read from; empty where nothing can read it again.
        line: the message's place there.
        counts: whether it stands for that line; copies and words of our own don't.
    """

    subject: str
    payload: bytes
    message_id: str
    origin: str = ""
    line: int = 0
    counts: bool = False


class Ticket(NamedTuple):
    """A parcel that was taken: its place in the queue, and the line that it stands for."""

    segment: int
    begin: int
    end: int
    origin: str
    line: int
    counts: bool
