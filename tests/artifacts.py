"""Finished runs as they are found in a folder or a bucket, what is stored of them, and the streams to make them of."""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from connectors.delivery import JetStreamMessage
from connectors.objects import Objects
from connectors.store import Store
from flows.backfill import Backfill, Options
from flows.catalog import Catalog
from flows.codex import FileKind, Reader
from flows.message import Message
from flows.normalize import normalize
from flows.payload import Speaker, compose
from flows.recovery import Recovery
from flows.redact import Redactor
from flows.settings import Settings
from flows.storage import messages, ready

GOLDEN = Path(__file__).parent / "unit" / "golden"
EVENTS = "implementation-events"
LOG = "implementation-agent-log"
# As of 2027.
DELIVERED = "$JS.ACK.agent-comms.jangar-agent-comms.1.1.1.1800000000000000000.0"
REDACTOR = Redactor()
# Of a run that nobody says otherwise of.
BEGIN = datetime(2026, 1, 1, 10, 0, tzinfo=UTC)
END = BEGIN + timedelta(minutes=10)
NAMES = {EVENTS: "implementation-events.jsonl", LOG: ".codex-implementation-agent.log"}


def streams() -> dict[str, bytes]:
    """Files of Codex of every age; and, where CODEX_STREAMS names a folder, the real ones in it."""
    found = {}
    for path in sorted(GOLDEN.glob("*.yaml")):
        written = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
        found[path.stem] = "\n".join(entry["line"] for entry in written if "line" in entry).encode()
    for path in sorted(Path(os.environ["CODEX_STREAMS"]).glob("*.jsonl")) if "CODEX_STREAMS" in os.environ else []:
        found[path.stem] = path.read_bytes()
    return found


STREAMS = streams()


def text(lines: bytes | Iterable[str | bytes]) -> bytes:
    if isinstance(lines, bytes):
        return lines
    return b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)


def thread_at(time: datetime, number: int = 0) -> str:
    """A thread's id, which tells when it began."""
    milliseconds = round(time.timestamp() * 1000)
    return f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7000-8000-{number:012x}"


def tgz(name: str, data: bytes) -> bytes:
    """An artifact as Argo stores it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


class Archive:
    """A folder of finished runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def put(self, key: str, data: bytes) -> str:
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return key

    def add(
        self,
        run: str,
        lines: bytes | Iterable[str | bytes],
        *,
        pod: str = "",
        artifact: str = EVENTS,
        end: str = ".tgz",
    ) -> str:
        """Put an artifact of a run, packed as the end of its name says; returns its key."""
        data = text(lines)
        inner = NAMES.get(artifact, f"{artifact}.jsonl")
        packed = {".tgz": tgz(inner, data), ".gz": gzip.compress(data)}.get(end, data)
        name = artifact + end if end == ".tgz" else inner + end
        return self.put(f"{run}/{pod or run}/{name}", packed)

    def complete(self, *payloads: dict[str, Any]) -> None:
        """Say of runs that they are complete."""
        with (self.folder / "runs.jsonl").open("a") as file:
            for payload in payloads:
                file.write(json.dumps(payload) + "\n")


def completion(
    run: str,
    keys: Iterable[str] = (),
    *,
    uid: str = "",
    phase: str = "Succeeded",
    started: str = BEGIN.isoformat(),
    finished: str = END.isoformat(),
    **more: Any,
) -> dict[str, Any]:
    """What a controller says of a run that is complete."""
    names = {LOG: LOG, EVENTS: EVENTS}
    return {
        "metadata": {"name": run, "uid": uid or run, "namespace": "agents"},
        "status": {"phase": phase, "startedAt": started, "finishedAt": finished},
        "artifacts": [
            {"name": next((name for name in names if name in key), EVENTS), "key": key, "bucket": "argo-workflows"}
            for key in keys
        ],
        **more,
    }


Row = tuple[Any, ...]


class Stored:
    """What a database holds."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    def ask(self, query: str, *arguments: object) -> list[Row]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(query.encode(), arguments).fetchall()

    def rows(self, run: str = "%") -> list[Row]:
        """Kind, role, content, tool and key of each message, in reading order."""
        return self.ask(
            "SELECT kind, role, content, attrs -> 'tool', dedupe_key FROM workflow_comms.agent_messages"
            " WHERE workflow_uid LIKE %s ORDER BY workflow_uid, timestamp, seq",
            run,
        )

    def contents(self, run: str = "%") -> list[str]:
        return [row[2] for row in self.rows(run)]

    def count(self) -> int:
        return int(self.ask("SELECT count(*) FROM workflow_comms.agent_messages")[0][0])

    def times(self, run: str = "%") -> list[Row]:
        return self.ask(
            "SELECT timestamp, attrs ->> 'timestamp_source' FROM workflow_comms.agent_messages"
            " WHERE workflow_uid LIKE %s ORDER BY timestamp, seq",
            run,
        )

    def report(self, run: str) -> dict[str, Any]:
        found = self.ask("SELECT attrs -> 'backfill' FROM workflow_comms.runs WHERE workflow_uid = %s", run)
        assert found, f"there is no run {run}"
        return dict(found[0][0])


def recover(dsn: str, root: Path | str, **options: Any) -> dict[str, Recovery]:
    """Backfill everything under a root; returns the runs that there was something to do about, by their uids."""
    settings = Settings(database_url=dsn)
    objects = Objects(str(root))
    done: list[Recovery] = []
    options = {"processes": 0, "patience": timedelta(seconds=5), **options}
    work = Backfill(settings, objects, Options(**options), done=done.append)
    work.prepare(Catalog(objects).everything())
    work.run()
    return {run.run.uid: run for run in done}


def live(
    lines: bytes,
    run: str,
    *,
    agent: str = "executor",
    kind: FileKind = "codex-events",
    upto: int | None = None,
    ends: bool = False,
) -> list[Message]:
    """The messages that a publisher makes of a file's first lines, as the ingest makes them, a second apart."""
    speaker = Speaker(prefix="workflow", namespace="agents", name=run, uid=run, agent=agent)
    reader = Reader(kind, "live", EVENTS if kind == "codex-events" else LOG)
    claims = []
    whole = lines.split(b"\n")
    for number, line in enumerate(whole[:upto], start=1):
        claims += reader.read(number, line)
    if ends:
        claims += reader.end()
    made = []
    for at, claim in enumerate(claims):
        if claim.timestamp is None or "synthetic" in (claim.attrs or {}):
            claim.timestamp = f"2026-01-01T10:{at // 60 % 60:02}:{at % 60:02}Z"
        outgoing = compose(speaker, claim)
        message = normalize(JetStreamMessage(outgoing.subject, outgoing.payload, DELIVERED), 1024 * 1024)
        assert isinstance(message, Message)
        made.append(message)
    return REDACTOR.messages(made)


def store(dsn: str, made: Sequence[Message]) -> None:
    """Store messages as the ingest does."""
    shelf = Store(messages(dsn, REDACTOR))
    written = shelf.store([ready(message) for message in made])
    assert not written.failed
    assert not written.rejected
    shelf.close()


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "artifacts")


@pytest.fixture
def stored(database: str) -> Stored:
    return Stored(database)
