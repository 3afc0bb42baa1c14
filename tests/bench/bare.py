"""The shortest way from a stream to a row: what the machine and its servers take, whoever uses them.

    python -m tests.bench.bare URL STREAM DURABLE DSN

Pulls, inserts each message by one statement that also notifies, and acks. It judges, redacts and dedupes
nothing, tells no run and survives no fault.
"""

import asyncio
import json
import subprocess
import sys
import uuid

import nats
import psycopg
from nats.errors import TimeoutError as NothingCameError

from tests.ingestion import ROOT
from tests.servers import StreamHandle

INSERT = """
    WITH row AS (
        INSERT INTO workflow_comms.agent_messages (
            id, workflow_uid, workflow_namespace, agent_id, role, kind, channel, timestamp, content, attrs, dedupe_key
        )
        VALUES (%s, %s, 'agents', 'executor', 'assistant', 'message', 'run', now(), %s, '{}', %s)
    )
    SELECT pg_notify('agent_comms', '')
"""
# Of a subject's tokens, the one that is the run's uid.
UID = 3


def store_barely(stream: StreamHandle, database: str) -> "subprocess.Popen[bytes]":
    """Start it; it works until it is terminated."""
    words = [sys.executable, "-m", "tests.bench.bare", stream.url, stream.name, stream.durable, database]
    return subprocess.Popen(words, cwd=ROOT)


async def _store(url: str, stream: str, durable: str, database: str) -> None:
    client = await nats.connect(url)
    pulled = await client.jetstream().pull_subscribe_bind(durable, stream)
    with psycopg.connect(database, autocommit=True) as connection:
        while True:
            try:
                messages = await pulled.fetch(100, timeout=5)
            except NothingCameError:
                continue
            for message in messages:
                said = json.loads(message.data)
                uid = message.subject.split(".")[UID]
                key = f"{uid}:{said['message_id']}"
                connection.execute(INSERT, (uuid.uuid4(), uid, said["content"], key))
                await message.ack()


if __name__ == "__main__":
    asyncio.run(_store(*sys.argv[1:]))
