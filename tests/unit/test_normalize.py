import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.dead_letter import DeadLetter, Reason
from flows.message import Message
from flows.normalize import normalize
from tests.unit.deliveries import LIMIT, RUN_SUBJECT, STORED_AT, delivered

CANONICAL: dict[str, Any] = {
    "message_id": "m-1",
    "workflow_uid": "uid-1",
    "workflow_name": "fix-login",
    "workflow_namespace": "agents",
    "agent_id": "planner",
    "kind": "message",
    "timestamp": "2026-11-24T10:00:00.5Z",
    "content": "Split it in two.",
}
STORED_TIME = datetime.fromtimestamp(STORED_AT // 10**9, UTC).replace(microsecond=123456)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def row(payload: dict[str, Any] | bytes, subject: str = RUN_SUBJECT, stream_seq: int = 7) -> Message:
    result = normalize(delivered(payload, subject, stream_seq=stream_seq), LIMIT)
    assert isinstance(result, Message), result
    return result


def letter(payload: dict[str, Any] | bytes, subject: str = RUN_SUBJECT, limit: int = LIMIT) -> DeadLetter:
    result = normalize(delivered(payload, subject), limit)
    assert isinstance(result, DeadLetter), result
    return result


def test_a_canonical_message_becomes_its_row() -> None:
    message = row(CANONICAL | {"run_id": "r-9", "step_id": "s", "stage": "plan", "attrs": {"model": "x"}})
    assert (message.workflow_namespace, message.workflow_uid, message.workflow_name) == ("agents", "uid-1", "fix-login")
    assert (message.agent_id, message.kind, message.role, message.channel) == ("planner", "message", "assistant", "run")
    assert (message.run_id, message.step_id, message.stage) == ("r-9", "s", "plan")
    assert message.timestamp == datetime(2026, 11, 24, 10, 0, 0, 500_000, UTC)
    assert message.content == "Split it in two."
    assert message.attrs == {"model": "x", "runtime": "native", "message_id": "m-1"}


@pytest.mark.parametrize(
    "spelled",
    [
        {
            "messageId": "m-1", "workflowUid": "uid-1", "workflowName": "fix-login", "workflowNamespace": "agents",
            "agentId": "planner", "kind": "message", "timestamp": "2026-11-24T10:00:00.5Z", "text": "Split it in two.",
        },
        {"id": "m-1", "sent_at": "2026-11-24T11:00:00.500+01:00", "message": "Split it in two."},
        {"message": CANONICAL},
        {"data": CANONICAL},
        {"data": {"message": CANONICAL}},
        {"created_at": "2026-11-24T10:00:00.5Z", "id": "m-1", "content": "Split it in two.", "workflow_step": None},
        {"createdAt": "2026-11-24T10:00:00.5Z", "message_id": "m-1", "content": "Split it in two.", "text": "other"},
    ],
)  # fmt: skip
def test_every_spelling_gives_the_same_row(spelled: dict[str, Any]) -> None:
    canonical, other = row(CANONICAL), row(spelled)
    for field in Message.__struct_fields__:
        if field != "origin":
            assert getattr(other, field) == getattr(canonical, field), field


@pytest.mark.parametrize(
    ("field", "spelling"),
    [("run_id", "runId"), ("step_id", "stepId"), ("step_id", "workflow_step"), ("stage", "workflow_stage")],
)
def test_places_in_a_workflow_have_several_spellings(field: str, spelling: str) -> None:
    assert getattr(row(CANONICAL | {spelling: "x"}), field) == "x"


@pytest.mark.parametrize("spelling", ["tool", "tool_call", "toolCall"])
def test_a_tool_is_kept_in_attrs(spelling: str) -> None:
    tool = {"name": "shell", "input": {"command": "ls"}, "exit_code": 0}
    assert row(CANONICAL | {spelling: tool}).attrs["tool"] == tool


@pytest.mark.parametrize("spelling", ["tool", "tool_call", "toolCall"])
@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"exitCode": 3, "durationMs": 1500}, {"exit_code": 3, "duration_ms": 1500}),
        ({"exitCode": 3, "exit_code": None}, {"exit_code": 3}),
        # Whoever says both means something by the other.
        ({"exitCode": 3, "exit_code": 0}, {"exit_code": 0, "exitCode": 3}),
        ({"durationMs": 1500, "input": {"exitCode": 3}}, {"duration_ms": 1500, "input": {"exitCode": 3}}),
    ],
)
def test_the_fields_of_a_tool_are_known_in_every_spelling(
    spelling: str, said: dict[str, Any], kept: dict[str, Any]
) -> None:
    payload = {"timestamp": CANONICAL["timestamp"], "tool": {"name": "sh", "output": "boom", **kept}}
    spelled = {"timestamp": CANONICAL["timestamp"], spelling: {"name": "sh", "output": "boom", **said}}
    subject = "workflow.agents.fix-login.uid-1.agent.planner.tool_result"
    canonical, other = row(payload, subject), row(spelled, subject)
    assert other.attrs["tool"] == {"name": "sh", "output": "boom", **kept}
    assert (other.content, other.dedupe_key) == (canonical.content, canonical.dedupe_key)


def test_asides_land_in_attrs() -> None:
    asides = {"repository": "a/b", "issueNumber": 119, "branch": "main", "exit_code": 0}
    assert asides.items() <= row(CANONICAL | asides).attrs.items()


def test_fields_without_a_place_are_kept_as_extra() -> None:
    assert row(CANONICAL | {"mood": "calm"}).attrs["extra"] == {"mood": "calm"}


@pytest.mark.parametrize(
    ("kind", "role"),
    [
        ("message", "assistant"), ("tool_call", "tool"), ("tool_result", "tool"), ("status", "system"),
        ("error", "system"), ("log", "assistant"),
    ],
)  # fmt: skip
def test_the_kind_gives_the_default_role(kind: str, role: str) -> None:
    message = row(CANONICAL, f"workflow.agents.fix-login.uid-1.agent.planner.{kind}")
    assert (message.kind, message.role) == (kind, role)


def test_a_role_that_is_none_of_the_four_is_noted_and_replaced() -> None:
    message = row(CANONICAL | {"role": "boss"})
    assert (message.role, message.attrs["role_given"]) == ("assistant", "boss")


def test_the_subject_wins_over_what_the_payload_claims() -> None:
    claims = {
        "workflow_namespace": "team-b", "workflow_name": "theirs", "workflow_uid": "uid-9", "agent_id": "reviewer",
        "kind": "error", "channel": "general",
    }  # fmt: skip
    message = row(CANONICAL | claims)
    assert (message.workflow_namespace, message.workflow_name, message.workflow_uid) == ("agents", "fix-login", "uid-1")
    assert (message.agent_id, message.kind, message.channel) == ("planner", "message", "run")
    assert message.attrs["claimed"] == claims


def test_in_the_general_channel_the_identity_is_a_claim() -> None:
    message = row(CANONICAL | {"workflow_namespace": "team-b"}, "workflow.general.message")
    assert (message.channel, message.workflow_namespace, message.workflow_uid) == ("general", "team-b", "uid-1")
    assert message.attrs["identity"] == "claimed"


def test_a_stamped_namespace_wins_in_the_general_channel() -> None:
    message = row(CANONICAL | {"workflow_namespace": "team-b"}, "workflow.general.agents.message")
    assert message.workflow_namespace == "agents"
    assert message.attrs["identity"] == "namespace"
    assert message.attrs["claimed"] == {"workflow_namespace": "team-b"}


def test_a_person_speaks_on_five_tokens_only() -> None:
    assert row(CANONICAL, "workflow.general.agents.person.message").agent_id == "person"
    assert row(CANONICAL, "workflow.general.agents.person.message").attrs["identity"] == "person"


@pytest.mark.parametrize(
    "subject",
    [
        "workflow.general.message",
        "workflow.general.agents.message",
        "workflow.agents.fix-login.uid-1.agent.-.message",
        "workflow.agents.fix-login.uid-1.agent.%70erson.message",
    ],
)
def test_nobody_else_is_a_person(subject: str) -> None:
    for spelled in ("person", "Person", " person ", "person\u00a0", "per\u200bson", "\uff50erson"):
        message = row(CANONICAL | {"agent_id": spelled}, subject)
        assert message.agent_id == "unknown"
        assert message.attrs["claimed"]["agent_id"] == spelled


def test_a_runtime_that_calls_itself_nearly_person_in_its_subject_is_unknown() -> None:
    message = row(CANONICAL, "workflow.agents.fix-login.uid-1.agent.Person.message")
    assert message.agent_id == "unknown"


@pytest.mark.parametrize("name", ["identity", "claimed", "redacted"])
def test_a_payload_cannot_speak_in_our_name_in_attrs(name: str) -> None:
    attrs = row(CANONICAL | {"attrs": {name: "person"}}).attrs
    assert name not in attrs
    assert attrs["forged"] == {name: "person"}


def test_an_absent_uid_is_the_name() -> None:
    payload = {"content": "x"}
    message = row(payload, "workflow.agents.fix-login.-.agent.planner.message")
    assert message.workflow_uid == message.workflow_name == "fix-login"


def test_a_run_that_nobody_names_is_a_dead_letter() -> None:
    assert letter({"content": "x"}, "workflow.agents.-.-.agent.planner.message").reason is Reason.NO_WORKFLOW


@pytest.mark.parametrize(
    "given_time",
    [
        "0001-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
        "yesterday",
        "2026-11-24T10:00:00",
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+23:00",
        "",
        None,
        17,
        {},
        [],
    ],
)
def test_an_unusable_time_is_replaced_by_the_streams(given_time: Any) -> None:
    message = row(CANONICAL | {"timestamp": given_time})
    assert message.timestamp == STORED_TIME
    if isinstance(given_time, str) and given_time:
        assert message.attrs["timestamp_given"] == given_time


@pytest.mark.parametrize(
    ("payload", "content"),
    [
        ({"content": 7}, "7"),
        ({"content": 1.5}, "1.5"),
        ({"content": " ", "text": "said"}, "said"),
        ({"status": "started"}, "started"),
        ({"error": {"message": "no space left"}}, "no space left"),
        ({"content": ["a", 1]}, '["a", 1]'),
    ],
)
def test_content_is_found_where_it_is(payload: dict[str, Any], content: str) -> None:
    assert row(payload).content == content


def test_a_status_without_content_is_a_status_update() -> None:
    assert row({}, "workflow.agents.n.u.agent.planner.status").content == "status update"


@pytest.mark.parametrize(
    ("kind", "tool", "words"),
    [
        ("tool_call", {"name": "shell", "input": {"command": "ls"}}, "$ ls"),
        ("tool_call", {"name": "search", "input": {"query": "x"}}, 'search {"query":"x"}'),
        ("tool_call", {"name": "search"}, "search"),
        ("tool_result", {"name": "shell", "output": "3 passed"}, "3 passed"),
        ("tool_result", {"input": {"command": "ls"}}, "tool"),
    ],
)
def test_a_tool_message_without_content_says_what_was_asked_or_answered(
    kind: str, tool: dict[str, Any], words: str
) -> None:
    assert row({"tool": tool}, f"workflow.agents.n.u.agent.planner.{kind}").content == words


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", Reason.NOT_JSON),
        (b"not json", Reason.NOT_JSON),
        (b'{"content": "x"', Reason.NOT_JSON),
        (b"[1, 2]", Reason.NOT_AN_OBJECT),
        (b'"text"', Reason.NOT_AN_OBJECT),
        (b"null", Reason.NOT_AN_OBJECT),
        (b"{}", Reason.NO_CONTENT),
        (b'{"content": "  \\n\\t"}', Reason.NO_CONTENT),
        (b'{"attrs":' + b"[" * 5000 + b"]" * 5000 + b', "content": "x"}', Reason.TOO_DEEP),
        (b'{"content": "x", "attrs":' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}", Reason.TOO_DEEP),
    ],
)
def test_what_cannot_be_a_row_is_a_dead_letter_with_a_reason(payload: bytes, reason: Reason) -> None:
    dead = letter(payload)
    assert dead.reason is reason
    assert dead.payload == payload
    assert dead.detail.endswith(".")
    assert dead.stream_seq == 7


def test_a_message_over_the_limit_is_a_dead_letter() -> None:
    dead = letter(CANONICAL, limit=50)
    assert dead.reason is Reason.TOO_LARGE
    assert "50 are allowed" in dead.detail


def test_a_workflow_with_a_name_too_long_for_an_index_is_a_dead_letter() -> None:
    assert letter(CANONICAL, f"workflow.agents.n.{'u' * 257}.agent.planner.message").reason is Reason.NAME_TOO_LONG


def test_a_run_id_too_long_for_an_index_is_kept_beside_the_row() -> None:
    message = row({"content": "x", "run_id": "r" * 257, "step_id": "s" * 300, "stage": "t" * 300})
    assert (message.run_id, message.step_id, message.stage) == (None, "s" * 300, "t" * 300)
    assert message.attrs["run_id_given"] == "r" * 257


def test_an_unknown_subject_is_a_dead_letter() -> None:
    assert letter(CANONICAL, "workflow.nobody.knows").reason is Reason.UNKNOWN_SUBJECT


def test_nul_and_lone_surrogates_become_one_replacement_each() -> None:
    message = row(b'{"content": "a\\u0000b\\ud83dc", "attrs": {"k\\u0000": ["\\ud83d\\u0000"]}}')
    assert message.content == "a�b�c"
    assert message.attrs["k�"] == ["��"]


def test_invalid_utf_8_is_replaced_not_refused() -> None:
    assert row(b'{"content": "caf\xe9"}').content == "caf�"


def test_ids_that_differ_only_in_what_cannot_be_stored_are_two_messages() -> None:
    ids = (b"m\\u0000", b"m\\ud800", b"m\\udfff", b"m\xe8", b"m\xe9", "m\ufffd".encode(), b"m\\ufffd")
    rows = [row(b'{"content": "x", "message_id": "%b"}' % each) for each in ids]
    # Only the last two say the same.
    assert len({each.dedupe_key for each in rows}) == len(ids) - 1
    assert rows[-1].dedupe_key == rows[-2].dedupe_key
    assert rows[-1].attrs["message_id"] == "m\ufffd"
    assert all(each.attrs["message_id"].startswith("m\ufffd~") for each in rows[:-2])


def test_an_id_that_cannot_be_stored_is_the_same_each_time_in_any_spelling() -> None:
    spelled = (
        b'{"content": "x", "message_id": "m\\u0000"}',
        b'{"messageId": "m\\u0000", "text": "x"}',
        b'{"data": {"id": "m\\u0000", "content": "x"}}',
    )
    assert len({row(payload).dedupe_key for payload in spelled}) == 1


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert row(b'{"content": "\\ud83d\\ude00"}').content == "😀"


def test_the_key_does_not_depend_on_the_order_of_fields() -> None:
    assert row(dict(reversed(CANONICAL.items()))).dedupe_key == row(CANONICAL).dedupe_key


def test_the_key_is_of_the_workflow_and_the_channel() -> None:
    subjects = [
        RUN_SUBJECT,
        "workflow.agents.fix-login.uid-2.agent.planner.message",
        "workflow.team-b.fix-login.uid-1.agent.planner.message",
        "workflow.general.message",
        "workflow.general.agents.message",
        "workflow.general.agents.person.message",
    ]
    assert len({row(CANONICAL, subject).dedupe_key for subject in subjects}) == len(subjects)


@pytest.mark.parametrize(("ahead", "usable"), [(timedelta(hours=23), True), (timedelta(days=2), False)])
def test_a_time_far_ahead_of_the_streams_is_none(ahead: timedelta, usable: bool) -> None:
    stored = datetime.fromtimestamp(STORED_AT / 1e9, UTC)
    said = (stored + ahead).isoformat()
    message = row({"content": "x", "timestamp": said})
    assert (message.timestamp > stored + timedelta(hours=1)) is usable
    assert message.attrs.get("timestamp_given") == (None if usable else said)
    # What it said is still what tells it from another message without an id.
    assert message.dedupe_key != row({"content": "x"}).dedupe_key


def test_a_claim_cannot_take_the_place_of_what_the_subject_says() -> None:
    said = {
        "content": "x",
        "message_id": "m",
        "workflow_namespace": "agents",
        "workflow_uid": "w9",
        "workflow_name": "w9",
    }
    claimed = row(said, "workflow.-.-.-.agent.-.message")
    genuine = row(said, "workflow.agents.w9.w9.agent.a.message")
    assert claimed.attrs["identity"] == "claimed"
    assert claimed.dedupe_key != genuine.dedupe_key


def test_a_subject_with_a_name_alone_is_no_other_workflows() -> None:
    message = row({"content": "x", "workflow_uid": "w9"}, "workflow.agents.evil.-.agent.b.message")
    assert (message.workflow_uid, message.workflow_name) == ("evil", "evil")
    assert message.attrs["claimed"]["workflow_uid"] == "w9"


def test_a_person_cannot_take_the_place_of_an_agents_message() -> None:
    said = {"content": "x", "message_id": "m-1"}
    agent, person = (row(said, f"workflow.agents.n.u.agent.{who}.message") for who in ("planner", "person"))
    assert agent.dedupe_key != person.dedupe_key


def test_a_claim_of_another_workflow_does_not_touch_its_messages() -> None:
    theirs = row(CANONICAL, "workflow.team-b.other.uid-9.agent.planner.message")
    forged = row(CANONICAL | {"workflow_namespace": "team-b", "workflow_uid": "uid-9"})
    assert forged.dedupe_key != theirs.dedupe_key


def test_without_an_id_the_words_and_their_time_are_the_key() -> None:
    anonymous = {k: v for k, v in CANONICAL.items() if k != "message_id"}
    assert row(anonymous).dedupe_key == row(anonymous, stream_seq=8).dedupe_key
    assert row(anonymous | {"content": "other"}).dedupe_key != row(anonymous).dedupe_key


def test_without_id_and_time_the_place_in_the_stream_is_the_key() -> None:
    assert row({"content": "ok"}).dedupe_key == row({"content": "ok"}).dedupe_key
    assert row({"content": "ok"}).dedupe_key != row({"content": "ok"}, stream_seq=8).dedupe_key


@given(st.binary(max_size=300), st.sampled_from([RUN_SUBJECT, "workflow.general.x", "workflow.what"]))
def test_any_bytes_give_a_row_or_a_dead_letter(data: bytes, subject: str) -> None:
    result = normalize(delivered(data, subject), LIMIT)
    assert isinstance(result, Message | DeadLetter)


@given(st.dictionaries(st.sampled_from([*CANONICAL, "tool", "attrs", "data", "text", "status", "x"]), json_values))
def test_any_object_gives_a_row_or_a_dead_letter_always_the_same(payload: dict[str, Any]) -> None:
    data = json.dumps(payload).encode()
    first, second = normalize(delivered(data), LIMIT), normalize(delivered(data, deliveries=2), LIMIT)
    assert type(first) is type(second)
    assert first.dedupe_key == second.dedupe_key
    if isinstance(first, Message):
        text = json.dumps([first.content, first.attrs], ensure_ascii=False)
        assert "\x00" not in text
        text.encode()
