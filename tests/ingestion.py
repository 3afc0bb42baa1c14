"""The real flow, `python -m bytewax.run flows.ingest`, as a process that a test may stop and kill."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest

from flows.rebuild import rebuild
from tests.servers import StreamHandle
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]


class Ingest:
    """The flow between a stream and a database."""

    def __init__(self, stream: StreamHandle, database: str, log: Path, *flags: str, **environment: str) -> None:
        self.stream = stream
        self.database = database
        self.log = log
        self._command = [sys.executable, "-m", "bytewax.run", "flows.ingest", *flags]
        self._environment = {
            **os.environ,
            "NATS_URL": stream.url,
            "DATABASE_URL": database,
            "AGENT_COMMS_METRICS_PORT": "0",
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self._command, cwd=ROOT, env=self._environment, stderr=log, stdout=log)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None
        return self._process

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to drain; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def close(self) -> None:
        if self._process and self.is_running:
            self.kill()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database) as connection:
            return connection.execute(query.encode()).fetchall()

    def count(self) -> int:
        """Messages stored; 0 while the database cannot be asked."""
        with suppress(psycopg.OperationalError):
            return int(self.rows("SELECT count(*) FROM workflow_comms.agent_messages")[0][0])
        return 0

    def wait_for_rows(self, number: int) -> None:
        wait_until(lambda: self.count() >= number, f"{number} rows; see {self.log}")

    def wait_until_drained(self) -> None:
        """Wait until nothing is pending and nothing unacked."""
        wait_until(self.stream.is_drained, f"an idle consumer; see {self.log}", patience=100)


@pytest.fixture
def ingest(stream: StreamHandle, database: str, tmp_path: Path) -> Iterator[Ingest]:
    """The flow, running on a fresh stream and a fresh database."""
    with Ingest(stream, database, tmp_path / "ingest.log") as flow:
        yield flow


def payload(number: int, **changes: Any) -> bytes:
    fields: dict[str, Any] = {"message_id": f"m-{number}", "content": f"message {number}"}
    return json.dumps(fields | changes).encode()


def subject(run: int = 0, kind: str = "message") -> str:
    return f"workflow.agents.run-{run}.uid-{run}.agent.executor.{kind}"


def publish_many(stream: StreamHandle, numbers: range, runs: int = 10) -> None:
    """Publish as fast as the server stores, spread over some runs."""

    async def publish() -> None:
        client = stream.connection.client
        for number in numbers:
            await client.publish(subject(number % runs), payload(number))
            if number % 2_000 == 0:
                await client.flush()
        await client.flush()

    before = stream.info().state.messages
    stream.connection.run(publish())
    wait_until(lambda: stream.info().state.messages == before + len(numbers), "the stream to hold them all")


def assert_whole(ingest: Ingest, number: int) -> None:
    """Everything published is a row, once, in the order of its run; and the runs agree."""
    assert ingest.count() == number
    assert ingest.rows("SELECT count(DISTINCT attrs->>'message_id') FROM workflow_comms.agent_messages") == [(number,)]
    assert_runs_agree(ingest.database)


def assert_runs_agree(database: str) -> None:
    """Each row of `runs` is, in every column, what its messages make of it when they are read all at once."""
    assert rebuild(database, dry_run=True).changed == []
