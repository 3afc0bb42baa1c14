import pytest

from connectors.objects import Objects
from flows.catalog import Catalog
from tests.artifacts import Archive, completion
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
