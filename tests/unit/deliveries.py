"""Messages as the server would deliver them, for tests of pure steps."""

import json
from typing import Any

from connectors.delivery import JetStreamMessage

RUN_SUBJECT = "workflow.agents.fix-login.uid-1.agent.planner.message"
STORED_AT = 1_795_500_000_123_456_789
LIMIT = 1_048_576


def reply(stream_seq: int = 7, deliveries: int = 1, stored_at: int = STORED_AT) -> str:
    return f"$JS.ACK.agent-comms.jangar-agent-comms.{deliveries}.{stream_seq}.{stream_seq}.{stored_at}.0"


def delivered(
    payload: dict[str, Any] | bytes,
    subject: str = RUN_SUBJECT,
    header_block: bytes = b"",
    stream_seq: int = 7,
    deliveries: int = 1,
) -> JetStreamMessage:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return JetStreamMessage(subject, data, reply(stream_seq, deliveries), header_block)
