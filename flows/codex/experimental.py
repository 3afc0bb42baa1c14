"""`codex exec --experimental-json`, September 2025: the current events under their first names."""

from typing import Any

_ITEM_TYPES = {"assistant_message": "agent_message"}


def is_event(event: dict[str, Any]) -> bool:
    """Say whether an event is of this age."""
    item = event.get("item")
    return event.get("type") == "session.created" or (isinstance(item, dict) and "item_type" in item)


def renamed(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event as later versions write it."""
    if event.get("type") == "session.created":
        return {"type": "thread.started", "thread_id": event.get("session_id")}
    item = dict(event["item"])
    kind = item.pop("item_type")
    return {**event, "item": {**item, "type": _ITEM_TYPES.get(kind, kind)}}
