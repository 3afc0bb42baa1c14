"""Makes any text and any JSON value storable in Postgres."""

import re
from typing import Any

# What neither text nor jsonb can hold: NUL, and half of a surrogate pair.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
REPLACEMENT = "�"

# Deeper JSON is refused: Postgres' own parser has a stack to mind.
MAX_DEPTH = 128


class TooDeepError(ValueError):
    """A JSON value is nested more than `MAX_DEPTH` levels."""


def storable(text: str) -> str:
    """Replace each character that Postgres cannot hold by one U+FFFD."""
    return _UNSTORABLE.sub(REPLACEMENT, text)


def storable_json(value: Any, depth: int = 0) -> Any:
    """Return a JSON value whose strings, keys included, are storable.

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
    if isinstance(value, list):
        return [storable_json(item, depth + 1) for item in value]
    return {storable(key): storable_json(item, depth + 1) for key, item in value.items()}
