"""The messages that are measured with."""

import json
from dataclasses import dataclass

RUNS = 50
# What remains of 400 bytes beside the fields of the payload.
FILLER = 130


@dataclass(frozen=True)
class Published:
    """One message on its way."""

    subject: str
    payload: bytes


def message(number: int) -> Published:
    """Return a message of 400 bytes in the canonical spelling, of one of some runs."""
    run = number % RUNS
    kind = ("message", "tool_call", "tool_result", "message")[number % 4]
    payload = {
        "message_id": f"bench-{number:08}",
        "workflow_uid": f"0d9a1c0e-{run:04}",
        "workflow_name": f"bench-run-{run}",
        "workflow_namespace": "agents",
        "agent_id": "executor",
        "kind": kind,
        "timestamp": f"2026-11-24T10:{number // 60000 % 60:02}:{number // 1000 % 60:02}.{number % 1000:03}Z",
        "content": f"step {number}: " + "read the file and ran the tests; " * (FILLER // 33),
        "attrs": {"turn": number % 7},
    }
    subject = f"workflow.agents.bench-run-{run}.0d9a1c0e-{run:04}.agent.executor.{kind}"
    return Published(subject, json.dumps(payload).encode())
