"""A message as JetStream delivered it, and what its ack subject says."""

from datetime import UTC, datetime

from msgspec import Struct

from connectors.headers import parse_headers


class JetStreamMessage(Struct, frozen=True, gc=False):
    """A delivered message that carries its ack.

    Attributes:
        reply: publish `+ACK` here once the message is safe.
        header_block: the headers as they came; most readers never look.
    """

    subject: str
    data: bytes
    reply: str
    header_block: bytes = b""

    @property
    def headers(self) -> dict[str, str]:
        """The headers, read anew at each call."""
        return parse_headers(self.header_block)

    @property
    def stored_at(self) -> int:
        """When the stream stored it, nanoseconds since the Unix epoch; without reading the rest of the reply."""
        tokens = self.reply.split(".")
        return int(tokens[7] if len(tokens) == 9 else tokens[9])

    def delivery(self) -> "Delivery":
        """Return what the server says of this delivery."""
        return Delivery.parse(self.reply)


class Delivery(Struct, frozen=True, gc=False):
    """One delivery of one stored message.

    Attributes:
        deliveries: how often it has been delivered, this time included.
        stored_at: when the stream stored it, nanoseconds since the Unix epoch.
    """

    deliveries: int
    stream_seq: int
    stored_at: int

    @classmethod
    def parse(cls, reply: str) -> "Delivery":
        """Read an ack subject of either layout (ADR-15): 9 tokens, or 11 and more.

        Raises:
            ValueError: it is no ack subject.
        """
        tokens = reply.split(".")
        if len(tokens) < 9 or tokens[0] != "$JS" or tokens[1] != "ACK":
            message = f"not an ack subject: {reply!r}"
            raise ValueError(message)
        first = 4 if len(tokens) == 9 else 6
        return cls(deliveries=int(tokens[first]), stream_seq=int(tokens[first + 1]), stored_at=int(tokens[first + 3]))

    @property
    def stored_time(self) -> datetime:
        """`stored_at` as an aware time, UTC, to the microsecond."""
        seconds, nanoseconds = divmod(self.stored_at, 1_000_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1000)
