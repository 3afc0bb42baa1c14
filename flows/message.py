"""What an agent said: the row that is stored, and the event that is shown."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    # Not at run time: who only reads messages shall not wait for a client of NATS.
    from connectors.delivery import JetStreamMessage

CHANNEL_RUN = "run"
CHANNEL_GENERAL = "general"
DEFAULT_NAMESPACE = "agents"
PERSON = "person"


class Message(Struct, frozen=True, gc=False):
    """One agent communication, normalized: one row of `workflow_comms.agent_messages`.

    Attributes:
        workflow_uid: absent only in the general channel, where nobody has to name a run.
        timestamp: aware, UTC.
        attrs: JSON object; holds `tool` where there is one.
        dedupe_key: the identity of the row (see `flows.identity`).
        origin: the delivery it was made of, which waits for its ack; None where nothing does.
        stored_at: when the stream stored it, nanoseconds since the Unix epoch; 0 where no stream has.
    """

    workflow_uid: str | None
    workflow_name: str | None
    workflow_namespace: str
    run_id: str | None
    step_id: str | None
    agent_id: str
    role: str
    kind: str
    timestamp: datetime
    channel: str
    stage: str | None
    content: str
    attrs: dict[str, Any]
    dedupe_key: str
    origin: JetStreamMessage | None = None
    stored_at: int = 0

    @property
    def reply(self) -> str:
        """The ack subject; empty where nothing waits for an ack."""
        return self.origin.reply if self.origin else ""

    @property
    def size(self) -> int:
        """Bytes of the payload, for bounding batches."""
        return len(self.origin.data) if self.origin else len(self.content)


class Event(Struct, frozen=True):
    """A stored message as clients get it; the JSON object of the live and the query API.

    Attributes:
        seq: the live cursor, which grows with every commit.
        tool: `attrs.tool` once more, where it is looked for.
    """

    id: str
    seq: int
    workflow_uid: str | None
    workflow_name: str | None
    workflow_namespace: str
    run_id: str | None
    step_id: str | None
    agent_id: str
    role: str
    kind: str
    timestamp: datetime
    channel: str
    stage: str | None
    content: str
    tool: dict[str, Any] | None
    attrs: dict[str, Any]
    created_at: datetime
