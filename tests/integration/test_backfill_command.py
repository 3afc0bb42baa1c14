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

from tests.artifacts import Archive, Stored, completion, live
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
        return subprocess.run(words, capture_output=True, text=True, env=environ | more, timeout=120, check=False)

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
        ((".",), {"DATABASE_URL": "postgresql://127.0.0.1:1/x"}, 3, "Postgres can't be reached"),
        ((".", "--run", "nonsense/"), {}, 2, "it takes a namespace and a uid"),
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


def test_a_bucket_that_does_not_answer_ends_it(backfill: Run, s3_server: Store) -> None:
    away = backfill("s3://argo-workflows", **s3_server.environ | {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1"})
    assert away.returncode == 3
    assert "can't be reached" in away.stderr
    assert "Traceback" not in away.stderr


def flow(environ: dict[str, str], **more: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "bytewax.run", "flows.backfill"]
    return subprocess.run(words, cwd=ROOT, env=environ | more, capture_output=True, text=True, timeout=120, check=False)


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
    words = [str(COMMAND), "backfill", str(archive.folder), "--processes", "1"]
    process: Any = subprocess.Popen(words, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: stored.count() > 0, "the first rows")
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=60)
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
