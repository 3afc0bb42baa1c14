"""Which messages are the same message: the key of a row, and the id made from it."""

from datetime import datetime
from hashlib import blake2b

_DIGEST_BYTES = 16


def scope(domain: str, namespace: str, uid: str | None) -> str:
    """Return what the keys of one workflow in one channel begin with, before they are hashed.

    Args:
        domain: the channel and, in the general one, whose word the identity is: a claim
            can't take the place of what the server vouches for.
        namespace: the workflow's namespace.
        uid: the workflow's uid; absent in the general channel at times.
    """
    return _joined(domain, namespace, uid or "")


def key_of_id(scope: str, message_id: str) -> str:
    """Return the key of a message that has an id, unique in its scope: 32 hex digits."""
    return _digest(f"2:id{scope}{len(message_id)}:{message_id}")


def key_of_content(scope: str, agent: str, kind: str, timestamp: datetime, content: str) -> str:
    """Return the key of a message without an id, from what it says and when."""
    return _digest(f"7:content{scope}{_joined(agent, kind, timestamp.isoformat(), content)}")


def key_of_place(stream_seq: int, stored_at: int) -> str:
    """Return the key of a message with nothing stable of its own: its place in the stream.

    `stored_at` (nanoseconds) tells a stream that was made anew from the one before.
    """
    return _digest(f"5:place{_joined(str(stream_seq), str(stored_at))}")


def row_id(key: str, timestamp: datetime) -> bytes:
    """Return the row's id, 16 bytes: a UUIDv7 of the message's time, whose random part is the key.

    The same message has the same id wherever it is stored, and new rows go to the
    end of the primary key's index.
    """
    milliseconds = max(0, int(timestamp.timestamp() * 1000)) & 0xFFFF_FFFF_FFFF
    digest = int(key, 16)
    high = (milliseconds << 16) | 0x7000 | (digest >> 116)
    low = (0b10 << 62) | ((digest >> 54) & 0x3FFF_FFFF_FFFF_FFFF)
    return ((high << 64) | low).to_bytes(16)


def _joined(*parts: str) -> str:
    # Each part is preceded by its length, so that no two lists of parts read the same.
    return "".join([f"{len(part)}:{part}" for part in parts])


def _digest(text: str) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES, person=b"agent-comms").hexdigest()
