"""Messages straight into Postgres, as the flow stores them, for pages that need a past."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec
import psycopg

import sql
from flows.message import Message
from flows.runs import roll_up

_INSERT = """
    INSERT INTO workflow_comms.agent_messages (id, workflow_uid, workflow_name, workflow_namespace, run_id, step_id,
        agent_id, role, kind, "timestamp", channel, stage, content, attrs, dedupe_key)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
    RETURNING seq
"""
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
        connection.execute(sql.query("lock_seq"))
        places = [_store(connection, m) for m in messages]
        deltas = msgspec.json.encode(roll_up(messages)).decode()
        connection.execute(sql.query("add_to_runs"), {"runs": deltas})
        connection.execute(sql.query("notify_messages"))
    return places


def _store(connection: psycopg.Connection, m: Message) -> int:
    values = (uuid4(), m.workflow_uid, m.workflow_name, m.workflow_namespace, m.run_id, m.step_id, m.agent_id, m.role)
    rest = (m.kind, m.timestamp, m.channel, m.stage, m.content, json.dumps(m.attrs), m.dedupe_key)
    row = connection.execute(_INSERT, (*values, *rest)).fetchone()
    assert row is not None
    return int(row[0])
