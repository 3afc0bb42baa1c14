"""What is said a second time while the first is on its way."""

from msgspec import Struct


class Duplicate(Struct, frozen=True, gc=False):
    """A message that is on its way already; it only needs its ack, after the other's commit.

    Attributes:
        size: it holds no bytes of the payload.
    """

    reply: str
    size: int = 0
