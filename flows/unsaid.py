"""What a message about a tool says where whoever published it gave it no words of its own."""

from collections.abc import Mapping
from typing import Any

import msgspec

_NOTHING: tuple[Any, ...] = (None, "", {}, [])


def in_words(kind: str, tool: Mapping[str, Any]) -> str:
    """Say what a tool was asked, or answered: its name, where that is nothing."""
    value = tool.get("output" if kind == "tool_result" else "input")
    if isinstance(value, dict) and isinstance(value.get("command"), str):
        value = f"$ {value['command']}"
    if isinstance(value, str) and not _is_blank(value):
        return value
    name = tool.get("name")
    words = [name] if isinstance(name, str) and not _is_blank(name) else ["tool"]
    if value not in _NOTHING:
        words.append(msgspec.json.encode(value).decode())
    return " ".join(words)


def is_unsaid(kind: str, content: str, tool: Mapping[str, Any]) -> bool:
    """Tell whether a content is no more than the name of a tool that was asked, or answered, nothing."""
    value = tool.get("output" if kind == "tool_result" else "input")
    is_nothing = value in _NOTHING or (isinstance(value, str) and _is_blank(value))
    return is_nothing and content == in_words(kind, tool)


def _is_blank(text: str) -> bool:
    return not text or text.isspace()
