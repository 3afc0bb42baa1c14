"""The real flow, `python -m bytewax.run flows.ingest`, as a process that a test may stop and kill."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from flows.rebuild import rebuild
from tests.forks import Fork
from tests.servers import StreamHandle
from tests.waiting import PATIENCE_S, wait_until

ROOT = Path(__file__).parents[1]


POISON = "poison"


class Ingest:
    """The flow between a stream and a database."""

    # Whoever measures it has it start from nothing.
    is_forked = True

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
        self._process: Fork | subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        begin = Fork if self.is_forked else subprocess.Popen
        with Path(os.devnull).open("rb") as nothing, self.log.open("ab") as log:
            self._process = begin(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=nothing.fileno(),
                stdout=log.fileno(),
                stderr=log.fileno(),
            )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def process(self) -> "Fork | subprocess.Popen[bytes]":
        assert self._process is not None
        return self._process

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_until_said(self, words: str) -> None:
        wait_until(lambda: words in self.said, f"{words!r} in {self.log}")

    def peak_mib(self) -> float:
        """The most memory that the process has had so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ask_to_stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Ask it to drain; returns its exit code."""
        self.ask_to_stop()
        return self.process.wait(timeout=PATIENCE_S)

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

    def newest_seq(self) -> int:
        """The newest cursor handed out, committed or not."""
        return int(self.rows("SELECT last_value FROM workflow_comms.agent_messages_seq_seq")[0][0])

    def wait_for_rows(self, number: int) -> None:
        """Wait for so many, for as long as more come."""
        stored = -1
        while (before := stored) < number:
            wait_until(lambda: self.count() > before, f"more than {before} of {number} rows; see {self.log}")
            stored = self.count()

    def wait_until_drained(self) -> None:
        """Wait until nothing is pending and nothing unacked."""
        wait_until(self.stream.is_drained, f"an idle consumer; see {self.log}")


Start = Callable[..., Ingest]


@pytest.fixture
def ingest(stream: StreamHandle, database: str, tmp_path: Path) -> Iterator[Ingest]:
    """The flow, running on a fresh stream and a fresh database."""
    with Ingest(stream, database, tmp_path / "ingest.log") as flow:
        yield flow


@pytest.fixture
def start(stream: StreamHandle, database: str, tmp_path: Path) -> Iterator[Start]:
    """Start a flow, and others beside it, on a fresh stream and a fresh database."""
    numbers = itertools.count(1)
    with ExitStack() as flows:

        def start(*flags: str, **environment: str) -> Ingest:
            log = tmp_path / f"ingest-{next(numbers)}.log"
            return flows.enter_context(Ingest(stream, database, log, *flags, **environment))

        yield start


def payload(number: int, **changes: Any) -> bytes:
    fields: dict[str, Any] = {"message_id": f"m-{number}", "content": f"message {number}"}
    return json.dumps(fields | changes).encode()


def subject(run: int = 0, kind: str = "message") -> str:
    return f"workflow.agents.run-{run}.uid-{run}.agent.executor.{kind}"


def publish_many(stream: StreamHandle, numbers: Sequence[int], runs: int = 10, poison: Collection[int] = ()) -> None:
    """Publish as fast as the server stores, spread over some runs; what is poison says nothing else."""

    async def publish() -> None:
        client = stream.connection.client
        for number in numbers:
            data = payload(number, content=POISON) if number in poison else payload(number)
            await client.publish(subject(number % runs), data)
            if number % 2_000 == 0:
                await client.flush()
        await client.flush()

    before = stream.info().state.messages
    stream.connection.run(publish())
    wait_until(lambda: stream.info().state.messages == before + len(numbers), "the stream to hold them all")


def publish_copies(stream: StreamHandle, number: int, copies: int) -> None:
    """Publish so many messages, each several times, all mixed up: most batches hold new ones and known ones."""
    numbers = [*range(number)] * copies
    random.Random(number).shuffle(numbers)
    publish_many(stream, numbers)


def administer(database: str, *statements: str) -> None:
    """Do as somebody else who may do anything to the database."""
    with psycopg.connect(database, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def set_for(database: str, setting: str) -> None:
    """Have every new session of a database begin with a setting."""
    administer(database, f"ALTER DATABASE {conninfo_to_dict(database)['dbname']} SET {setting}")


def poison_with(database: str, action: str) -> None:
    """Have Postgres do something whenever a poison message is about to be stored."""
    administer(
        database,
        f"""
        CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {action}; RETURN NEW; END $$;
        CREATE TRIGGER poison BEFORE INSERT ON workflow_comms.agent_messages
            FOR EACH ROW WHEN (NEW.content = '{POISON}') EXECUTE FUNCTION poison();
        """,
    )


@pytest.fixture
def seed() -> int:
    """What random moments are drawn from: CHAOS_SEED, or another one each time; shown where a test fails."""
    seed = int(os.environ.get("CHAOS_SEED") or time.time_ns() % 1_000_000)
    print(f"CHAOS_SEED={seed}")
    return seed


def kill_at_random(ingest: Ingest, chance: random.Random, times: int, portion: int = 1_000) -> int:
    """Publish, and kill the flow that takes it, again and again; returns how many messages were published.

    It is killed while it starts, while it copies rows, at the commit, between the commit and the acks.
    """
    for number in range(times):
        handed_out = ingest.newest_seq()
        publish_many(ingest.stream, range(number * portion, (number + 1) * portion))
        if chance.random() < 0.2:
            time.sleep(chance.uniform(0, 1))
        else:
            wait_until(lambda: ingest.newest_seq() > handed_out, f"the next row on its way; see {ingest.log}")  # noqa: B023
            time.sleep(chance.uniform(0, 0.2))
        assert ingest.is_running
        ingest.kill()
        ingest.start()
    return times * portion


@contextmanager
def holding(database: str, statement: str) -> Iterator["psycopg.Connection[Any]"]:
    """Hold what a statement locks, in a session of somebody else's."""
    with psycopg.connect(database) as connection:
        connection.execute(statement.encode())
        yield connection


def settles_whole(ingest: Ingest, number: int, *, letters: int = 0) -> None:
    """Wait until all is stored and acked; then everything published is there, and nothing else."""
    ingest.wait_for_rows(number)
    ingest.wait_until_drained()
    assert_whole(ingest, number)
    assert ingest.rows("SELECT count(*) FROM workflow_comms.dead_letters") == [(letters,)]


def assert_whole(ingest: Ingest, number: int) -> None:
    """Everything published is a row, once, in the order of its run; and the runs agree."""
    assert ingest.count() == number
    assert ingest.rows("SELECT count(DISTINCT attrs->>'message_id') FROM workflow_comms.agent_messages") == [(number,)]
    assert_runs_agree(ingest.database)


def assert_runs_agree(database: str) -> None:
    """Each row of `runs` is, in every column, what its messages make of it when they are read all at once."""
    assert rebuild(database, dry_run=True).changed == []
