"""Messages straight into Postgres, as the flow stores them, for pages that need a past."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import psycopg

from flows.message import Message
from tests.writers import store

_ROLES = {"tool_call": "tool", "tool_result": "tool", "status": "system", "error": "system"}


def message(at: datetime, agent: str, kind: str, content: str, *, run: str = "run-1", **more: Any) -> Message:
    """Return a message; `run` names its workflow unless `more` says otherwise."""
    fields: dict[str, Any] = {
        "workflow_uid": run,
        "workflow_name": run,
        "workflow_namespace": "agents",
        "run_id": None,
        "step_id": None,
        "agent_id": agent,
        "role": _ROLES.get(kind, "assistant"),
        "kind": kind,
        "timestamp": at,
        "channel": "run",
        "stage": None,
        "content": content,
        "attrs": {},
        "dedupe_key": str(uuid4()),
        **more,
    }
    return Message(**fields)


def insert(dsn: str, messages: Sequence[Message]) -> list[int]:
    """Store messages in one transaction and tell the web; return their places in the live order."""
    with psycopg.connect(dsn) as connection:
        return store(connection, messages)
