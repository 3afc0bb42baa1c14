"""What is missing, as the message that the ingest would have made of it."""

from msgspec import Struct

from connectors.delivery import Delivery, JetStreamMessage
from flows.message import Message
from flows.missing import Missing
from flows.normalize import normalize
from flows.recovery import Recovery
from flows.settings import Settings
from flows.storage import Ready


class Recovered(Struct, gc=False):
    """A message that is to be stored.

    Attributes:
        run: the number of its run.
        part: of the artifact that it is in.
        ready: with its row, once that is made.
    """

    run: int
    part: int
    message: Message
    ready: Ready | None = None


class _Delivered(JetStreamMessage, frozen=True, gc=False):
    """A message as the stream would have delivered it.

    Attributes:
        placed_at: when the stream would have stored it, nanoseconds since the Unix epoch: what has no time of its own
            takes this one.
    """

    placed_at: int = 0

    @property
    def stored_at(self) -> int:
        """The same, as of what was delivered."""
        return self.placed_at

    def delivery(self) -> Delivery:
        """Return what the server would say of it."""
        return Delivery(deliveries=1, stream_seq=0, stored_at=self.placed_at)


def message_of(missing: Missing, run: Recovery, settings: Settings) -> Message | None:
    """Return what is missing as the message that the ingest makes of it; None where it makes none."""
    subject = run.subject(missing.part, missing.kind, settings.agent_id)
    delivered = _Delivered(subject, missing.claim, "", placed_at=missing.time * 1_000)
    message = normalize(delivered, settings.agent_comms_max_message_bytes)
    if not isinstance(message, Message):
        return None
    message.attrs["timestamp_source"] = missing.source
    return message
