import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.subject import Subject, encode, format_general, format_run, parse

SAFE = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-%")
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)


def test_a_runs_subject_names_everything() -> None:
    assert parse("workflow.agents.fix-login.uid-1.agent.planner.tool_call") == Subject(
        channel="run",
        authority="subject",
        kind="tool_call",
        namespace="agents",
        name="fix-login",
        uid="uid-1",
        agent="planner",
    )


@pytest.mark.parametrize(
    ("subject", "authority", "namespace", "agent"),
    [
        ("workflow.general.status", "claimed", None, None),
        ("workflow.general.team-a.status", "namespace", "team-a", None),
        ("workflow.general.team-a.person.status", "person", "team-a", "person"),
    ],
)
def test_the_general_channel_has_three_shapes(
    subject: str, authority: str, namespace: str | None, agent: str | None
) -> None:
    parsed = parse(subject)
    assert parsed is not None
    assert (parsed.channel, parsed.kind) == ("general", "status")
    assert (parsed.authority, parsed.namespace, parsed.agent) == (authority, namespace, agent)


@pytest.mark.parametrize("shape", ["agents.run.uid.agent.planner.log", "general.log", "general.agents.log"])
def test_the_argo_adapter_carries_the_same_shapes(shape: str) -> None:
    parsed = parse(f"argo.workflow.{shape}")
    assert parsed is not None
    assert parsed.runtime == "argo"
    assert parsed.kind == "log"


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "workflow",
        "workflow.general",
        "workflow.general.a.b.c",
        "workflow.general.a.person.b.c",
        "workflow.ns.name.uid.agent.planner",
        "workflow.ns.name.uid.agent.planner.message.more",
        "workflow.ns.name.uid.agents.planner.message",
        "argo.argo.workflow.general.status",
        "other.general.status",
    ],
)
def test_any_other_subject_has_no_known_shape(subject: str) -> None:
    assert parse(subject) is None


@pytest.mark.parametrize("token", ["-", "unknown"])
def test_unknown_and_a_dash_mean_absent(token: str) -> None:
    parsed = parse(f"workflow.{token}.{token}.{token}.agent.{token}.{token}")
    assert parsed == Subject(channel="run", authority="subject", kind=None)


def test_an_encoded_person_is_no_person() -> None:
    parsed = parse("workflow.agents.n.u.agent.%70erson.message")
    assert parsed is not None
    assert parsed.agent == "unknown"


def test_a_namespace_called_general_still_has_runs() -> None:
    parsed = parse("workflow.general.n.u.agent.planner.message")
    assert parsed is not None
    assert (parsed.channel, parsed.namespace) == ("run", "general")


@given(names, names, names, names, names)
def test_writing_and_reading_a_subject_are_inverses(namespace: str, name: str, uid: str, agent: str, kind: str) -> None:
    subject = format_run("workflow", namespace, name, uid, agent, kind)
    assert subject.count(".") == 6
    assert set(subject.replace(".", "")) <= SAFE
    parsed = parse(subject)
    assert parsed is not None
    assert (parsed.namespace, parsed.name, parsed.uid, parsed.kind) == (namespace, name, uid, kind)
    assert parsed.agent == agent


@given(names)
def test_a_general_subject_has_three_tokens(kind: str) -> None:
    subject = format_general("workflow", kind)
    assert subject.count(".") == 2
    parsed = parse(subject)
    assert parsed is not None
    assert parsed.kind == kind


def test_a_nul_in_a_token_is_made_storable() -> None:
    parsed = parse("workflow.agents.a%00b.uid.agent.planner.log")
    assert parsed is not None
    assert parsed.name == "a�b"


def test_dots_and_spaces_are_percent_encoded() -> None:
    assert encode("api.v2 beta*>") == "api%2Ev2%20beta%2A%3E"


def test_a_missing_value_becomes_a_dash() -> None:
    assert format_run("workflow", "agents", None, None, "planner", "log") == "workflow.agents.-.-.agent.planner.log"
