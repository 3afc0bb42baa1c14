import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.completion import Completion, CompletionError, check_fields, in_one_place, read_completion

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
METADATA = {"name": "fix-login-x2x", "namespace": "agents", "uid": "0d9a-1"}
STATUS = {"phase": "Succeeded", "startedAt": "2026-11-24T10:00:00Z", "finishedAt": "2026-11-24T11:00:00Z"}
PAYLOAD: dict[str, Any] = {"metadata": METADATA, "status": STATUS, "run_id": "run-7", "stage": "implement"}
READ = Completion(
    workflow_namespace="agents",
    workflow_uid="0d9a-1",
    workflow_name="fix-login-x2x",
    run_id="run-7",
    phase="Succeeded",
    started_at=datetime(2026, 11, 24, 10, tzinfo=UTC),
    finished_at=datetime(2026, 11, 24, 11, tzinfo=UTC),
    received_at=NOW,
)


def read(payload: Any) -> Completion:
    return read_completion(json.dumps(payload).encode(), NOW)


@pytest.mark.parametrize("spell", ["workflow_{}", "workflow{}"])
def test_a_workflow_may_be_named_beside_the_metadata_and_what_is_wrong_as_it_is_written(spell: str) -> None:
    named = {
        spell.format(part if "_" in spell else part.capitalize()): value
        for part, value in (("name", "fix-login-x2x"), ("uid", "0d9a-1"), ("namespace", "agents"))
    }
    rest = {key: part for key, part in PAYLOAD.items() if key != "metadata"}
    assert read({**rest, **named}) == READ
    for field in named:
        with pytest.raises(CompletionError, match=f"^{field}: it takes text"):
            read({**rest, **named, field: 7})


@pytest.mark.parametrize(
    "payload",
    [
        PAYLOAD,
        {"data": PAYLOAD},
        {"data": json.dumps(PAYLOAD)},
        {**PAYLOAD, "metadata": json.dumps(METADATA), "status": json.dumps(STATUS), "artifacts": "[]"},
        {"data": {**PAYLOAD, "metadata": json.dumps(METADATA)}, "specversion": "1.0"},
        {
            "metadata": "",
            "status": "",
            "workflowName": "fix-login-x2x",
            "workflowNamespace": "agents",
            "workflowUid": "0d9a-1",
            "phase": "succeeded",
            "startedAt": "2026-11-24T11:00:00+01:00",
            "finishedAt": "2026-11-24T11:00:00Z",
            "runId": "run-7",
        },
    ],
    ids=["bare", "an envelope", "an envelope of JSON text", "parts of JSON text", "both", "flat"],
)
def test_a_completion_is_read_in_every_wrapping(payload: Any) -> None:
    assert read(payload) == READ


def test_what_is_missing_has_a_default() -> None:
    completion = read({"metadata": {"name": "fix-login", "uid": "", "namespace": None}})
    assert (completion.workflow_namespace, completion.workflow_uid) == ("agents", "fix-login")
    assert (completion.phase, completion.started_at, completion.run_id) == ("", None, None)
    # It ended at the latest when it was told.
    assert (completion.finished_at, completion.received_at) == (None, NOW)


@pytest.mark.parametrize(("given", "kept"), [("soon", None), ("2026-11-24T12:00", None), (12, None),
    ("2031-01-01T00:00:00Z", None), ("9999-12-31T23:59:59-14:00", None), ("1999-12-31T23:59:59Z", None),
    ("0001-01-01T00:00:00Z", None), ("0001-01-01T00:00:00+14:00", None),
    ("2026-11-24T12:05:00Z", NOW + timedelta(minutes=5))])  # fmt: skip
def test_a_time_that_cannot_be_is_none(given: Any, kept: datetime | None) -> None:
    assert read({**PAYLOAD, "status": {**STATUS, "finishedAt": given}}).finished_at == kept
    assert read({**PAYLOAD, "status": {**STATUS, "startedAt": given}}).started_at == kept


def test_the_zero_time_of_a_controller_is_nothing_that_it_tells() -> None:
    zero = "0001-01-01T00:00:00Z"
    payload = {**PAYLOAD, "status": {"phase": "Succeeded", "startedAt": zero, "finishedAt": zero}}
    check_fields(payload)
    assert in_one_place(payload)["status"] == {"phase": "Succeeded"}
    assert read({**payload, "finishedAt": STATUS["finishedAt"]}).finished_at == READ.finished_at


@pytest.mark.parametrize("part", [{"status": {"started_at": STATUS["startedAt"], "finished_at": STATUS["finishedAt"]}},
    {"started_at": STATUS["startedAt"], "finished_at": STATUS["finishedAt"], "status": {"startedAt": ""}}])  # fmt: skip
def test_times_may_be_spelled_like_the_names(part: dict[str, Any]) -> None:
    completion = read({"metadata": METADATA, **part})
    assert (completion.started_at, completion.finished_at) == (READ.started_at, READ.finished_at)


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ({"phase": 5}, "phase: it takes text"),
        ({"status": {"phase": ["Failed"]}}, "status.phase: it takes text"),
        ({"finished_at": "x"}, "finished_at: it takes an RFC 3339 time with its zone"),
        ({"status": {"finishedAt": 12}}, "status.finishedAt: it takes an RFC 3339 time with its zone"),
        ({"status": {"startedAt": "2026-11-24T12:00"}}, "status.startedAt: it takes an RFC 3339 time with its zone"),
        ({"startedAt": 0}, "startedAt: it takes an RFC 3339 time with its zone"),
        ({"stage": 5}, "stage: it takes text"),
        ({"run_id": {}}, "run_id: it takes text"),
        ({"agentId": []}, "agentId: it takes text"),
        ({"artifacts": {}}, "artifacts: it takes an array"),
        ({"artifacts": [{"key": "a"}, "b"]}, "artifacts[1]: it takes a JSON object"),
        ({"artifacts": [{"key": 5}]}, "artifacts[0].key: it takes text"),
    ],
)
def test_a_field_of_the_wrong_type_is_named(part: dict[str, Any], line: str) -> None:
    with pytest.raises(CompletionError) as refused:
        check_fields({"metadata": METADATA, **part})
    assert str(refused.value) == line


@pytest.mark.parametrize(
    "part",
    [
        PAYLOAD,
        {"status": {"phase": "Omitted", "startedAt": None, "finishedAt": ""}, "artifacts": None, "stage": ""},
        {"artifacts": [{"name": "main-logs", "key": None, "url": 7}, {}], "run_id": None},
    ],
)
def test_what_is_empty_or_nobodys_business_is_not_refused(part: dict[str, Any]) -> None:
    check_fields({"metadata": METADATA, **part})


@pytest.mark.parametrize("phase", ["Omitted", "", None, 3, {}])
def test_a_phase_that_nobody_knows_tells_an_end_and_not_how(phase: Any) -> None:
    assert read({**PAYLOAD, "status": {**STATUS, "phase": phase}}).phase == ""


@pytest.mark.parametrize(
    ("payload", "line"),
    [
        ([], "payload: it takes a JSON object"),
        ({"data": "{"}, "data: it is not JSON"),
        ({"metadata": 5}, "metadata: it takes a JSON object"),
        ({}, "metadata.uid: it is missing, and metadata.name is, too"),
        ({"metadata": {"uid": 5}}, "metadata.uid: it takes text"),
        ({"metadata": {"name": "n" * 257}}, "metadata.name: it has 257 characters; 256 are allowed"),
        ({**PAYLOAD, "status": {"phase": "Running"}}, "status.phase: it says that the run goes on: Running"),
    ],
)
def test_what_is_no_completion_is_one_line_that_names_the_field(payload: Any, line: str) -> None:
    with pytest.raises(CompletionError) as raised:
        read(payload)
    assert str(raised.value) == line


def test_names_are_storable() -> None:
    assert read({"metadata": {"name": "a\0b\ud800"}}).workflow_uid == "a\ufffdb\ufffd"


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["{}", "{", "Failed"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*PAYLOAD, *METADATA, *STATUS, "data"]), inner),
    max_leaves=20,
)


@given(st.binary() | values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_completion_or_a_line(payload: bytes) -> None:
    line, completion = "", None
    try:
        completion = read_completion(payload, NOW)
    except CompletionError as error:
        line = str(error)
    assert bool(completion) != bool(line)
    assert "\n" not in line
    assert completion is None or completion.workflow_uid
    assert completion is None or completion.finished_at is None or completion.finished_at.tzinfo is UTC
