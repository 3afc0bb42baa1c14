"""What no age of the format knows: kept, and marked as such."""

from typing import Any

from flows.codex.said import GLIMPSE_CHARS, IN_PROGRESS, Said, compact, first_text, status, tool


def event(fields: dict[str, Any]) -> list[Said]:
    """Read an event of an unknown type."""
    return [status(compact(fields, GLIMPSE_CHARS), unknown=True)]


def item(phase: str, fields: dict[str, Any]) -> list[Said]:
    """Read an item of an unknown type; what has a status is taken for a tool."""
    kind = str(fields.get("type") or fields.get("item_type") or "item")
    said = first_text(*(fields.get(key) for key in ("text", "message", "output"))) or compact(fields, GLIMPSE_CHARS)
    attrs = {"unknown": True, "raw": compact(fields, GLIMPSE_CHARS)}
    word = fields.get("status")
    if not isinstance(word, str):
        return [Said("status", "system", said, item_type=kind, attrs=attrs)] if phase == "completed" else []
    if phase == "started":
        return [Said("tool_call", "tool", said, tool(name=kind, status=IN_PROGRESS), item_type=kind, attrs=attrs)]
    return [Said("tool_result", "tool", said, tool(name=kind, status=word), item_type=kind, attrs=attrs)]
