"""Text that is JSON as a whole, read so that nothing of it is shown as something else than it says."""

import json
from typing import Any, NoReturn

from msgspec import Struct

from flows.text import MAX_DEPTH

# Of more than this the beginning, or the end, says as much as a tree would.
MOST_CHARACTERS = 128 * 1024
MOST_VALUES = 5_000


class Number(Struct, frozen=True):
    """A number as it is written: as a float 1.10 would be 1.1, and 1e999 no number at all."""

    text: str


def read(text: str) -> dict[str, Any] | list[Any] | None:
    """Return the object or the list that a text is.

    Returns:
        None for any other text, and for JSON that is too large, too deep, or that has one key twice.
    """
    if len(text) > MOST_CHARACTERS or not _may_be(text):
        return None
    try:
        value: dict[str, Any] | list[Any] = _decoder.decode(text)
    except (ValueError, RecursionError):
        return None
    return value if _fits(value) else None


def _may_be(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[") and text.rstrip()[-1:] in ("}", "]")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        message = "a key is there twice"
        raise ValueError(message)
    return value


def _refuse(constant: str) -> NoReturn:
    message = f"{constant} is no JSON"
    raise ValueError(message)


_decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=Number, parse_float=Number, parse_constant=_refuse)


def _fits(value: dict[str, Any] | list[Any]) -> bool:
    level: list[Any] = [value]
    count = depth = 0
    while level and count <= MOST_VALUES and depth <= MAX_DEPTH:
        nested = [each for each in level if isinstance(each, dict | list)]
        level = [inner for each in nested for inner in (each.values() if isinstance(each, dict) else each)]
        count += len(level)
        depth += 1
    return not level
