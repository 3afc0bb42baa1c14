"""Which messages are the same message: the key of a row, and the id made from it."""

from datetime import datetime
from hashlib import blake2b
from uuid import UUID

_DIGEST_BYTES = 16


def key_of_id(domain: str, namespace: str, uid: str | None, message_id: str) -> str:
    """Return the key of a message that has an id.

    Args:
        domain: the channel and, in the general one, whose word the identity is: a claim
            can't take the place of what the server vouches for.
        namespace: the workflow's namespace.
        uid: the workflow's uid; absent in the general channel at times.
        message_id: unique within the workflow and the channel.

    Returns:
        32 hex digits.
    """
    return _digest("id", domain, namespace, uid or "", message_id)


def key_of_content(
    domain: str, namespace: str, uid: str | None, agent: str, kind: str, timestamp: datetime, content: str
) -> str:
    """Return the key of a message without an id, from what it says and when."""
    return _digest("content", domain, namespace, uid or "", agent, kind, timestamp.isoformat(), content)


def key_of_place(stream_seq: int, stored_at: int) -> str:
    """Return the key of a message with nothing stable of its own: its place in the stream.

    `stored_at` (nanoseconds) tells a stream that was made anew from the one before.
    """
    return _digest("place", str(stream_seq), str(stored_at))


def row_id(key: str, timestamp: datetime) -> UUID:
    """Return the row's id: a UUIDv7 of the message's time, whose random part is the key.

    The same message has the same id wherever it is stored, and new rows go to the
    end of the primary key's index.
    """
    milliseconds = max(0, int(timestamp.timestamp() * 1000)) & 0xFFFF_FFFF_FFFF
    digest = int(key, 16)
    high = (milliseconds << 16) | 0x7000 | (digest >> 116)
    low = (0b10 << 62) | ((digest >> 54) & 0x3FFF_FFFF_FFFF_FFFF)
    return UUID(int=(high << 64) | low)


def _digest(*parts: str) -> str:
    # Each part is preceded by its length, so that no two lists of parts read the same.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES, person=b"agent-comms").hexdigest()
