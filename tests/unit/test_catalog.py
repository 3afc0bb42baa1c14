import os
from pathlib import Path

import pytest

from connectors.objects import Objects
from flows.catalog import Catalog
from tests.artifacts import Archive, completion
from tests.rights import as_nobody
from tests.sidecar import said


def notes(archive: Archive) -> list[str]:
    told: list[str] = []
    Catalog(Objects(str(archive.folder)), note=told.append).everything()
    return told


@pytest.mark.parametrize(
    "key",
    [
        "implementation-events.jsonl",
        "run-1/implementation-events.jsonl",
        "run-1/.codex/a-events.jsonl",
        "run-1/run-1-implement-2222/a-events.jsonl",
        "run-1/run-1/deep/down/a-events.jsonl",
    ],
)
def test_where_argo_puts_artifacts_there_is_nothing_to_say(key: str, archive: Archive) -> None:
    archive.put(key, said(0).encode())
    assert notes(archive) == []


def test_folders_that_look_as_if_they_held_runs_are_named(archive: Archive) -> None:
    archive.put("agents/run-b/a-events.jsonl", said(0).encode())
    (told,) = notes(archive)
    assert told.startswith("agents/run-b is taken for a part of the workflow agents, since no line of runs.jsonl")
    assert told.endswith(f"if run-b is the workflow, give {archive.folder}/agents as ROOT")


def test_of_many_such_folders_a_few_are_named_and_the_others_counted(archive: Archive) -> None:
    for number in range(10):
        archive.put(f"team-{number}/run/a-events.jsonl", said(0).encode())
    told = notes(archive)
    assert len(told) == 4
    assert told[-1] == "and 7 more folders like these"


def test_what_a_payload_tells_of_is_no_guess(archive: Archive) -> None:
    archive.complete(completion("run-b", [archive.put("agents/run-b/a-events.jsonl", said(0).encode())]))
    assert notes(archive) == []


def test_of_a_run_by_its_key_what_may_not_be_read_is_absent(common: Path) -> None:
    archive = Archive(common)
    archive.put("run-1/run-1/a-events.jsonl", said(0).encode())
    archive.put("run-1/run-1-review/a-events.jsonl", said(0).encode())
    (common / "run-1/run-1").chmod(0o444)
    with as_nobody():
        listed = Catalog(Objects(str(common))).one(("agents", "run-1"))
    assert listed is not None
    assert [each.object.key for each in listed.artifacts] == ["run-1/run-1-review/a-events.jsonl"]
    assert [each.location for each in listed.absent] == [f"file://{common}/run-1/run-1"]


def test_what_may_not_be_read_in_a_folder_of_two_runs_is_neither_s(common: Path) -> None:
    archive = Archive(common)
    archive.put("twins/pod/a-events.jsonl", said(0).encode())
    archive.complete(completion("twins", uid="one"), completion("twins", uid="two"))
    (common / "twins").chmod(0o444)
    catalog = Catalog(Objects(str(common)))
    with as_nobody():
        listed = catalog.everything()
        listed += [catalog.of(each.run) for each in listed]
    assert [(each.absent, list(each.shared)) for each in listed] == [([], ["twins"])] * 4


@pytest.mark.parametrize("name", [b"lost+found", b"a\nb", b"\xff"])
def test_a_folder_that_is_no_run_s_is_told_where_it_may_not_be_read_and_is_no_run(name: bytes, common: Path) -> None:
    path = os.path.join(os.fsencode(common), name)  # noqa: PTH118
    os.mkdir(path)  # noqa: PTH102
    os.chmod(path, 0o444)  # noqa: PTH101
    told: list[str] = []
    with as_nobody():
        assert Catalog(Objects(str(common)), note=told.append).everything() == []
    (note,) = told
    assert note.endswith(" may not be read")
    assert note.isprintable()
