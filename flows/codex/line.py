"""One line of a file: its bytes as a JSON object, and the id of what it says."""

import json
import math
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

_DIGEST_BYTES = 16
ID_CHARS = 2 * _DIGEST_BYTES
# A file that was lost in a crash may hold NULs where it was never written.
_NOTHING = b" \t\r\n\0"
# Why a line is no message: it holds nothing, or nobody gets to know what.
BLANK = "blank"
NEVER_WRITTEN = "never written"
TOO_LONG = "too long"
UNREADABLE = "unreadable"
BOM = b"\xef\xbb\xbf"

_decode = msgspec.json.Decoder().decode


def message_id(kind: str, thread: str | None, number: int, data: bytes) -> str:
    """Return the id of what a line says, `ID_CHARS` hex digits: the same whoever reads it, and whenever.

    Args:
        kind: of the file.
        thread: the Codex thread in effect; none in a log.
        number: of the line, from 1.
        data: its bytes, without what ends it.
    """
    digest = begun_id(kind, thread).copy()
    digest.update(b"%d:" % number)
    digest.update(data)
    return digest.hexdigest()


# Most lines follow one of the same thread.
@lru_cache(maxsize=256)
def begun_id(kind: str, thread: str | None) -> blake2b:
    """Return what the ids of all lines of a thread begin with, to be copied.

    A line's number, a colon and its bytes are to follow.
    """
    begun = f"{len(kind)}:{kind}{len(thread or '')}:{thread or ''}"
    return blake2b(begun.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES)


def is_blank(data: bytes) -> bool:
    """Say whether a line holds nothing."""
    return not data.strip(_NOTHING)


def nothing(data: bytes) -> str | None:
    """Return why a line holds nothing; None where it holds something."""
    if not data.strip():
        return BLANK
    return NEVER_WRITTEN if is_blank(data) else None


def parse(data: bytes) -> dict[str, Any] | None:
    """Return a line's JSON object; None where it is none."""
    try:
        value = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = _parse_tolerantly(data)
    return value if isinstance(value, dict) else None


def _parse_tolerantly(data: bytes) -> Any:
    """Read what msgspec refuses: halves of characters, raw control characters, numbers beyond 64 bits."""
    text = data.strip(_NOTHING).decode("utf-8", "replace")
    if not text.startswith("{"):
        return None
    try:
        return json.loads(text, strict=False, parse_int=_int, parse_float=_float, parse_constant=str)
    except (ValueError, RecursionError):
        return None


def _int(digits: str) -> int | str:
    return int(digits) if len(digits) < 19 else digits


def _float(digits: str) -> float | str:
    value = float(digits)
    return value if math.isfinite(value) else digits


def ids_of_item(data: bytes) -> list[str]:
    """Return each value under the key `id` in a line's item, in the order in which they are written.

    A web search has two: the item's, and the provider's, which a JSON parser lets win.
    """
    text = data.decode("utf-8", "replace")
    try:
        pairs: Any = json.loads(text, strict=False, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return []
    for name, value in pairs if isinstance(pairs, list) else []:
        if name == "item" and isinstance(value, list):
            return [each for key, each in value if key == "id" and isinstance(each, str)]
    return []
