"""The queue of completed runs, worked through by one process or several."""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors.loopback import HOST, free_port
from connectors.objects import ObjectError, Objects, Trouble
from flows import backlog
from flows.backlog import MAX_ATTEMPTS, STATES
from flows.completion import MOST_BYTES, CompletionError, read_completion
from flows.reconcile import Outcome, Reconciler
from flows.recovery import Recovery
from flows.settings import Settings
from tests.artifacts import LOG, Archive, Stored, completion, live, recover, store
from tests.bucket import KEYS, Bucket
from tests.rights import as_nobody
from tests.sidecar import COMMAND, THREAD, event, said, talk
from tests.waiting import PATIENCE_S, wait_until
from tests.webserver import StartWeb

LINES = "\n".join(talk(2)).encode()
WHOLE = [message.content for message in live(LINES, "run-1", ends=True)]


class Queue:
    """The queue of a database."""

    def __init__(self, stored: Stored, archive: Archive) -> None:
        self.stored = stored
        self.archive = archive

    def add(self, payload: dict[str, Any]) -> None:
        """Queue a run as the web does."""
        with psycopg.connect(self.stored.dsn) as connection:
            backlog.add(connection, read_completion(payload, datetime.now(UTC)), payload)

    def state(self, run: str) -> tuple[str, int, str | None]:
        found = self.stored.ask(
            "SELECT state, attempts, last_error FROM workflow_comms.reconcile_queue WHERE workflow_uid = %s", run
        )
        return found[0][0], found[0][1], found[0][2]

    def states(self) -> dict[str, int]:
        with psycopg.connect(self.stored.dsn) as connection:
            return backlog.counts(connection)

    def make_due(self) -> None:
        """Let the time until the next try be over."""
        self.stored.ask("UPDATE workflow_comms.reconcile_queue SET next_try_at = now() RETURNING 1")

    def due(self) -> bool:
        """Say whether there is a run to be worked on."""
        return bool(self.stored.ask("SELECT next_try_at <= now() FROM workflow_comms.reconcile_queue")[0][0])

    def pass_time(self, time: timedelta) -> None:
        """Have everything that is queued have been so for longer."""
        self.stored.ask(
            "UPDATE workflow_comms.reconcile_queue"
            " SET queued_at = queued_at - %s, next_try_at = next_try_at - %s RETURNING 1",
            time,
            time,
        )

    def postpone(self) -> None:
        """Let nothing be due for as long as a test takes."""
        self.stored.ask("UPDATE workflow_comms.reconcile_queue SET next_try_at = now() + interval '1 day' RETURNING 1")

    def work(self, root: str = "", **options: Any) -> list[Outcome]:
        outcomes: list[Outcome] = []
        settings = Settings(database_url=self.stored.dsn)
        objects = Objects(root or str(self.archive.folder))
        Reconciler(settings, objects, done=outcomes.append, **options).once()
        return outcomes


@pytest.fixture
def queue(stored: Stored, archive: Archive) -> Queue:
    return Queue(stored, archive)


def test_a_queued_run_is_recovered_and_done(queue: Queue, archive: Archive, stored: Stored) -> None:
    queue.add(completion("run-1", [archive.add("run-1", LINES)]))
    (outcome,) = queue.work()
    assert outcome.state == "done"
    assert outcome.report is not None
    assert outcome.report.complete
    assert stored.contents("run-1") == WHOLE
    assert queue.state("run-1") == ("done", 1, None)
    report = stored.ask("SELECT report, finished_at IS NOT NULL FROM workflow_comms.reconcile_queue")[0]
    assert (report[0]["inserted"], report[1]) == (len(WHOLE), True)
    assert queue.work() == []


def test_a_run_that_is_told_again_without_its_artifacts_is_recovered(
    queue: Queue, archive: Archive, stored: Stored
) -> None:
    told = completion("run-1", [archive.add("elsewhere", LINES)])
    queue.add(told)
    queue.add({"metadata": told["metadata"]})
    (outcome,) = queue.work()
    assert (outcome.state, stored.contents("run-1")) == ("done", WHOLE)


def test_what_is_told_of_a_run_has_an_end_and_loses_nothing_by_it(queue: Queue, stored: Stored) -> None:
    told = completion("run-1")
    queue.add({**told, "note": "x" * (MOST_BYTES // 2)})
    with pytest.raises(CompletionError, match="body: with what was told before it has"):
        queue.add({**told, "another": "x" * (MOST_BYTES // 2)})
    queue.add({**told, "stage": "review"})
    assert stored.ask("SELECT payload - 'note' FROM workflow_comms.reconcile_queue") == [
        ({"metadata": told["metadata"], "status": told["status"], "stage": "review"},)
    ]


def test_a_run_that_came_whole_is_done_at_once(queue: Queue, archive: Archive, database: str) -> None:
    store(database, live(LINES, "run-1", ends=True))
    queue.add(completion("run-1", [archive.add("run-1", LINES)]))
    (outcome,) = queue.work()
    assert outcome.report is not None
    assert (outcome.report.inserted, outcome.report.live_percent, outcome.report.why) == (0, 100.0, [])


def test_what_the_folder_holds_beside_the_payload_is_read_too(queue: Queue, archive: Archive, stored: Stored) -> None:
    archive.add("run-1", b"", pod="pod-1")
    archive.add("run-1", b"from the log", artifact=LOG, pod="pod-1")
    queue.add(completion("run-1", ["run-1/pod-1/implementation-events.tgz"]))
    queue.work()
    assert stored.contents("run-1") == ["from the log"]


def test_what_is_not_there_yet_is_tried_again_later(queue: Queue, archive: Archive, stored: Stored) -> None:
    queue.add(completion("run-1", ["run-1/run-1/implementation-events.tgz"]))
    (outcome,) = queue.work()
    assert outcome.state == "queued"
    state, attempts, error = queue.state("run-1")
    assert (state, attempts) == ("queued", 1)
    assert error == "missing: run-1/run-1/implementation-events.tgz is not there"
    due = stored.ask("SELECT next_try_at > now() FROM workflow_comms.reconcile_queue")
    assert due == [(True,)]
    assert queue.work() == []
    archive.add("run-1", LINES)
    queue.make_due()
    assert [each.state for each in queue.work()] == ["done"]
    assert stored.contents("run-1") == WHOLE
    assert queue.state("run-1") == ("done", 2, None)


def test_a_log_is_not_taken_while_the_events_may_still_come(queue: Queue, archive: Archive, stored: Stored) -> None:
    archive.add("run-1", b"only the log", artifact=LOG)
    queue.add(completion("run-1", ["run-1/run-1/implementation-events.tgz"]))
    queue.work()
    assert stored.count() == 0
    stored.ask("UPDATE workflow_comms.reconcile_queue SET attempts = %s RETURNING 1", MAX_ATTEMPTS - 1)
    queue.make_due()
    (outcome,) = queue.work()
    assert outcome.state == "failed"
    assert stored.contents("run-1") == ["only the log"]


def test_after_many_tries_a_run_is_given_up_until_somebody_wants_it(
    queue: Queue, archive: Archive, stored: Stored
) -> None:
    queue.add(completion("run-1", ["run-1/run-1/implementation-events.tgz"]))
    for number in range(1, MAX_ATTEMPTS + 1):
        (outcome,) = queue.work()
        assert outcome.state == ("failed" if number == MAX_ATTEMPTS else "queued")
        queue.make_due()
    assert queue.work() == []
    assert queue.states() == {"queued": 0, "running": 0, "done": 0, "failed": 1}
    archive.add("run-1", LINES)
    with psycopg.connect(stored.dsn, autocommit=True) as connection:
        assert backlog.retry(connection) == 1
    assert [each.state for each in queue.work()] == ["done"]


def test_tries_are_ever_further_apart() -> None:
    delays = [backlog.delay(attempts) for attempts in range(1, MAX_ATTEMPTS)]
    assert timedelta(seconds=45) <= delays[0] <= timedelta(minutes=1)
    assert all(later > earlier for earlier, later in pairwise(delays) if later < timedelta(hours=4))
    assert max(delays) <= timedelta(hours=6)


def test_artifacts_that_come_late_are_found(queue: Queue, archive: Archive, stored: Stored) -> None:
    queue.add(completion("run-1"))
    (outcome,) = queue.work()
    assert (outcome.state, outcome.error) == ("queued", "artifacts missing")
    assert not queue.due()
    archive.add("run-1", LINES)
    queue.make_due()
    assert [each.state for each in queue.work()] == ["done"]
    assert stored.contents("run-1") == WHOLE
    assert queue.state("run-1") == ("done", 1, None)


def test_a_run_without_artifacts_is_done_and_not_complete_after_a_day(queue: Queue, stored: Stored) -> None:
    queue.add(completion("run-1"))
    waits: list[timedelta] = []
    while (outcome := queue.work()[0]).state == "queued":
        ((wait,),) = stored.ask("SELECT next_try_at - now() FROM workflow_comms.reconcile_queue")
        waits.append(wait)
        queue.pass_time(wait)
    assert timedelta(seconds=44) < waits[0] < timedelta(minutes=1)
    assert timedelta(hours=4) < max(waits) < timedelta(hours=6)
    assert sum(waits, timedelta()) >= timedelta(days=1)
    # However many there are that never have any, they cost little, and use up no try.
    assert len(waits) < 25
    assert outcome.report is not None
    assert (outcome.report.complete, outcome.report.why) == (False, ["artifacts missing"])
    assert queue.state("run-1") == ("done", 1, None)
    assert queue.work() == []


def test_a_completion_that_is_told_again_has_missing_artifacts_looked_for_at_once(
    queue: Queue, archive: Archive, stored: Stored
) -> None:
    queue.add(completion("run-1"))
    queue.work()
    queue.add(completion("run-1"))
    assert [each.state for each in queue.work()] == ["queued"]
    queue.pass_time(timedelta(days=2))
    assert [each.state for each in queue.work()] == ["done"]
    archive.add("run-1", LINES)
    queue.add(completion("run-1"))
    assert [each.state for each in queue.work()] == ["done"]
    assert stored.contents("run-1") == WHOLE
    queue.add(completion("run-1"))
    assert queue.work() == []


def test_a_completion_that_is_told_again_queues_what_was_given_up(queue: Queue, archive: Archive) -> None:
    queue.add(completion("run-1", ["run-1/run-1/implementation-events.tgz"]))
    stored = queue.stored
    stored.ask("UPDATE workflow_comms.reconcile_queue SET attempts = %s RETURNING 1", MAX_ATTEMPTS - 1)
    assert [each.state for each in queue.work()] == ["failed"]
    archive.add("run-1", LINES)
    queue.add(completion("run-1", ["run-1/run-1/implementation-events.tgz"]))
    assert [each.state for each in queue.work()] == ["done"]
    assert stored.contents("run-1") == WHOLE


def test_what_was_done_without_artifacts_can_be_queued_anew(queue: Queue, archive: Archive, database: str) -> None:
    for run in ("none-1", "none-2"):
        queue.add(completion(run))
    queue.add(completion("whole", [archive.add("whole", LINES)]))
    queue.pass_time(timedelta(days=2))
    queue.work()
    assert queue.states()["done"] == 3
    archive.add("none-1", LINES)
    with psycopg.connect(database, autocommit=True) as connection:
        assert backlog.retry(connection) == 2
    # Whoever has waited for so long is not waited for again.
    assert sorted(each.claim.workflow_uid for each in queue.work() if each.state == "done") == ["none-1", "none-2"]
    assert queue.stored.contents("none-1") == WHOLE


def test_runs_that_wait_for_artifacts_are_listed_behind_those_that_were_given_up(
    queue: Queue, archive: Archive, database: str
) -> None:
    queue.add(completion("none"))
    queue.add(completion("given-up", ["given-up/pod/implementation-events.tgz"]))
    queue.add(completion("later", ["later/pod/implementation-events.tgz"]))
    queue.stored.ask(
        "UPDATE workflow_comms.reconcile_queue SET attempts = %s WHERE workflow_uid = 'given-up' RETURNING 1",
        MAX_ATTEMPTS - 1,
    )
    queue.work()
    queue.add(completion("new", [archive.add("new", LINES)]))
    with psycopg.connect(database) as connection:
        waiting = [(each.workflow_uid, each.attempts) for each in backlog.waiting(connection, 10)]
    assert waiting == [("later", 1), ("given-up", MAX_ATTEMPTS), ("none", 0)]


def test_what_is_damaged_is_not_tried_again(queue: Queue, archive: Archive) -> None:
    path = archive.folder / archive.add("run-1", talk(50))
    path.write_bytes(path.read_bytes()[:-100])
    queue.add(completion("run-1", ["run-1/run-1/implementation-events.tgz"]))
    (outcome,) = queue.work()
    assert outcome.state == "done"
    assert outcome.report is not None
    assert not outcome.report.complete


def test_one_run_that_can_not_be_had_delays_no_other(queue: Queue, archive: Archive) -> None:
    for number in range(5):
        queue.add(completion(f"run-{number}", [archive.add(f"run-{number}", LINES)]))
    queue.add(completion("gone", ["gone/gone/implementation-events.tgz"]))
    queue.add(completion("foreign", ["../../etc/implementation-events.tgz"]))
    queue.add(completion("odd", ["odd/\n\x1b.jsonl"]))
    queue.add(completion("bare", ["/"]))
    queue.work()
    assert queue.states() == {"queued": 1, "running": 0, "done": 8, "failed": 0}


def test_a_run_that_breaks_the_work_is_put_off_alone(
    queue: Queue, archive: Archive, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = Recovery.conclude

    def broken(self: Recovery, at: datetime) -> Any:
        if self.run.uid == "run-2":
            message = "nobody thought of this"
            raise ZeroDivisionError(message)
        return whole(self, at)

    monkeypatch.setattr(Recovery, "conclude", broken)
    for number in range(5):
        queue.add(completion(f"run-{number}", [archive.add(f"run-{number}", LINES)]))
    queue.work()
    assert queue.states() == {"queued": 1, "running": 0, "done": 4, "failed": 0}
    assert queue.state("run-2") == ("queued", 1, "ZeroDivisionError: nobody thought of this")
    assert "run-2 can't be recovered" in caplog.text


@pytest.mark.parametrize("is_away", [True, False])
def test_a_root_that_can_not_be_listed_costs_no_run_a_try(
    queue: Queue, bucket: Bucket, monkeypatch: pytest.MonkeyPatch, *, is_away: bool
) -> None:
    queue.add(completion("run-1", ["run-1/run-1/implementation-events.tgz"]))
    if is_away:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{HOST}:1")
    with pytest.raises(ObjectError) as raised:
        queue.work(bucket.root if is_away else f"{bucket.root}-of-nobody")
    assert raised.value.trouble is (Trouble.UNREACHABLE if is_away else Trouble.MISSING)
    assert queue.state("run-1") == ("queued", 0, None)
    assert queue.due()


@pytest.mark.parametrize("shut", ["run-1", "run-1/run-1"])
@pytest.mark.parametrize("mode", [0, 0o444], ids=oct)
def test_a_run_whose_folder_may_not_be_read_is_tried_again_and_the_others_are_done(
    mode: int, shut: str, common: Path, stored: Stored
) -> None:
    queue = Queue(stored, Archive(common))
    for run in ("run-1", "run-2"):
        queue.archive.add(run, LINES)
        queue.add(completion(run))
    (common / shut).chmod(mode)
    with as_nobody():
        outcomes = {each.claim.workflow_uid: each for each in queue.work()}
    assert {run: each.state for run, each in outcomes.items()} == {"run-1": "queued", "run-2": "done"}
    assert queue.state("run-1") == ("queued", 1, f"forbidden: {common}/{shut} may not be read")
    report = outcomes["run-1"].report
    assert report is not None
    assert report.why == ["1 artifact missing"]
    (common / shut).chmod(0o755)
    queue.make_due()
    assert [each.state for each in queue.work()] == ["done"]
    assert stored.contents("run-1") == WHOLE


def test_a_root_that_may_not_be_entered_costs_no_run_a_try(common: Path, stored: Stored) -> None:
    queue = Queue(stored, Archive(common))
    queue.archive.add("run-1", LINES)
    queue.add(completion("run-1"))
    common.chmod(0o444)
    with as_nobody(), pytest.raises(ObjectError, match="may not be read"):
        queue.work()
    assert queue.state("run-1") == ("queued", 0, None)


def test_a_loop_waits_for_its_root(
    queue: Queue, archive: Archive, stored: Stored, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    queue.add(completion("run-1", [archive.add("run-1", LINES)]))
    elsewhere = archive.folder.rename(tmp_path / "not-mounted")
    work = Reconciler(Settings(database_url=stored.dsn), Objects(str(archive.folder)))
    loop = threading.Thread(target=work.for_ever, args=(timedelta(seconds=0.05), timedelta(), lambda _: None))
    loop.start()
    try:
        wait_until(lambda: f"artifacts: {archive.folder} is no folder; trying again" in caplog.text, "the warning")
        assert queue.state("run-1")[1] <= 1
        elsewhere.rename(archive.folder)
        wait_until(lambda: queue.state("run-1") == ("done", 1, None), "the run")
    finally:
        work.stop()
        loop.join()


def test_a_bucket_is_worked_on_by_the_keys_of_the_payload(queue: Queue, bucket: Bucket, stored: Stored) -> None:
    bucket.put("elsewhere/deep/implementation-events.jsonl", LINES)
    queue.add(completion("run-1", ["elsewhere/deep/implementation-events.jsonl"]))
    (outcome,) = queue.work(bucket.root)
    assert outcome.state == "done"
    assert stored.contents("run-1") == WHOLE


def test_several_workers_never_do_a_run_twice(queue: Queue, archive: Archive, stored: Stored) -> None:
    for number in range(60):
        queue.add(completion(f"run-{number:02}", [archive.add(f"run-{number:02}", talk(1))]))
    outcomes: list[list[Outcome]] = []
    workers = [threading.Thread(target=lambda: outcomes.append(queue.work())) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    worked = [outcome.claim.workflow_uid for some in outcomes for outcome in some]
    assert sorted(worked) == [f"run-{number:02}" for number in range(60)]
    assert stored.ask("SELECT DISTINCT attempts FROM workflow_comms.reconcile_queue") == [(1,)]
    assert stored.count() == 60 * len(live("\n".join(talk(1)).encode(), "run", ends=True))


def test_what_a_dead_worker_had_is_taken_over(queue: Queue, archive: Archive, database: str) -> None:
    queue.add(completion("run-1", [archive.add("run-1", LINES)]))
    with psycopg.connect(database, autocommit=True) as connection:
        (claim,) = backlog.claim(connection, 10)
        assert queue.work() == []
        queue.make_due()
        assert [each.state for each in queue.work()] == ["done"]
        # Its late word counts for nothing.
        backlog.put_off(connection, claim, "too late")
    assert queue.state("run-1") == ("done", 2, None)


def test_a_lease_is_renewed_while_it_is_worked_on(queue: Queue, archive: Archive, database: str) -> None:
    queue.add(completion("run-1", [archive.add("run-1", LINES)]))
    with psycopg.connect(database, autocommit=True) as connection:
        claims = backlog.claim(connection, 10)
        queue.make_due()
        backlog.keep(connection, claims)
    assert queue.work() == []


def test_a_run_whose_workers_die_again_and_again_is_given_up(queue: Queue, archive: Archive, database: str) -> None:
    queue.add(completion("run-1", [archive.add("run-1", LINES)]))
    with psycopg.connect(database, autocommit=True) as connection:
        for _ in range(MAX_ATTEMPTS):
            assert len(backlog.claim(connection, 10)) == 1
            queue.make_due()
        assert backlog.claim(connection, 10) == []
    state, _, error = queue.state("run-1")
    assert (state, error) == ("failed", f"whoever worked on it has died {MAX_ATTEMPTS} times")


def test_another_word_of_the_controller_meanwhile_is_worked_on_too(
    queue: Queue, archive: Archive, database: str, stored: Stored
) -> None:
    queue.add(completion("run-1", [archive.add("run-1", LINES)]))
    with psycopg.connect(database, autocommit=True) as connection:
        (claim,) = backlog.claim(connection, 10)
        archive.put("elsewhere/more-events.jsonl", said(99, "more").encode())
        queue.add(completion("run-1", ["elsewhere/more-events.jsonl"]))
        backlog.give_back(connection, claim)
    assert queue.state("run-1")[:2] == ("queued", 0)
    assert [each.state for each in queue.work()] == ["done"]
    assert "more" in stored.contents("run-1")


def test_finished_runs_that_nobody_queued_are_found(
    queue: Queue, archive: Archive, database: str, stored: Stored
) -> None:
    archive.add("run-1", LINES)
    archive.add("run-2", LINES)
    store(database, live(LINES, "run-1", upto=5))
    store(database, live(LINES, "run-2", upto=5))
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    stored.ask(
        "UPDATE workflow_comms.runs SET said = 'succeeded', said_at = %s, last_at = %s"
        " WHERE workflow_uid = 'run-1' RETURNING 1",
        hour_ago,
        hour_ago,
    )
    work = Reconciler(Settings(database_url=database), Objects(str(archive.folder)))
    assert work.sweep(timedelta(minutes=30)) == 0
    assert work.sweep(timedelta(days=1)) == 1
    assert work.sweep(timedelta(days=1)) == 0
    queue.work()
    assert stored.contents("run-1") == WHOLE
    assert len(stored.contents("run-2")) < len(WHOLE)
    # Nobody's word but the messages' own.
    assert stored.ask("SELECT phase, state FROM workflow_comms.runs WHERE workflow_uid = 'run-1'") == [
        (None, "succeeded")
    ]


def test_a_finished_run_without_a_message_that_nobody_queued_is_found(
    queue: Queue, archive: Archive, database: str, stored: Stored
) -> None:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    archive.complete(
        completion("run-1", started=(hour_ago - timedelta(hours=1)).isoformat(), finished=hour_ago.isoformat())
    )
    recover(database, archive.folder)
    assert stored.ask("SELECT messages, last_at FROM workflow_comms.runs") == [(0, None)]
    archive.add("run-1", LINES)
    work = Reconciler(Settings(database_url=database), Objects(str(archive.folder)))
    assert work.sweep(timedelta(minutes=30)) == 0
    assert work.sweep(timedelta(days=1)) == 1
    queue.work()
    assert stored.contents("run-1") == WHOLE


def test_a_run_that_the_web_was_told_of_is_recovered(
    start_web: StartWeb, database: str, queue: Queue, archive: Archive, stored: Stored
) -> None:
    web = start_web(DATABASE_URL=database)
    body = json.dumps({"data": completion("run-1", [archive.add("run-1", LINES)], uid="uid-1")})
    connection = HTTPConnection(HOST, web.port, timeout=PATIENCE_S)
    connection.request("POST", "/api/agents/runs/run-1/complete", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 202
    connection.close()
    wait_until(lambda: web.metric('agent_comms_reconcile_queue_runs{state="queued"}') == 1, "the figure")
    assert [each.state for each in queue.work()] == ["done"]
    assert stored.contents("uid-1") == WHOLE
    assert stored.report("uid-1")["complete"] is True
    wait_until(lambda: web.metric('agent_comms_reconcile_queue_runs{state="done"}') == 1, "the other figure")


@contextmanager
def command(*words: str, **environ: str) -> Iterator["subprocess.Popen[str]"]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    process = subprocess.Popen(
        [str(COMMAND), "reconcile", *words],
        env=kept | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_the_command_works_once_and_says_what_came_of_each(queue: Queue, archive: Archive, database: str) -> None:
    queue.add(completion("run-1", [archive.add("run-1", LINES)]))
    queue.add(completion("run-2", ["run-2/run-2/implementation-events.tgz"]))
    with command(str(archive.folder), DATABASE_URL=database) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert f"agents/run-1: done; {len(WHOLE)} of {len(WHOLE)} messages recovered" in out
    assert "agents/run-2: is tried again later: missing: run-2/run-2/implementation-events.tgz is not there" in out
    queue.postpone()
    with command(str(archive.folder), "--json", DATABASE_URL=database) as process:
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, err) == (0, "", "agent-comms: nothing is due\n")
    with command("--show", DATABASE_URL=database) as process:
        out, _ = process.communicate(timeout=PATIENCE_S)
    assert out.startswith("1 queued, 0 running, 1 done, 0 failed\nagents/run-2  queued, 1 tries, next at ")
    queue.stored.ask("UPDATE workflow_comms.reconcile_queue SET attempts = %s RETURNING 1", MAX_ATTEMPTS - 1)
    queue.make_due()
    with command(str(archive.folder), DATABASE_URL=database) as process:
        out, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 4
    assert out.startswith("agents/run-2: given up: missing: ")


@pytest.mark.parametrize(
    ("root", "code", "words"), [("no-folder", 1, "is no folder"), ("s3://nobodys-bucket", 3, "can't be reached")]
)
@pytest.mark.parametrize("is_due", [True, False])
def test_a_root_that_is_not_there_ends_the_command_with_one_line(
    queue: Queue, database: str, tmp_path: Path, root: str, code: int, words: str, *, is_due: bool
) -> None:
    queue.add(completion("run-1", ["run-1/run-1/implementation-events.tgz"]))
    if not is_due:
        queue.postpone()
    place = root if ":" in root else str(tmp_path / root)
    environ = {**KEYS, "AWS_ENDPOINT_URL_S3": f"http://{HOST}:1", "DATABASE_URL": database}
    for more in ([], ["--loop"]):
        with command(place, *more, **environ) as process:
            out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out, err.count("\n")) == (code, "", 1)
        assert err.startswith(f"agent-comms: {place} {words}")
    assert queue.state("run-1") == ("queued", 0, None)


def test_the_loop_works_as_runs_come_tells_prometheus_and_ends_in_good_order(
    queue: Queue, archive: Archive, database: str, stored: Stored
) -> None:
    port = free_port()
    environ = {"DATABASE_URL": database, "AGENT_COMMS_METRICS_PORT": str(port)}
    with command(str(archive.folder), "--loop", "--every", "0.2", **environ) as process:
        queue.add(completion("run-1", [archive.add("run-1", LINES)]))
        wait_until(lambda: queue.states()["done"] == 1, "the first run")
        queue.add(completion("run-2", [archive.add("run-2", LINES)]))
        wait_until(lambda: queue.states()["done"] == 2, "the second run")

        def metrics() -> str:
            connection = HTTPConnection(HOST, port, timeout=PATIENCE_S)
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()

        wait_until(lambda: 'agent_comms_reconcile_queue_runs{state="done"} 2.0' in metrics(), "the gauge")
        assert all(f'agent_comms_reconcile_queue_runs{{state="{state}"}}' in metrics() for state in STATES)
        wait_until(lambda: f"agent_comms_recovered_messages_total {2 * len(WHOLE)}" in metrics(), "the counter")
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
    assert stored.contents("run-2") == WHOLE


def test_a_call_that_was_closed_says_that_the_run_was_killed(queue: Queue, archive: Archive) -> None:
    open_call = (
        '{"type":"item.started","item":{"id":"item_0","type":"command_execution","command":"x","status":"in_progress"}}'
    )
    queue.add(completion("run-1", [archive.add("run-1", [event("thread.started", thread_id=THREAD), open_call])]))
    (outcome,) = queue.work()
    assert outcome.report is not None
    assert outcome.report.why[0] == "1 call never answered"
