"""Events as they come from the database."""

from datetime import UTC, datetime
from typing import Any

from flows.message import Event
from web.queries import RunRow

NOON = datetime(2026, 3, 5, 12, 0, 0, 250_000, tzinfo=UTC)


def event(content: str = "Hello.", kind: str = "message", **fields: Any) -> Event:
    """Return an event; `tool` is kept in `attrs` too, as it is stored."""
    attrs = dict(fields.pop("attrs", {}))
    if "tool" in fields:
        attrs["tool"] = fields["tool"]
    given: dict[str, Any] = {
        "id": "0195b0aa-0000-7000-8000-000000000000",
        "seq": 7,
        "workflow_uid": "uid-1",
        "workflow_name": "mend-the-importer",
        "workflow_namespace": "agents",
        "run_id": None,
        "step_id": None,
        "agent_id": "planner",
        "role": "assistant",
        "timestamp": NOON,
        "channel": "run",
        "stage": None,
        "tool": None,
        "created_at": NOON,
        **fields,
    }
    return Event(content=content, kind=kind, attrs=attrs, **given)


def shell(command: str, kind: str = "tool_result", content: str = "", **tool: Any) -> Event:
    """Return a shell's call or result."""
    return event(
        content or "(no output)", kind, role="tool", tool={"name": "shell", "input": {"command": command}, **tool}
    )


def run(**fields: Any) -> RunRow:
    """Return a run."""
    given: dict[str, Any] = {
        "workflow_namespace": "agents",
        "workflow_uid": "uid-1",
        "workflow_name": "mend-the-importer",
        "run_id": None,
        "runtime": "native",
        "state": "running",
        "messages": 12,
        "tool_calls": 4,
        "errors": 0,
        "agents": ["executor", "planner"],
        "first_at": NOON,
        "last_at": NOON,
        "started_at": NOON,
        "finished_at": None,
        "last_agent": "planner",
        "last_content": "Beginning.",
        "pruned": 0,
        "attrs": {},
        **fields,
    }
    return RunRow(**given)
