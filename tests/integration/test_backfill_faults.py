"""Backfills that are killed, whose Postgres or bucket goes away, and artifacts that can't be had."""

import gzip
import io
import json
import os
import random
import signal
import tarfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors.embedded import EmbeddedPostgres
from connectors.lines import MAX_LINE_BYTES
from connectors.objects import Objects
from flows.backfill import Backfill, Options
from flows.bundle import workers
from flows.catalog import Catalog
from flows.codex import Reader
from flows.courtesy import ALONE_AHEAD_BYTES, BESIDE_AHEAD_BYTES, BESIDE_ROWS, Courtesy
from flows.progress import Progress
from flows.recovery import Recovery
from flows.settings import Settings
from flows.summary import Summary
from tests.artifacts import Archive, Stored, completion, live, recover, store, tgz
from tests.backfilling import finish, kill_in_the_midst, moments, open_gate, shut_gate, start
from tests.bucket import Bucket
from tests.ingestion import assert_runs_agree
from tests.proxy import Proxy
from tests.rights import as_nobody
from tests.servers import fresh_database
from tests.sidecar import talk
from tests.waiting import wait_until

TURNS = 4
LINES = "\n".join(talk(TURNS)).encode()
WHOLE = [message.content for message in live(LINES, "run", ends=True)]
RUNS = 60


@pytest.fixture
def many(archive: Archive) -> Archive:
    for number in range(RUNS):
        archive.add(f"run-{number:03}", LINES)
    return archive


def summed(run: Recovery) -> Summary:
    summary = Summary()
    summary.add(run)
    return summary


def assert_whole(stored: Stored, runs: int = RUNS) -> None:
    assert stored.contents() == WHOLE * runs
    assert stored.ask("SELECT count(*), sum(inserted) FROM workflow_comms.artifacts WHERE state = 'read'") == [
        (runs, runs * len(WHOLE))
    ]
    assert_runs_agree(stored.dsn)


def test_killed_at_random_moments_it_goes_on_and_stores_each_message_once(
    many: Archive, database: str, stored: Stored, seed: int
) -> None:
    chance = random.Random(seed)
    done = 0
    for rows in moments(chance, RUNS * len(WHOLE) * 3 // 4, 3):
        kill_in_the_midst(start(database, many.folder, "--processes", str(chance.choice((0, 1)))), stored, rows)
        read = stored.ask("SELECT count(*) FROM workflow_comms.artifacts WHERE state = 'read'")[0][0]
        assert read >= done, "what was done is done"
        done = read
    last = finish(database, many.folder)
    assert last.returncode == 0, last.stderr
    assert_whole(stored)


def test_after_a_kill_nothing_that_was_finished_is_read_again(many: Archive, database: str, stored: Stored) -> None:
    shut_gate(database)
    process = start(database, many.folder, "--processes", "1")
    wait_until(
        lambda: stored.ask("SELECT count(*) FROM workflow_comms.artifacts WHERE state = 'read'")[0][0] > 0,
        "some that are finished",
    )
    process.kill()
    process.communicate()
    done = stored.ask("SELECT location FROM workflow_comms.artifacts WHERE state = 'read'")
    assert len(done) < RUNS
    open_gate(database)
    for (location,) in done:
        # As long and as old as before, but whoever reads it finds nothing.
        path = Path(location.removeprefix("file://"))
        known = path.stat()
        with path.open("r+b") as file:
            file.write(bytes(known.st_size))
        os.utime(path, ns=(known.st_atime_ns, known.st_mtime_ns))
    last = finish(database, many.folder)
    assert last.returncode == 0, last.stderr
    assert f"{len(done):,} unchanged" in last.stdout
    assert_whole(stored)


def test_postgres_restarted_in_the_midst_is_waited_for(many: Archive, own_postgres_server: EmbeddedPostgres) -> None:
    own_postgres_server.stop_signal = signal.SIGQUIT
    with fresh_database(own_postgres_server) as database:
        stored = Stored(database)
        shut_gate(database)
        process = start(database, many.folder, "--processes", "1")
        for rows in (300, 1_200):
            wait_until(lambda: stored.count() >= rows, f"{rows} rows")  # noqa: B023
            assert process.poll() is None
            own_postgres_server.restart()
        open_gate(database)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        assert "Traceback" not in said
        assert "; trying again" in said
        assert_whole(stored)


def test_where_postgres_stays_away_it_ends_and_the_next_goes_on(
    many: Archive, own_postgres_server: EmbeddedPostgres
) -> None:
    with fresh_database(own_postgres_server) as database:
        stored = Stored(database)
        killed = False

        def kill(progress: Progress) -> None:
            nonlocal killed
            if progress.rows and not killed:
                killed = True
                own_postgres_server.kill()

        objects = Objects(str(many.folder))
        options = Options(processes=0, patience=timedelta(seconds=1))
        work = Backfill(Settings(database_url=database), objects, options, watch=kill)
        work.prepare(Catalog(objects).everything())
        with pytest.raises(psycopg.OperationalError):
            work.run()
        own_postgres_server.start()
        assert stored.count() < RUNS * len(WHOLE)
        recover(database, many.folder)
        assert_whole(stored)


def test_a_way_to_the_bucket_that_breaks_in_the_midst_costs_one_run_another_try(
    bucket: Bucket, database: str, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        bucket.put(f"run-{number}/run-{number}/implementation-events.jsonl", LINES)
    with Proxy(bucket.store.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.instead(bucket.store.url))
        proxy.cut_at(f"/{bucket.name}/run-3/".encode(), from_client=True, times=100)
        reports = {name: run.report for name, run in recover(database, bucket.root).items() if run.report}
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.store.url)
    assert [name for name, report in reports.items() if report.damaged] == ["run-3"]
    (said,) = reports["run-3"].damaged.values()
    assert said.startswith("unreachable: ")
    assert reports["run-3"].waiting
    assert stored.count() == 5 * len(WHOLE)
    assert [*recover(database, bucket.root)] == ["run-3"]
    assert_whole(stored, 6)


def test_an_object_that_may_not_be_read_is_told_and_tried_again(
    bucket: Bucket, database: str, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        bucket.put(f"run-{number}/run-{number}/implementation-events.jsonl", LINES)
    forbidden = f"arn:aws:s3:::{bucket.name}/run-1/*"
    with bucket.store.guarded("backfill", forbidden) as keys:
        for name, value in keys.items():
            monkeypatch.setenv(name, value)
        reports = {name: run.report for name, run in recover(database, bucket.root).items() if run.report}
    assert [name for name, report in reports.items() if report.damaged] == ["run-1"]
    (said,) = reports["run-1"].damaged.values()
    assert said == "forbidden: run-1/run-1/implementation-events.jsonl may not be read"
    assert reports["run-1"].waiting
    assert [*recover(database, bucket.root)] == ["run-1"]
    assert_whole(stored, 3)


def test_a_file_that_may_not_be_read_is_told_and_tried_again(common: Path, database: str, stored: Stored) -> None:
    archive = Archive(common)
    paths = [archive.folder / archive.add(f"run-{number}", LINES) for number in range(3)]
    paths[1].chmod(0)
    with as_nobody():
        reports = {name: run.report for name, run in recover(database, common).items() if run.report}
    (said,) = reports["run-1"].damaged.values()
    assert said == "forbidden: run-1/run-1/implementation-events.tgz may not be read"
    assert not reports["run-0"].damaged
    paths[1].chmod(0o644)
    assert [*recover(database, common)] == ["run-1"]
    assert_whole(stored, 3)


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize("shut", ["run-1", "run-1/run-1"])
@pytest.mark.parametrize("mode", [0, 0o444], ids=oct)
def test_a_folder_that_may_not_be_read_is_told_and_costs_no_other_run(
    mode: int, shut: str, common: Path, database: str, stored: Stored, *, is_told: bool
) -> None:
    archive = Archive(common)
    for number in range(3):
        archive.add(f"run-{number}", LINES)
        if is_told:
            archive.complete(completion(f"run-{number}"))
    (common / shut).chmod(mode)
    summary = Summary()
    with as_nobody():
        done = recover(database, common)
    for each in done.values():
        summary.add(each)
    reports = {name: run.report for name, run in done.items() if run.report}
    assert reports["run-1"].absent == {f"file://{common}/{shut}": f"forbidden: {common}/{shut} may not be read"}
    assert "1 artifact missing" in reports["run-1"].why
    assert reports["run-1"].waiting
    assert not summary.is_whole
    assert [name for name, report in reports.items() if report.absent] == ["run-1"]
    assert stored.count() == 2 * len(WHOLE)
    (common / shut).chmod(0o755)
    assert [*recover(database, common)] == ["run-1"]
    assert_whole(stored, 3)


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        (tgz("implementation-events.jsonl", LINES)[:-300], "truncated"),
        (tgz("implementation-events.jsonl", LINES)[:200] + bytes(64) + tgz("e", LINES)[264:], "corrupt"),
        (b"PK\x03\x04" + bytes(100), "of a foreign format"),
        (b"", "truncated"),
    ],
    ids=["truncated", "corrupt", "foreign", "no bytes"],
)
def test_what_is_damaged_is_told_and_costs_no_other_run(
    spoilt: bytes, why: str, archive: Archive, database: str, stored: Stored
) -> None:
    keys = [archive.add("before", LINES), archive.put("spoilt/p/implementation-events.tgz", spoilt)]
    keys.append(archive.add("later", LINES))
    archive.complete(*(completion(key.partition("/")[0], [key]) for key in keys))
    reports = {name: run.report for name, run in recover(database, archive.folder, processes=2).items() if run.report}
    (said,) = reports["spoilt"].damaged.values()
    assert said.startswith(f"{why}: spoilt/p/implementation-events.tgz: ")
    assert reports["spoilt"].why[0] == "1 artifact not to be read to the end"
    assert reports["before"].complete
    assert reports["later"].complete
    assert stored.contents("before") == stored.contents("later") == WHOLE


@pytest.mark.parametrize("end", [".tgz", ""])
@pytest.mark.parametrize(
    "data",
    [
        b"<html>403 Forbidden</html>\n",
        bytes(range(256)) * 10,
        b"\xff\xfe\x00\n" * 3,
        json.dumps({"type": "thread.started"}, indent=1).encode(),
        json.dumps([{"type": "thread.started"}]).encode(),
        bytes(4096),
    ],
    ids=["an error page", "binary", "no text", "pretty", "an array", "never written"],
)
def test_what_holds_no_event_is_no_damage_and_is_told(
    data: bytes, end: str, archive: Archive, database: str, stored: Stored
) -> None:
    keys = [archive.add("run-1", data, end=end), archive.add("run-2", LINES)]
    archive.complete(*(completion(key.partition("/")[0], [key]) for key in keys))
    done = recover(database, archive.folder)
    report, other = done["run-1"].report, done["run-2"].report
    assert report is not None
    assert other is not None
    place = f"file://{archive.folder}/{keys[0]}"
    assert (report.why, report.eventless) == ([f"{place} holds no event"], [place])
    assert (report.complete, report.damaged, report.waiting, report.rows) == (False, {}, False, 0)
    assert other.complete
    assert stored.contents() == WHOLE
    # It is told each time, and not read again.
    (again,) = recover(database, archive.folder).values()
    assert again.is_unchanged
    summary = summed(again)
    assert (summary.lacking, summary.eventless, summary.is_whole) == (1, 1, False)


@pytest.mark.parametrize("end", [".tgz", ".gz", ""])
@pytest.mark.parametrize("data", [b"", b"\n\n"], ids=["empty", "blank"])
def test_an_artifact_in_which_nothing_is_said_lacks_nothing(
    data: bytes, end: str, archive: Archive, database: str
) -> None:
    archive.complete(completion("run-1", [archive.add("run-1", data, end=end)]))
    done = recover(database, archive.folder)["run-1"]
    assert done.report is not None
    assert (done.report.complete, done.report.why) == (True, [])
    assert summed(done).is_whole


@pytest.mark.parametrize("name", ["codex-events.tgz", "codex-events.jsonl.gz", "codex-events.tar", "main.tar.gz"])
def test_what_is_packed_by_its_name_and_has_no_bytes_is_truncated(name: str, archive: Archive, database: str) -> None:
    archive.complete(completion("run-1", [archive.put(f"run-1/p/{name}", b"")]))
    done = recover(database, archive.folder)["run-1"]
    assert done.report is not None
    (said,) = done.report.damaged.values()
    assert said == f"truncated: run-1/p/{name}: by its name it is packed, and it has no bytes"
    assert (done.report.complete, done.report.why) == (False, ["1 artifact not to be read to the end"])
    assert not summed(done).is_whole


def archive_of(*folders: str) -> bytes:
    """An archive of folders, in which no file is."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for folder in folders:
            member = tarfile.TarInfo(folder)
            member.type = tarfile.DIRTYPE
            made.addfile(member)
    return buffer.getvalue()


@pytest.mark.parametrize("skims", [False, True])
@pytest.mark.parametrize("folders", [[], ["out"]], ids=["nothing", "a folder"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["tar", "tgz"])
def test_an_archive_of_events_in_which_no_file_is_holds_no_event(
    pack: Callable[[bytes], bytes], folders: list[str], archive: Archive, database: str, *, skims: bool
) -> None:
    key = archive.put("run-1/p/codex-events.tgz", pack(archive_of(*folders)))
    archive.complete(completion("run-1", [key]))
    if skims:
        recover(database, archive.folder)
    done = recover(database, archive.folder, again=skims)["run-1"]
    assert done.report is not None
    assert done.report.why == [f"file://{archive.folder}/{key} holds no event"]
    assert (done.report.complete, done.report.damaged, summed(done).is_whole) == (False, {}, False)


@pytest.mark.parametrize("data", [archive_of(), tgz("notes.txt", b"hello")], ids=["nothing", "something else"])
def test_a_run_that_left_only_archives_of_something_else_is_not_complete(
    data: bytes, archive: Archive, database: str
) -> None:
    key = archive.put("run-1/p/main.tgz", data)
    archive.complete(completion("run-1", [key]))
    done = recover(database, archive.folder)["run-1"]
    assert done.report is not None
    place = f"file://{archive.folder}/{key}"
    assert done.report.why == ["no artifact is an agent's", f"{place} is an archive without events or an agent's log"]
    # All that the artifacts hold of agents is stored.
    assert (done.report.complete, summed(done).is_whole) == (False, True)


@pytest.mark.parametrize("skims", [False, True])
@pytest.mark.parametrize("what", ["too long to be read", "that can't be read"])
def test_a_line_that_is_lost_is_told_and_costs_no_other(
    what: str, archive: Archive, database: str, stored: Stored, monkeypatch: pytest.MonkeyPatch, *, skims: bool
) -> None:
    whole = Reader.read

    def broken(self: Reader, number: int, data: bytes) -> Any:
        if data == b"broken":
            raise RecursionError
        return whole(self, number, data)

    monkeypatch.setattr(Reader, "read", broken)
    line = b"broken" if what == "that can't be read" else b"x" * (MAX_LINE_BYTES + 1)
    archive.complete(completion("run-1", [archive.add("run-1", LINES + b"\n" + line)]))
    if skims:
        recover(database, archive.folder)
    done = recover(database, archive.folder, again=skims)["run-1"]
    assert done.report is not None
    assert (done.report.why[0], done.report.complete) == (f"1 line {what}", False)
    assert stored.contents() == WHOLE
    assert not summed(done).is_whole
    # It is told each time, and not read again.
    (again,) = recover(database, archive.folder).values()
    assert again.is_unchanged
    told = summed(again)
    assert (told.lacking, told.lost, told.is_whole) == (1, 1, False)


@pytest.mark.parametrize("skims", [False, True])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_events_in_a_wide_encoding_are_read(
    encoding: str, archive: Archive, database: str, stored: Stored, *, skims: bool
) -> None:
    archive.complete(completion("run-1", [archive.add("run-1", LINES.decode().encode(encoding))]))
    if skims:
        recover(database, archive.folder)
    report = recover(database, archive.folder, again=skims)["run-1"].report
    assert report is not None
    assert report.complete
    assert report.stored == (len(WHOLE) if skims else 0)
    assert stored.contents() == WHOLE


def test_live_messages_wait_little_for_a_backfill(
    many: Archive, database: str, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody stores live messages, no transaction of a backfill stores more than a few."""
    # However long this takes, somebody has just stored something.
    monkeypatch.setattr("flows.courtesy.YOUNG", timedelta(hours=1))
    store(database, live(LINES, "other"))
    recover(database, many.folder)
    sizes = stored.ask(
        "SELECT count(*) FROM workflow_comms.agent_messages WHERE workflow_uid LIKE 'run-%%' GROUP BY created_at"
    )
    assert max(size for (size,) in sizes) <= BESIDE_ROWS
    # What was recovered just now is nobody who goes on.
    alone = Archive(many.folder.parent / "alone")
    for number in range(RUNS):
        alone.add(f"alone-{number:03}", LINES)
    recover(database, alone.folder)
    sizes = stored.ask(
        "SELECT count(*) FROM workflow_comms.agent_messages WHERE workflow_uid LIKE 'alone-%%' GROUP BY created_at"
    )
    assert max(size for (size,) in sizes) > BESIDE_ROWS


@pytest.mark.parametrize(("others", "most"), [(True, BESIDE_AHEAD_BYTES), (False, ALONE_AHEAD_BYTES)])
def test_little_is_read_ahead_beside_live_messages(
    many: Archive, database: str, monkeypatch: pytest.MonkeyPatch, *, others: bool, most: int
) -> None:
    """Who reads as fast as it can takes the cores from those who store what comes live."""
    monkeypatch.setattr("flows.courtesy.YOUNG", timedelta(hours=1))
    asked: list[int] = []

    def note(*words: Any) -> Any:
        asked.append(words[3]())
        return workers(*words)

    monkeypatch.setattr("flows.backfill.workers", note)
    if others:
        store(database, live(LINES, "other"))
    recover(database, many.folder)
    assert asked == [most]


@pytest.mark.parametrize("named", [False, True], ids=["found", "told"])
def test_a_run_whose_artifacts_were_deleted_stays_as_whole_as_it_was(
    archive: Archive, database: str, stored: Stored, *, named: bool
) -> None:
    key = archive.add("run-1", LINES)
    archive.complete(completion("run-1", [key] if named else []))
    recover(database, archive.folder)
    before = stored.report("run-1")
    assert before["complete"]
    (archive.folder / key).unlink()
    again = recover(database, archive.folder, every_run=True)["run-1"].report
    assert again is not None
    assert (again.complete, again.waiting, again.absent) == (True, False, {})
    after = stored.report("run-1")
    assert {name: after[name] for name in ("artifacts", "rows", "recovered", "complete", "live_percent")} == {
        name: before[name] for name in ("artifacts", "rows", "recovered", "complete", "live_percent")
    }
    # Nor is there anything to do about it.
    assert recover(database, archive.folder) == {}


def test_backfills_at_the_same_time_are_nobody_to_wait_for(many: Archive, database: str) -> None:
    courtesy = Courtesy()
    with psycopg.connect(database, autocommit=True) as connection:
        courtesy.look(connection, 0)
        recover(database, many.folder)
        courtesy.look(connection, 0)
        assert courtesy.is_alone
        store(database, live(LINES, "other"))
        courtesy.look(connection, 0)
        assert not courtesy.is_alone
