import json
import re
from typing import Any

import msgspec
import pytest

from flows.payload import PayloadError, Speaker, compose, read_line
from flows.settings import SettingError, Settings
from flows.spelling import Claim
from flows.subject import parse

SPEAKER = Speaker(prefix="workflow", namespace="agents", name="build.1", uid="u-1", agent="planner")


def composed(said: Claim, speaker: Speaker = SPEAKER, *, general: bool = False) -> tuple[str, dict[str, Any]]:
    message = compose(speaker, said, general=general)
    payload = json.loads(message.payload)
    assert payload["message_id"] == message.message_id
    return message.subject, payload


def test_a_message_says_all_that_the_contract_asks_for() -> None:
    subject, payload = composed(Claim(content="hello"))
    assert subject == "workflow.agents.build%2E1.u-1.agent.planner.message"
    assert re.fullmatch("[0-9a-f]{32}", payload.pop("message_id"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", payload.pop("timestamp"))
    assert payload == {
        "workflow_uid": "u-1",
        "workflow_name": "build.1",
        "workflow_namespace": "agents",
        "agent_id": "planner",
        "kind": "message",
        "channel": "run",
        "role": "assistant",
        "content": "hello",
    }


def test_the_subject_says_the_same_as_the_payload() -> None:
    subject, payload = composed(Claim(content="hello", agent_id="re viewer", kind="run-started"))
    said = parse(subject)
    assert said is not None
    assert (said.namespace, said.name, said.uid, said.agent, said.kind) == (
        payload["workflow_namespace"],
        payload["workflow_name"],
        payload["workflow_uid"],
        payload["agent_id"],
        payload["kind"],
    )


def test_no_two_messages_have_one_id() -> None:
    assert len({compose(SPEAKER, Claim(content="x")).message_id for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("kind", "role"),
    [
        ("message", "assistant"),
        ("tool_call", "tool"),
        ("tool_result", "tool"),
        ("status", "system"),
        ("error", "system"),
    ],
)
def test_the_kind_decides_the_role(kind: str, role: str) -> None:
    assert composed(Claim(content="x", kind=kind))[1]["role"] == role


def test_the_speakers_role_goes_before_the_kinds() -> None:
    speaker = msgspec.structs.replace(SPEAKER, role="user")
    assert composed(Claim(content="x"), speaker)[1]["role"] == "user"
    assert composed(Claim(content="x", role="system"), speaker)[1]["role"] == "system"


def test_run_stage_and_step_are_the_settings() -> None:
    settings = Settings.from_env({"WORKFLOW_UID": "u", "RUN_ID": "r", "WORKFLOW_STAGE": "test", "WORKFLOW_STEP": "2"})
    payload = composed(Claim(content="x"), Speaker.of(settings))[1]
    assert (payload["run_id"], payload["stage"], payload["step_id"]) == ("r", "test", "2")


def test_general_goes_to_the_shared_room() -> None:
    subject, payload = composed(Claim(content="x", kind="status"), general=True)
    assert subject == "workflow.general.status"
    assert payload["channel"] == "general"
    assert payload["workflow_name"] == "build.1"


def test_a_payload_that_names_its_channel_goes_there() -> None:
    assert composed(read_line(b'{"content":"x","channel":"general"}'))[0] == "workflow.general.message"
    assert composed(read_line(b'{"content":"x","channel":"run"}'), general=True)[0].endswith("agent.planner.message")


def test_the_prefix_is_the_settings() -> None:
    speaker = Speaker.of(Settings(workflow_name="n", nats_subject_prefix="argo.workflow"))
    assert compose(speaker, Claim(content="x")).subject == "argo.workflow.agents.n.n.agent.agent.message"


@pytest.mark.parametrize(("given", "missing"), [("WORKFLOW_NAME", "workflow_uid"), ("WORKFLOW_UID", "workflow_name")])
def test_a_missing_uid_or_name_is_the_other(given: str, missing: str) -> None:
    assert composed(Claim(content="x"), Speaker.of(Settings.from_env({given: "w"})))[1][missing] == "w"


def test_without_a_workflow_nobody_speaks() -> None:
    with pytest.raises(SettingError, match="WORKFLOW_UID or WORKFLOW_NAME"):
        Speaker.of(Settings.from_env({"AGENT_ID": "planner"}))


def test_a_line_keeps_what_it_says_and_gets_what_it_lacks() -> None:
    line = b'{"text":"hi","agentId":"executor","messageId":"m-1","timestamp":"2025-01-01T00:00:00Z","branch":"main"}'
    subject, payload = composed(read_line(line))
    assert subject == "workflow.agents.build%2E1.u-1.agent.executor.message"
    assert payload["message_id"] == "m-1"
    assert payload["timestamp"] == "2025-01-01T00:00:00Z"
    assert payload["content"] == "hi"
    assert payload["attrs"] == {"branch": "main"}


def test_a_line_of_another_workflow_is_not_mixed_with_the_speakers() -> None:
    speaker = msgspec.structs.replace(SPEAKER, run_id="r-1")
    payload = composed(read_line(b'{"content":"x","workflow_name":"other"}'), speaker)[1]
    assert (payload["workflow_name"], payload["workflow_uid"]) == ("other", "other")
    assert "run_id" not in payload


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"no", "not JSON"),
        (b"[1]", "an array"),
        (b"{}", "there is no content"),
        (b'{"content":" \\n"}', "there is no content"),
        (b'{"content":"x","role":"boss"}', "role: it takes assistant, system, tool, user, but got 'boss'"),
        (b'{"content":"x","channel":"news"}', "channel: it takes run or general, but got 'news'"),
        (b'{"content":"x","agent_id":"person"}', "agent_id: person is kept"),
        (b'{"content":"x","workflow_namespace":"general"}', "workflow_namespace: general is the shared room's name"),
        (b'{"content":"x","kind":"' + b"k" * 300 + b'"}', "kind: it takes 256 characters at most"),
    ],
    ids=["not JSON", "array", "nothing", "blank", "role", "channel", "person", "general", "long"],
)
def test_what_nobody_could_read_is_refused_in_one_line(line: bytes, reason: str) -> None:
    with pytest.raises(PayloadError, match=re.escape(reason)) as raised:
        compose(SPEAKER, read_line(line))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "said", [Claim(kind="status"), Claim(kind="tool_call", tool={"name": "ls"}), Claim(status="ok")]
)
def test_a_status_or_a_tool_needs_no_words(said: Claim) -> None:
    assert compose(SPEAKER, said).payload


def test_half_a_character_is_made_storable() -> None:
    assert composed(Claim(content="a\ud800b", attrs={"k": "\ud800"}))[1]["content"] == "a�b"


def test_what_is_absent_is_left_out() -> None:
    assert None not in composed(Claim(content="x"))[1].values()
