import json
from datetime import UTC, datetime
from typing import Any

import pytest

from flows.completion import CompletionError
from flows.finished import FinishedRun, Left, read_finished

NOW = datetime(2026, 2, 1, tzinfo=UTC)
PARTS: dict[str, Any] = {
    "metadata": {"name": "fix-1", "namespace": "teams", "uid": "uid-1"},
    "status": {"phase": "Succeeded", "startedAt": "2026-01-01T10:00:00Z", "finishedAt": "2026-01-01T10:10:00Z"},
    "artifacts": [
        {
            "name": "implementation-events",
            "key": "fix-1/pod-1/implementation-events.tgz",
            "bucket": "argo",
            "url": "minio:9000",
        },
        {"name": "implementation-events", "key": "fix-1/pod-2/implementation-events.tgz", "bucket": "argo"},
    ],
    "stage": "implementation",
    "run_id": "run-1",
}


def read(payload: Any, **more: Any) -> FinishedRun:
    return read_finished(json.dumps(payload).encode(), NOW, **more)


def test_a_bare_payload_tells_the_run_and_what_it_left() -> None:
    run = read(PARTS)
    assert (run.namespace, run.uid, run.name, run.run_id, run.stage) == (
        "teams",
        "uid-1",
        "fix-1",
        "run-1",
        "implementation",
    )
    assert run.left == (
        Left("implementation-events", "fix-1/pod-1/implementation-events.tgz", "argo"),
        Left("implementation-events", "fix-1/pod-2/implementation-events.tgz", "argo"),
    )
    assert run.completion is not None
    assert run.completion.phase == "Succeeded"


@pytest.mark.parametrize(
    "payload",
    [
        {"data": PARTS},
        {"data": json.dumps(PARTS)},
        {
            name: json.dumps(part) if name in ("metadata", "status", "artifacts") else part
            for name, part in PARTS.items()
        },
        {"data": json.dumps({**PARTS, "artifacts": json.dumps(PARTS["artifacts"])})},
        {**PARTS, "arguments": ""},
    ],
)
def test_parts_and_the_whole_may_be_json_in_json(payload: Any) -> None:
    assert read(payload) == read(PARTS)


def test_a_namespace_that_nobody_says_is_the_given_one() -> None:
    assert read({"metadata": {"name": "fix-1"}}, namespace="mine").key == ("mine", "fix-1")
    assert read({"workflowName": "fix-1", "workflowNamespace": "theirs"}, namespace="mine").key == ("theirs", "fix-1")
    assert read({"workflowName": "fix-1"}, namespace="mine").key == ("mine", "fix-1")


@pytest.mark.parametrize(
    "artifacts", ["", None, {}, [], "[]", ["x", 1, {"name": "no-key"}, {"key": ""}, {"key": "k" * 2_000}]]
)
def test_what_is_no_artifact_is_none(artifacts: Any) -> None:
    assert read({**PARTS, "artifacts": artifacts}).left == ()


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b"1", b'{"data": "{"}', b'{"metadata": "{"}', b'{"metadata": {}}', b"[" * 100_000]
)
def test_what_is_no_payload_is_refused_in_one_line(payload: bytes) -> None:
    with pytest.raises(CompletionError) as refused:
        read_finished(payload, NOW)
    assert "\n" not in str(refused.value)


def test_of_a_run_that_is_told_twice_everything_counts() -> None:
    first = read({**PARTS, "artifacts": PARTS["artifacts"][:1]})
    second = read({**PARTS, "artifacts": PARTS["artifacts"][1:], "stage": None})
    both = first.also(second)
    assert both.completion == first.completion
    assert both.left == read(PARTS).left
    assert both.stage == "implementation"


@pytest.mark.parametrize(
    "later",
    [
        {},
        {"artifacts": []},
        {"status": "", "run_id": "", "stage": None},
        {"status": {"phase": "", "startedAt": None, "finishedAt": "0001-01-01T00:00:00Z"}, "artifacts": "[]"},
        {"metadata": {"namespace": "teams", "uid": "uid-1"}},
    ],
)
def test_what_a_later_payload_lacks_stays(later: dict[str, Any]) -> None:
    assert read(PARTS).also(read({"metadata": PARTS["metadata"], **later})) == read(PARTS)


def test_what_a_later_payload_says_replaces() -> None:
    later = {
        "metadata": {**PARTS["metadata"], "name": "fix-2"},
        "status": {"phase": "Failed", "finishedAt": "2026-01-01T11:00:00Z"},
        "run_id": "run-2",
        "artifacts": [{**PARTS["artifacts"][0], "name": "events"}, {"name": "log", "key": "fix-1/agent.log"}],
    }
    both = read(PARTS).also(read(later))
    expected = read({**later, "stage": "implementation"})
    # One end is one word: when the other one began is nothing that this one tells.
    assert both.completion == expected.completion
    assert (both.name, both.run_id, both.stage) == ("fix-2", "run-2", "implementation")
    assert both.left == (expected.left[0], read(PARTS).left[1], expected.left[1])
