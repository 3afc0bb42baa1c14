"""What a line says, before it is known which line of which file it is."""

from typing import Any, Literal

import msgspec
from msgspec import Struct

Kind = Literal["message", "tool_call", "tool_result", "status", "error"]

IN_PROGRESS = "in_progress"
# What is kept of something unknown is a glimpse; the whole is in the file.
GLIMPSE_CHARS = 2_000


class Said(Struct):
    """One message of a line.

    Attributes:
        tool: `{name, input, output, status, exit_code}`, as far as they are known.
        call: what a tool's call and its result have in common in the file.
        attrs: beside those that every line has.
        timestamp: where the line says it itself.
    """

    kind: Kind
    role: str
    content: str
    tool: dict[str, Any] | None = None
    call: str = ""
    item_type: str | None = None
    attrs: dict[str, Any] = {}
    timestamp: str | None = None


def status(content: str, **attrs: Any) -> Said:
    """Return word of how things stand."""
    return Said("status", "system", content, attrs=attrs)


def error(content: str, **attrs: Any) -> Said:
    """Return word of a failure."""
    return Said("error", "system", content, attrs=attrs)


def words(text: Any, item_type: str, role: str = "assistant") -> list[Said]:
    """Return what somebody said; nothing where it is blank."""
    return [Said("message", role, text, item_type=item_type)] if isinstance(text, str) and text.strip() else []


def tool(**fields: Any) -> dict[str, Any]:
    """Return what is known of a tool."""
    return {name: value for name, value in fields.items() if value is not None}


def untold(result: Said, content: str = "") -> Said:
    """Return the call of a result whose call was never told, that each result has one."""
    about = result.tool or {}
    known = {name: value for name, value in about.items() if name in ("name", "input")}
    command = dictionary(known.get("input")).get("command")
    content = content or (f"$ {command}" if isinstance(command, str) else str(known.get("name", "tool")))
    return Said(
        "tool_call",
        "tool",
        content,
        {**known, "status": IN_PROGRESS},
        result.call,
        result.item_type,
        {**result.attrs, "synthetic": True},
        result.timestamp,
    )


def compact(value: Any, limit: int = 0) -> str:
    """Return a value as JSON on one line, cut at a number of characters."""
    try:
        text = msgspec.json.encode(value).decode()
    except (ValueError, RecursionError):
        # Half a character; whoever sends it puts a whole one in its place.
        text = repr(value)
    return text if not limit or len(text) <= limit else f"{text[:limit]}…"


def tasks(items: Any, text: str, is_done: Any) -> str:
    """Return a list of things to do as Markdown.

    Args:
        items: of the list, objects.
        text: the key of an item's words.
        is_done: says of an item whether it is done.
    """
    lines = [
        f"- [{'x' if is_done(item) else ' '}] {item.get(text) or ''}".rstrip()
        for item in (items if isinstance(items, list) else [])
        if isinstance(item, dict)
    ]
    return "\n".join(lines) or "(nothing to do)"


def dictionary(value: Any) -> dict[str, Any]:
    """Return a value where it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def word(value: Any) -> str:
    """Return a value that should be one word; empty where it is something else."""
    return value if isinstance(value, str) else ""


def first_text(*values: Any) -> str:
    """Return the first text that says something; empty where none does."""
    return next((value for value in values if isinstance(value, str) and value.strip()), "")
