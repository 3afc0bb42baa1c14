"""What a tool of an MCP server answers: a list of parts, of which most are texts, and what is told beside them."""

import json
from typing import Any

from msgspec import Struct

_MOST_PARTS = 20
_ERROR = ("isError", "is_error")
_STRUCTURED = ("structuredContent", "structured_content")


class Answer(Struct, frozen=True):
    """An answer in parts.

    Attributes:
        parts: in order; a text as such, anything else as the JSON that it is.
        beside: by name, what else is told.
    """

    parts: list[Any]
    beside: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        """The parts that are texts."""
        return [part for part in self.parts if isinstance(part, str)]


def read(output: Any) -> Answer | None:
    """Return the answer that an output is; None where it has another form, or no text, or more parts than a card."""
    told = output if isinstance(output, dict) else {"content": output}
    content = told.get("content")
    if not isinstance(content, list) or not 0 < len(content) <= _MOST_PARTS:
        return None
    if not all(isinstance(part, dict) and isinstance(part.get("type"), str) for part in content):
        return None
    parts = [_part(part) for part in content]
    others = {name: value for name, value in told.items() if name != "content"}
    answer = Answer(parts, {name: value for name, value in others.items() if not _is_said(name, value, parts)})
    return answer if answer.texts else None


def _part(part: dict[str, Any]) -> Any:
    text = part.get("text")
    is_alone = all(value is None for name, value in part.items() if name not in ("type", "text"))
    return text if part["type"] == "text" and isinstance(text, str) and is_alone else part


def _is_said(name: str, value: Any, parts: list[Any]) -> bool:
    """Say whether what is told beside the parts is nothing, or one of them once more, as the protocol wants it."""
    if value in (None, {}) or (name in _ERROR and value is False):
        return True
    return name in _STRUCTURED and any(isinstance(part, str) and _is_same(part, value) for part in parts)


def _is_same(text: str, value: Any) -> bool:
    try:
        return json.dumps(json.loads(text), sort_keys=True) == json.dumps(value, sort_keys=True)
    except (ValueError, RecursionError, TypeError):
        return False
