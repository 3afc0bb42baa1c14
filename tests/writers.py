"""Writers of messages straight into Postgres, as the ingest flow does it: lock, rows, runs, signal, commit."""

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
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
    VALUES (gen_random_uuid(), %(workflow_uid)s, %(workflow_name)s, %(workflow_namespace)s, %(run_id)s, %(step_id)s,
        %(agent_id)s, %(role)s, %(kind)s, %(timestamp)s, %(channel)s, %(stage)s, %(content)s, %(attrs)s, %(dedupe_key)s)
    RETURNING seq
"""


def store(connection: psycopg.Connection, messages: Sequence[Message], held: float = 0.0) -> list[int]:
    """Store messages in one transaction and return their places in the live order."""
    places: list[int] = []
    with connection.transaction():
        connection.execute(sql.query("lock_seq"))
        with connection.cursor() as cursor:
            cursor.executemany(_INSERT, [_row(message) for message in messages], returning=True)
            places += [place for (place,) in cursor.fetchall()]
            while cursor.nextset():
                places += [place for (place,) in cursor.fetchall()]
        time.sleep(held)
        deltas = msgspec.json.encode(roll_up(messages)).decode()
        connection.execute(sql.query("add_to_runs"), {"runs": deltas})
        connection.execute(sql.query("notify_messages"))
    return places


class Writer:
    """One connection that stores messages.

    Args:
        dsn: the database.
        fields: what its messages are unless they say otherwise.
    """

    def __init__(self, dsn: str, **fields: Any) -> None:
        self._connection = psycopg.connect(dsn)
        self._fields = fields

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def say(self, *contents: str, held: float = 0.0, **fields: Any) -> None:
        """Store messages in one transaction; `held` is how long it stays open once their places are taken."""
        messages = [self.message(content, **fields) for content in contents]
        store(self._connection, messages, held)

    def message(self, content: str, **fields: Any) -> Message:
        """Return a message of this writer's, not stored yet."""
        given = {**self._fields, **fields}
        run = given.pop("run", "run-1")
        default: dict[str, Any] = {
            "workflow_uid": run,
            "workflow_name": run,
            "workflow_namespace": "agents",
            "run_id": None,
            "step_id": None,
            "agent_id": "planner",
            "role": "assistant",
            "kind": "message",
            "timestamp": datetime.now(UTC),
            "channel": "run",
            "stage": None,
            "attrs": {},
            "dedupe_key": str(uuid4()),
        }
        return Message(**{**default, **given, "content": content})


def _row(message: Message) -> dict[str, Any]:
    return {**msgspec.structs.asdict(message), "attrs": json.dumps(message.attrs)}
