"""Whose artifacts are whose, where several runs have one name: none is read into another's."""

import json
import os
import subprocess
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors.delivery import JetStreamMessage
from connectors.loopback import HOST
from connectors.objects import Objects
from flows import backlog
from flows.backlog import sweep
from flows.completion import read_completion
from flows.message import Message
from flows.normalize import normalize
from flows.owners import Owners
from flows.reconcile import Outcome, Reconciler
from flows.settings import Settings
from tests import forks
from tests.artifacts import DELIVERED, Archive, Stored, completion, store
from tests.readers import Headers, Readers, StartGuarded
from tests.servers import NatsServer
from tests.sidecar import COMMAND, said
from tests.waiting import PATIENCE_S
from tests.webserver import WebServer

Run = Callable[..., "subprocess.CompletedProcess[str]"]
A, B = "nightly/nightly-a-1/implementation-events.jsonl", "nightly/nightly-b-1/implementation-events.jsonl"
SHARED = "the name of the folder nightly is shared with other runs"


@pytest.fixture
def backfill(database: str) -> Run:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}

    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        words = [str(COMMAND), "backfill", *map(str, arguments), "--processes", "0"]
        return forks.run_text(words, env={**kept, "DATABASE_URL": database})

    return run


@pytest.fixture
def reconcile(database: str, archive: Archive) -> Callable[[], dict[str, Outcome]]:
    def work() -> dict[str, Outcome]:
        outcomes: list[Outcome] = []
        Reconciler(Settings(database_url=database), Objects(str(archive.folder)), done=outcomes.append).once()
        return {"/".join(each.claim.key): each for each in outcomes}

    return work


@pytest.fixture
def nightly(archive: Archive) -> Archive:
    """A folder in which two teams' runs of one name lie."""
    archive.put(A, said(0, "of team a").encode())
    archive.put(B, said(0, "of team b").encode())
    return archive


@pytest.fixture
def web(start_guarded: StartGuarded, nats_server: NatsServer) -> WebServer:
    return start_guarded(NATS_URL=nats_server.url)


@pytest.fixture
def mallory(readers: Readers) -> Headers:
    """One who may operate in a namespace of hers alone."""
    return readers.add("mallory", "team-x", rights=("read", "operate"))


@pytest.fixture
def controller(readers: Readers) -> Headers:
    return readers.add("controller", "*", rights=("operate",))


def told(namespace: str, uid: str, *keys: str, name: str = "nightly") -> dict[str, Any]:
    whole = completion(name, keys, uid=uid)
    artifacts = [{"name": each["name"], "key": each["key"]} for each in whole["artifacts"]]
    return {**whole, "metadata": {**whole["metadata"], "namespace": namespace}, "artifacts": artifacts}


def complete(web: WebServer, headers: Headers, payload: dict[str, Any]) -> None:
    with closing(HTTPConnection(HOST, web.port, timeout=PATIENCE_S)) as connection:
        sent = {"Content-Type": "application/json", **headers}
        connection.request("POST", "/api/agents/runs/-/complete", json.dumps(payload), sent)
        answer = connection.getresponse()
        assert answer.status == 202, answer.read()


def publish(database: str, namespace: str, name: str, uid: str, *, ended: datetime | None = None) -> None:
    """Have a run heard of that says it is over, perhaps some time ago."""
    payload = {"messageId": "1", "content": "succeeded", "timestamp": "2026-01-01T10:00:00Z"}
    subject = f"workflow.{namespace}.{name}.{uid}.agent.executor.status"
    made = normalize(JetStreamMessage(subject, json.dumps(payload).encode(), DELIVERED), 1024 * 1024)
    assert isinstance(made, Message)
    store(database, [made])
    if ended is not None:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(
                "UPDATE workflow_comms.runs SET said = 'succeeded', said_at = %(at)s, last_at = %(at)s"
                " WHERE (workflow_namespace, workflow_uid) = (%(namespace)s, %(uid)s)",
                {"at": ended, "namespace": namespace, "uid": uid},
            )


def holds(stored: Stored) -> dict[str, list[str]]:
    """What was recovered, by the run."""
    found: dict[str, list[str]] = {}
    for run, content in stored.ask(
        "SELECT workflow_namespace || '/' || workflow_uid, content FROM workflow_comms.agent_messages"
        " WHERE attrs ->> 'source' = 'backfill' ORDER BY 1, timestamp, seq"
    ):
        found.setdefault(run, []).append(content)
    return found


def queue(database: str, payload: dict[str, Any]) -> None:
    with psycopg.connect(database) as connection:
        backlog.add(connection, read_completion(payload, datetime.now(UTC)), payload)


@pytest.mark.parametrize("only", [["--run", "team-a/uid-a"], []])
def test_of_a_folder_of_two_runs_a_backfill_reads_what_was_named_for_each(
    backfill: Run, nightly: Archive, stored: Stored, only: list[str]
) -> None:
    nightly.complete(told("team-a", "uid-a", A), told("team-b", "uid-b", B))
    assert backfill(nightly.folder, *only).returncode == 0
    whole = {"team-a/uid-a": ["of team a"], "team-b/uid-b": ["of team b"]}
    assert holds(stored) == (whole if not only else {"team-a/uid-a": ["of team a"]})
    assert any(SHARED in why for why in stored.report("uid-a")["why"])


def test_what_nobody_has_named_in_a_folder_of_two_runs_is_left_alone_and_told_of(
    backfill: Run, nightly: Archive, stored: Stored
) -> None:
    nightly.complete(told("team-a", "uid-a", A), told("team-b", "uid-b"))
    done = backfill(nightly.folder)
    assert holds(stored) == {"team-a/uid-a": ["of team a"]}
    assert f"{SHARED}: what no line of runs.jsonl names of it is left alone, artifacts: 1" in done.stderr


def test_who_backfills_by_hand_says_whose_a_folder_is(
    backfill: Run, nightly: Archive, stored: Stored, database: str
) -> None:
    publish(database, "team-a", "nightly", "uid-a")
    both = ["of team a", "of team b"]
    assert backfill(nightly.folder, "--namespace", "tenant-x").returncode == 0
    assert backfill(nightly.folder, "--run", "team-a/uid-a").returncode == 0
    assert holds(stored) == {"team-a/uid-a": both, "tenant-x/nightly": both}


@pytest.mark.usefixtures("nightly")
def test_completed_runs_of_one_name_get_what_was_named_for_each(
    web: WebServer,
    controller: Headers,
    reconcile: Callable[[], dict[str, Outcome]],
    stored: Stored,
) -> None:
    for payload in (told("team-a", "uid-a", A), told("team-b", "uid-b", B)):
        complete(web, controller, payload)
    reports = {run: outcome.report for run, outcome in reconcile().items()}
    assert holds(stored) == {"team-a/uid-a": ["of team a"], "team-b/uid-b": ["of team b"]}
    assert all(report is not None and any(SHARED in why for why in report.why) for report in reports.values())


@pytest.mark.usefixtures("nightly")
def test_a_swept_run_gets_no_folder_of_another_namespaces_run(
    reconcile: Callable[[], dict[str, Outcome]], stored: Stored, database: str
) -> None:
    """Whoever publishes two statuses under another's name is given nothing."""
    queue(database, told("team-a", "uid-a", A))
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    publish(database, "tenant-x", "nightly", "evil", ended=hour_ago)
    with psycopg.connect(database, autocommit=True) as connection:
        assert sweep(connection, hour_ago - timedelta(hours=1), datetime.now(UTC)) == 1
    reconcile()
    assert holds(stored) == {"team-a/uid-a": ["of team a"]}


def test_a_swept_run_gets_no_folder_of_a_run_that_runs_jsonl_tells_of(
    reconcile: Callable[[], dict[str, Outcome]], nightly: Archive, stored: Stored, database: str
) -> None:
    nightly.complete(told("team-a", "uid-a", A))
    queue(database, told("tenant-x", "evil"))
    reconcile()
    assert holds(stored) == {}


@pytest.mark.usefixtures("nightly")
def test_a_completed_run_gets_no_folder_whose_artifacts_were_read_for_another_namespace(
    reconcile: Callable[[], dict[str, Outcome]], stored: Stored, database: str
) -> None:
    queue(database, told("team-a", "uid-a", A, name="weekly"))
    reconcile()
    queue(database, told("tenant-x", "evil"))
    reconcile()
    assert holds(stored) == {"team-a/uid-a": ["of team a"]}


@pytest.mark.usefixtures("nightly")
def test_a_swept_run_of_a_name_of_its_own_gets_its_folder(
    reconcile: Callable[[], dict[str, Outcome]], stored: Stored, database: str
) -> None:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    publish(database, "tenant-x", "nightly", "uid-1", ended=hour_ago)
    publish(database, "tenant-x", "another", "uid-2", ended=hour_ago)
    # Somebody who knew its name alone has told of it.
    queue(database, told("tenant-x", "nightly"))
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DELETE FROM workflow_comms.reconcile_queue")
        assert sweep(connection, hour_ago - timedelta(hours=1), datetime.now(UTC)) == 2
    reconcile()
    assert holds(stored) == {"tenant-x/uid-1": ["of team a", "of team b"]}


ENVELOPES: list[Callable[[dict[str, Any]], dict[str, Any]]] = [
    lambda payload: payload,
    lambda payload: {"data": {"data": payload}},
    lambda payload: {"data": json.dumps({"data": json.dumps(payload)})},
    lambda payload: {**payload, "artifacts": json.dumps(payload["artifacts"])},
    lambda payload: {**payload, "artifacts": [{**each, "confined": False} for each in payload["artifacts"]]},
    lambda payload: {**payload, "swept": True},
]


@pytest.mark.usefixtures("nightly")
def test_who_operates_in_one_namespace_names_no_artifact_of_another(
    web: WebServer,
    mallory: Headers,
    controller: Headers,
    reconcile: Callable[[], dict[str, Outcome]],
    stored: Stored,
) -> None:
    complete(web, controller, told("team-a", "uid-a", A))
    for number, envelope in enumerate(ENVELOPES):
        complete(web, mallory, envelope(told("team-x", f"evil-{number}", A, name=f"mine-{number}")))
    outcomes = reconcile()
    assert holds(stored).keys() == {"team-a/uid-a"}
    for number in range(len(ENVELOPES)):
        report = outcomes[f"team-x/evil-{number}"].report
        assert report is not None
        assert [*report.absent.values()] == [
            f"refused: {A} is another namespace's, and who has named it may not operate in all of them"
        ]


def test_what_was_read_for_another_namespace_can_not_be_named_wherever_it_lies(
    web: WebServer,
    mallory: Headers,
    reconcile: Callable[[], dict[str, Outcome]],
    archive: Archive,
    stored: Stored,
    database: str,
) -> None:
    key = archive.put("2026/11/deep/implementation-events.jsonl", said(0, "of team a").encode())
    queue(database, told("team-a", "uid-a", key))
    reconcile()
    complete(web, mallory, told("team-x", "evil", key, name="mine"))
    reconcile()
    assert holds(stored) == {"team-a/uid-a": ["of team a"]}


def test_what_is_nobody_elses_may_be_named_by_who_operates_in_one_namespace(
    web: WebServer, mallory: Headers, reconcile: Callable[[], dict[str, Outcome]], nightly: Archive, stored: Stored
) -> None:
    key = nightly.put("elsewhere/pod/implementation-events.jsonl", said(0, "of mine").encode())
    complete(web, mallory, told("team-x", "uid-x", key, name="mine"))
    reconcile()
    assert holds(stored) == {"team-x/uid-x": ["of mine"]}


@pytest.mark.usefixtures("nightly")
def test_a_word_is_believed_for_what_it_names_itself_whatever_else_is_told(
    web: WebServer,
    mallory: Headers,
    controller: Headers,
    reconcile: Callable[[], dict[str, Outcome]],
    stored: Stored,
    database: str,
) -> None:
    """One run is told of by both: the controller's keys are read, whoever names them, too, and no other one."""
    publish(database, "team-a", "nightly", "uid-a")
    for who, key in ((mallory, B), (controller, A), (mallory, A), (mallory, B)):
        complete(web, who, told("team-x", "uid-x", key))
    reconcile()
    assert holds(stored) == {"team-x/uid-x": ["of team a"]}


def test_what_runs_jsonl_names_for_a_run_is_read_though_a_reader_of_one_namespace_names_it_too(
    web: WebServer,
    mallory: Headers,
    reconcile: Callable[[], dict[str, Outcome]],
    nightly: Archive,
    stored: Stored,
    database: str,
) -> None:
    publish(database, "team-a", "nightly", "uid-a")
    nightly.complete(told("team-x", "uid-x", A))
    complete(web, mallory, told("team-x", "uid-x", A, B))
    reconcile()
    assert holds(stored) == {"team-x/uid-x": ["of team a"]}


def test_a_folder_may_have_the_uid_for_its_name(backfill: Run, archive: Archive, stored: Stored) -> None:
    archive.put("u-folder/pod/implementation-events.jsonl", said(0, "mine").encode())
    archive.complete(told("n3", "u-folder", name="w-named"))
    assert backfill(archive.folder).returncode == 0
    assert holds(stored) == {"n3/u-folder": ["mine"]}
    assert stored.ask("SELECT workflow_namespace, workflow_name FROM workflow_comms.runs") == [("n3", "w-named")]


def test_a_completed_runs_folder_may_have_its_uid_for_its_name(
    reconcile: Callable[[], dict[str, Outcome]], archive: Archive, stored: Stored, database: str
) -> None:
    archive.put("u-folder/pod/implementation-events.jsonl", said(0, "mine").encode())
    queue(database, told("n3", "u-folder", name="w-named"))
    reconcile()
    assert holds(stored) == {"n3/u-folder": ["mine"]}


def test_a_run_that_is_named_like_anothers_uid_gets_no_folder_of_it(
    reconcile: Callable[[], dict[str, Outcome]], archive: Archive, stored: Stored, database: str
) -> None:
    archive.put("u-folder/pod/implementation-events.jsonl", said(0, "of n3").encode())
    publish(database, "n3", "w-named", "u-folder")
    queue(database, told("tenant-x", "evil", name="u-folder"))
    reconcile()
    assert holds(stored) == {}


def test_a_uid_that_no_folder_can_have_is_named(backfill: Run, archive: Archive) -> None:
    for run in ("run-1", "run-2"):
        archive.put(f"{run}/pod/implementation-events.jsonl", said(0).encode())
    done = backfill(archive.folder, "--run", "a/b/c")
    assert (done.returncode, done.stderr.strip().endswith("is named b/c")) == (1, True)


def test_of_ten_thousand_folders_it_is_asked_at_once(stored: Stored, database: str) -> None:
    stored.ask(
        "INSERT INTO workflow_comms.runs (workflow_namespace, workflow_uid, workflow_name)"
        " SELECT 'team-' || mod(i, 2), 'uid-' || i, 'run-' || i / 2 FROM generate_series(1, 20000) AS i RETURNING 1"
    )
    asked = 0

    def connect() -> "psycopg.Connection[Any]":
        nonlocal asked
        asked += 1
        return psycopg.connect(database, autocommit=True)

    wanted = [f"run-{number}" for number in range(10_001)]
    assert Owners(connect).elsewhere("team-0", wanted) == {*wanted[:-1]}
    assert asked == 1
