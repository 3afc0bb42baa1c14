"""Which messages are the same message: the key of a row, and the id made from it."""

from datetime import datetime
from hashlib import blake2b
from struct import Struct

_DIGEST_BYTES = 16
_PERSON = b"agent-comms"

_uuid = Struct("!QB7s").pack
_UNIX_MS = 0xFFFF_FFFF_FFFF


class Scope:
    """Where a message's key has to be unique: one workflow in one channel.

    What all of its keys begin with is hashed once.

    Args:
        domain: the channel and, in the general one, whose word the identity is: a claim
            can't take the place of what the server vouches for.
        namespace: the workflow's namespace.
        uid: the workflow's uid; absent in the general channel at times.
    """

    __slots__ = ("_contents", "_ids")

    def __init__(self, domain: str, namespace: str, uid: str | None) -> None:
        scope = _joined(domain, namespace, uid or "")
        self._ids = _hash(f"2:id{scope}")
        self._contents = _hash(f"7:content{scope}")

    def key_of_id(self, message_id: str) -> str:
        """Return the key of a message that has an id, unique in its scope: 32 hex digits."""
        # As `_finished`, with a call less: every message passes here.
        whole = self._ids.copy()
        whole.update(f"{len(message_id)}:{message_id}".encode("utf-8", "surrogatepass"))
        return whole.hexdigest()

    def begun_key(self, chars: int) -> blake2b:
        """Return what the keys of all ids of so many characters begin with, to be copied; the id is to follow."""
        begun = self._ids.copy()
        begun.update(b"%d:" % chars)
        return begun

    def key_of_content(self, agent: str, kind: str, timestamp: datetime, content: str) -> str:
        """Return the key of a message without an id, from what it says and when."""
        return _finished(self._contents, _joined(agent, kind, timestamp.isoformat(), content))


def key_of_place(stream_seq: int, stored_at: int) -> str:
    """Return the key of a message with nothing stable of its own: its place in the stream.

    `stored_at` (nanoseconds) tells a stream that was made anew from the one before.
    """
    return _hash(f"5:place{_joined(str(stream_seq), str(stored_at))}").hexdigest()


def row_id(key: str, milliseconds: int) -> bytes:
    """Return the row's id, 16 bytes: a UUIDv7 of the message's time, whose random part is the key.

    The same message has the same id wherever it is stored, and new rows go to the
    end of the primary key's index.

    Args:
        key: the message's key.
        milliseconds: its time since the Unix epoch; one before is taken for the epoch.
    """
    head = bytes.fromhex(key[:20])
    time = milliseconds & _UNIX_MS if milliseconds > 0 else 0
    # 12 bits of the key beside the version, 62 beside the variant.
    return _uuid(time << 16 | 0x7000 | head[0] << 4 | head[1] >> 4, 0x80 | head[2] & 0x3F, head[3:])


def _joined(*parts: str) -> str:
    # Each part is preceded by its length, so that no two lists of parts read the same.
    return "".join([f"{len(part)}:{part}" for part in parts])


def _hash(text: str) -> blake2b:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES, person=_PERSON)


def _finished(begun: blake2b, rest: str) -> str:
    whole = begun.copy()
    whole.update(rest.encode("utf-8", "surrogatepass"))
    return whole.hexdigest()
