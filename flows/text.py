"""Makes any text and any JSON value storable in Postgres."""

import re
from collections.abc import Callable
from typing import Any

# What neither text nor jsonb can hold: NUL, and half of a surrogate pair.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "�"
# Bytes of a file's name that are no UTF-8, as Python spells them.
_RAW = re.compile("[\udc80-\udcff]")

# Deeper JSON is refused: Postgres' own parser has a stack to mind.
MAX_DEPTH = 128


class TooDeepError(ValueError):
    """A JSON value is nested more than `MAX_DEPTH` levels."""


def storable(text: str) -> str:
    """Replace each character that Postgres cannot hold by one U+FFFD."""
    # A text knows whether it is ASCII: most need not be looked through letter by letter.
    if text.isascii() and "\0" not in text:
        return text
    return _UNSTORABLE.sub(REPLACEMENT, text)


def legible(name: str) -> str:
    """Return a file's name as it can be shown and stored: a byte that is no UTF-8 is escaped."""
    return storable(_RAW.sub(lambda raw: f"\\x{ord(raw[0]) - 0xDC00:02x}", name))


def storable_json(value: Any, depth: int = 0, breathe: Callable[[], object] | None = None) -> Any:
    """Return a JSON value whose strings, keys included, are storable.

    Args:
        value: the JSON value.
        depth: of how many levels it is within others.
        breathe: called now and then, so that others of this process get their turn.

    Raises:
        TooDeepError: it is nested too deeply.
    """
    if isinstance(value, str):
        return storable(value)
    if not isinstance(value, dict | list):
        return value
    if depth >= MAX_DEPTH:
        message = f"JSON is nested more than {MAX_DEPTH} levels"
        raise TooDeepError(message)
    if breathe:
        breathe()
    if isinstance(value, list):
        return [storable_json(item, depth + 1, breathe) for item in value]
    return {storable(key): storable_json(item, depth + 1, breathe) for key, item in value.items()}
