"""`agent-comms backfill`, and the same as a Bytewax flow, as an operator runs them."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import forks
from tests.artifacts import Archive, Stored, completion, live, tgz
from tests.backfilling import open_gate, shut_gate
from tests.bucket import Bucket, Store
from tests.sidecar import COMMAND, said, talk
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
BUCKET_RUN = "\n".join(talk(2)).encode()
WHOLE = [message.content for message in live(BUCKET_RUN, "run-1", ends=True)]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environ(database: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, "DATABASE_URL": database}


@pytest.fixture
def backfill(environ: dict[str, str]) -> Run:
    def run(*arguments: str | Path, **more: str) -> "subprocess.CompletedProcess[str]":
        words = [str(COMMAND), "backfill", *map(str, arguments)]
        return forks.run_text(words, env=environ | more)

    return run


def numbers(said: str) -> dict[str, int]:
    """The table: how many of what."""
    found = re.findall(
        r"^ *([\d,]+)  (runs read|messages in them|there already|recovered|missing|runs complete)", said, re.M
    )
    return {words: int(number.replace(",", "")) for number, words in found}


def test_it_says_what_it_came_to_and_a_second_time_nothing_is_left(
    backfill: Run, archive: Archive, stored: Stored
) -> None:
    archive.complete(completion("run-1", [archive.add("run-1", BUCKET_RUN)]))
    first = backfill(archive.folder)
    assert first.returncode == 0, first.stderr
    assert numbers(first.stdout) == {
        "runs read": 1,
        "messages in them": len(WHOLE),
        "there already": 0,
        "recovered": len(WHOLE),
        "runs complete": 1,
    }
    second = backfill(archive.folder)
    assert second.returncode == 0
    assert numbers(second.stdout)["runs read"] == 0
    assert "1 unchanged" in second.stdout
    assert stored.contents("run-1") == WHOLE


def test_json_is_one_object_with_a_report_a_run(backfill: Run, archive: Archive) -> None:
    archive.complete(completion("run-1", [archive.add("run-1", BUCKET_RUN)]))
    done = backfill(archive.folder, "--json")
    told = json.loads(done.stdout)
    assert (told["runs"], told["inserted"], told["stored"]) == (1, len(WHOLE), 0)
    (report,) = told["reports"]
    assert (report["workflow_uid"], report["rows"], report["complete"]) == ("run-1", len(WHOLE), True)


def test_without_a_list_of_runs_the_first_folder_is_the_run(backfill: Run, archive: Archive, stored: Stored) -> None:
    archive.add("run-1", talk(1))
    assert backfill(archive.folder, "--namespace", "teams").returncode == 0
    assert stored.ask("SELECT workflow_namespace, workflow_uid, workflow_name FROM workflow_comms.runs") == [
        ("teams", "run-1", "run-1")
    ]


def test_a_folder_that_looks_like_one_of_many_runs_is_told_of(backfill: Run, archive: Archive, stored: Stored) -> None:
    archive.add("agents/run-b", talk(1))
    archive.add("run-1", talk(1), pod="run-1-implement-2222")
    done = backfill(archive.folder)
    assert done.returncode == 0
    assert done.stderr.count("taken for") == 1
    assert "agents/run-b is taken for a part of the workflow agents" in done.stderr
    assert f"give {archive.folder}/agents as ROOT" in done.stderr
    assert stored.ask("SELECT workflow_uid FROM workflow_comms.runs ORDER BY 1") == [("agents",), ("run-1",)]


def test_what_runs_jsonl_tells_of_may_lie_in_any_folder(backfill: Run, archive: Archive) -> None:
    archive.complete(completion("run-b", [archive.add("agents/run-b", talk(1))]))
    assert "taken for" not in backfill(archive.folder).stderr


def test_an_archive_that_holds_nothing_of_an_agent_is_named(backfill: Run, archive: Archive) -> None:
    archive.put("junk.tgz", tgz("notes.txt", b"hello"))
    archive.complete(completion("run-1", [archive.add("run-1", talk(1))]))
    archive.put("run-1/run-1/everything.tgz", tgz("notes.txt", b"hello"))
    done = backfill(archive.folder)
    assert done.returncode == 0
    assert "2 archive without events or an agent's log" in done.stdout
    assert "junk.tgz is an archive without events or an agent's log" in done.stdout
    assert numbers(done.stdout)["runs complete"] == 1


def test_one_run_may_be_named_by_its_uid(backfill: Run, archive: Archive, stored: Stored) -> None:
    archive.complete(*(completion(f"run-{n}", [archive.add(f"run-{n}", talk(1))], uid=f"uid-{n}") for n in (1, 2)))
    assert backfill(archive.folder, "--run", "agents/uid-2").returncode == 0
    assert stored.ask("SELECT workflow_uid, workflow_name FROM workflow_comms.runs") == [("uid-2", "run-2")]


def test_the_only_folder_is_the_run_that_is_named(backfill: Run, archive: Archive, stored: Stored) -> None:
    archive.add("run-1", talk(1))
    assert backfill(archive.folder, "--run", "teams/uid-9").returncode == 0
    assert stored.ask("SELECT workflow_namespace, workflow_uid, workflow_name FROM workflow_comms.runs") == [
        ("teams", "uid-9", "run-1")
    ]


def test_of_several_folders_none_is_guessed(backfill: Run, archive: Archive, stored: Stored) -> None:
    archive.add("run-1", talk(1))
    archive.add("run-2", talk(1))
    failed = backfill(archive.folder, "--run", "teams/uid-9")
    assert failed.returncode == 1
    assert "none of the 2 folders" in failed.stderr
    assert stored.count() == 0
    assert backfill(archive.folder, "--run", "teams/run-2").returncode == 0


def test_only_what_ended_since_is_read(backfill: Run, archive: Archive, stored: Stored) -> None:
    for day in (1, 5):
        ended = f"2026-01-0{day}T10:10:00Z"
        key = archive.add(f"run-{day}", talk(1))
        archive.complete(completion(f"run-{day}", [key], started=ended.replace("10:10", "10:00"), finished=ended))
    assert backfill(archive.folder, "--since", "2026-01-03").returncode == 0
    assert stored.ask("SELECT workflow_uid FROM workflow_comms.runs") == [("run-5",)]
    assert numbers(backfill(archive.folder, "--since", "1d").stdout)["runs read"] == 0


def test_a_dry_run_says_what_is_missing(backfill: Run, archive: Archive, stored: Stored) -> None:
    archive.add("run-1", BUCKET_RUN)
    done = backfill(archive.folder, "--dry-run")
    assert (done.returncode, numbers(done.stdout)["missing"]) == (0, len(WHOLE))
    assert stored.count() == 0


def test_what_can_not_be_read_is_told_and_the_rest_stored(backfill: Run, archive: Archive, stored: Stored) -> None:
    archive.add("good", talk(1))
    archive.put("bad/bad/implementation-events.tgz", b"\x1f\x8b\x08\x00garbage")
    archive.complete(completion("gone", ["gone/gone/implementation-events.tgz"]))
    done = backfill(archive.folder)
    assert done.returncode == 4
    assert "1  artifacts that can't be had" in done.stdout
    assert "agents/bad: no final status; 1 artifact not to be read to the end" in done.stdout
    assert stored.count() > 0


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_what_is_damaged_is_told_each_time_though_it_is_read_once(
    backfill: Run, archive: Archive, stored: Stored, dry: list[str]
) -> None:
    archive.complete(completion("good", [archive.add("good", talk(1))]))
    path = archive.folder / archive.add("bad", talk(50))
    archive.complete(completion("bad", ["bad/bad/implementation-events.tgz"]))
    path.write_bytes(path.read_bytes()[:-100])
    first = backfill(archive.folder)
    assert first.returncode == 4
    read = stored.ask("SELECT location, read_at FROM workflow_comms.artifacts ORDER BY 1")
    again = backfill(archive.folder, *dry)
    assert again.returncode == 4
    assert "0  runs read; 2 unchanged" in again.stdout
    assert numbers(again.stdout)["messages in them"] == 0
    told = first.stdout[first.stdout.index("1  artifacts that can't be read to their end") :].splitlines()
    assert "truncated" in told[-1]
    assert told[-2:] == again.stdout.splitlines()[-2:]
    (report,) = json.loads(backfill(archive.folder, "--json", *dry).stdout)["reports"]
    assert (report["workflow_uid"], [*report["damaged"]]) == ("bad", [f"file://{path}"])
    assert stored.ask("SELECT location, read_at FROM workflow_comms.artifacts ORDER BY 1") == read
    # Once it can be read, nothing is said of it any more.
    archive.add("bad", talk(50))
    assert backfill(archive.folder).returncode == backfill(archive.folder).returncode == 0


def test_a_line_of_the_list_that_is_wrong_costs_that_line(backfill: Run, archive: Archive, stored: Stored) -> None:
    archive.complete(completion("run-1", [archive.add("run-1", talk(1))]), {"metadata": {}})
    done = backfill(archive.folder)
    assert "line 2 of runs.jsonl: metadata.uid: it is missing" in done.stderr
    assert done.returncode == 0
    assert stored.count() > 0


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "words"),
    [
        ((), {}, 2, "ROOT: it is missing"),
        (("/no/such/folder",), {}, 1, "/no/such/folder is no folder"),
        (
            ("ftp://host/artifacts",),
            {},
            2,
            "artifacts are in a folder or under s3://bucket/prefix, and not under ftp://",
        ),
        (("s3://",), {}, 2, "not under s3:// without a bucket"),
        ((".",), {"DATABASE_URL": "postgresql://127.0.0.1:1/x"}, 3, "Postgres can't be reached"),
        ((".", "--run", "nonsense/"), {}, 2, "it takes a namespace and a uid"),
        ((".", "--run", "agents/\udcff"), {}, 2, "it takes a namespace and a uid"),
        ((".", "--namespace", ""), {}, 2, "Invalid value for '--namespace': it takes a namespace such as agents"),
        ((".", "--namespace", "a\nb"), {}, 2, "Invalid value for '--namespace': it takes a namespace such as agents"),
        ((".", "--namespace", "n" * 257), {}, 2, "Invalid value for '--namespace'"),
        ((".", "--namespace", "a\udcff"), {}, 2, "Invalid value for '--namespace'"),
        ((".", "--since", "soon"), {}, 2, "an age such as 7d"),
        ((".",), {"AGENT_COMMS_ARTIFACT_BYTES": "many"}, 2, "AGENT_COMMS_ARTIFACT_BYTES"),
    ],
)
def test_what_is_wrong_ends_it_with_one_line(
    backfill: Run, archive: Archive, arguments: tuple[str, ...], environ: dict[str, str], code: int, words: str
) -> None:
    archive.add("run-1", talk(1))
    failed = backfill(*[str(archive.folder) if each == "." else each for each in arguments], **environ)
    assert failed.returncode == code
    assert words in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_folder_without_artifacts_is_said_to_be_one(backfill: Run, archive: Archive) -> None:
    archive.put("run-1/notes.txt", b"hello")
    failed = backfill(archive.folder)
    assert (failed.returncode, failed.stderr.strip()) == (
        1,
        f"agent-comms: there is no artifact under {archive.folder}",
    )


def test_a_bucket_is_read_as_a_folder_is(backfill: Run, bucket: Bucket, stored: Stored, tmp_path: Path) -> None:
    local = Archive(tmp_path / "local")
    for name in ("run-1", "run-2"):
        local.complete(completion(name, [local.add(name, BUCKET_RUN)]))
    for path in local.folder.rglob("*.*"):
        bucket.put(str(path.relative_to(local.folder)), path.read_bytes())
    done = backfill(bucket.root, **bucket.store.environ)
    assert done.returncode == 0, done.stderr
    assert stored.contents("run-1") == stored.contents("run-2") == WHOLE
    assert numbers(backfill(bucket.root, **bucket.store.environ).stdout)["runs read"] == 0
    bucket.put("run-2/run-2/implementation-events.jsonl", said(99, "more").encode())
    again = backfill(bucket.root, **bucket.store.environ)
    assert numbers(again.stdout)["runs read"] == 1
    assert sorted(stored.contents("run-2")) == sorted([*WHOLE, "more"])


def test_keys_may_be_relative_to_the_bucket(backfill: Run, bucket: Bucket, stored: Stored, tmp_path: Path) -> None:
    local = Archive(tmp_path / "local")
    key = f"argo/{local.add('run-1', BUCKET_RUN, pod='elsewhere')}"
    bucket.put(key, (local.folder / key.removeprefix("argo/")).read_bytes())
    bucket.put("argo/runs.jsonl", json.dumps(completion("run-one", [key], uid="uid-1")).encode())
    done = backfill(f"{bucket.root}/argo", "--run", "agents/uid-1", **bucket.store.environ)
    assert done.returncode == 0, done.stderr
    assert stored.contents("uid-1") == WHOLE


def test_another_bucket_is_not_read(backfill: Run, bucket: Bucket, stored: Stored) -> None:
    other = completion("run-1", ["run-1/pod/implementation-events.jsonl"])
    other["artifacts"][0]["bucket"] = "somebody-elses"
    bucket.put("runs.jsonl", json.dumps(other).encode())
    done = backfill(bucket.root, "--json", **bucket.store.environ)
    assert done.returncode == 4
    assert "is in another bucket, somebody-elses" in done.stdout
    assert stored.count() == 0


@pytest.mark.parametrize("is_bucket", [False, True])
def test_a_key_that_can_not_be_kept_is_said_in_one_line(
    is_bucket: bool, backfill: Run, archive: Archive, stored: Stored, request: pytest.FixtureRequest
) -> None:
    keys = [archive.add("run-1", BUCKET_RUN), "run-1/\ud800.jsonl", "run-1/\0.jsonl"]
    told = [completion("run-1", keys), completion("run-2", [archive.add("run-2", BUCKET_RUN)])]
    archive.complete(*told)
    root, environ = str(archive.folder), {}
    if is_bucket:
        bucket: Bucket = request.getfixturevalue("bucket")
        for path in archive.folder.rglob("*.*"):
            bucket.put(str(path.relative_to(archive.folder)), path.read_bytes())
        root, environ = bucket.root, bucket.store.environ
    done = backfill(root, **environ)
    assert done.returncode == 4, done.stderr
    assert stored.contents("run-1") == stored.contents("run-2") == WHOLE
    said = [line for line in (done.stdout + done.stderr).splitlines() if "can't be kept" in line]
    assert sorted(re.findall(r"'run-1/.+?' has a name that can't be kept", " ".join(said))) == [
        r"'run-1/\ud800.jsonl' has a name that can't be kept",
        r"'run-1/\x00.jsonl' has a name that can't be kept",
    ]
    assert "Traceback" not in done.stderr


def test_a_bucket_that_does_not_answer_ends_it(backfill: Run, s3_server: Store) -> None:
    away = backfill("s3://argo-workflows", **s3_server.environ | {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"})
    assert away.returncode == 3
    assert "can't be reached" in away.stderr
    assert "Traceback" not in away.stderr


def flow(environ: dict[str, str], **more: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "bytewax.run", "flows.backfill"]
    return forks.run_text(words, env=environ | more)


def test_the_flow_does_the_same(environ: dict[str, str], archive: Archive, stored: Stored) -> None:
    archive.add("run-1", BUCKET_RUN)
    done = flow(environ, AGENT_COMMS_ARTIFACTS=str(archive.folder))
    assert done.returncode == 0, done.stderr
    assert f'message="not complete: {len(WHOLE)} recovered of {len(WHOLE)}; no final status;' in done.stderr
    assert stored.contents("run-1") == WHOLE


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "AGENT_COMMS_ARTIFACTS: it takes a folder"),
        ({"AGENT_COMMS_ARTIFACTS": "/no/such"}, "/no/such is no folder"),
    ],
)
def test_the_flow_ends_with_one_line_where_it_can_not_begin(
    environ: dict[str, str], more: dict[str, str], words: str
) -> None:
    failed = flow(environ, **more)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"agent-comms: {words}")


def test_asked_to_end_it_stores_what_it_has_and_goes_on_the_next_time(
    environ: dict[str, str], archive: Archive, backfill: Run, stored: Stored
) -> None:
    runs = 400
    for run in range(runs):
        archive.add(f"run-{run:03}", talk(4), end="")
    shut_gate(stored.dsn)
    words = [str(COMMAND), "backfill", str(archive.folder), "--processes", "1"]
    process: Any = subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: stored.count() > 0, "the first rows")
    process.send_signal(signal.SIGTERM)
    open_gate(stored.dsn)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "asked to end" in told
    assert "Traceback" not in told
    done = stored.ask("SELECT count(*) FROM workflow_comms.artifacts WHERE state = 'read'")[0][0]
    assert 0 < done < runs
    after = backfill(archive.folder)
    assert after.returncode == 0
    assert numbers(after.stdout)["runs read"] == runs - done
    each = len(live("\n".join(talk(4)).encode(), "run", ends=True))
    assert stored.count() == runs * each
