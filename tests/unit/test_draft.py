"""Drafts are what the ingest would have made of the same lines, had they been published."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.delivery import JetStreamMessage
from flows.codex import Reader
from flows.draft import Draft, Drafter
from flows.message import Message
from flows.normalize import normalize
from flows.patterns import Pattern
from flows.redact import Redactor
from flows.spelling import Claim
from tests.artifacts import DELIVERED, EVENTS, REDACTOR, STREAMS
from tests.sidecar import item, said
from tests.unit.test_sheet import ODD

LIMIT = 1024 * 1024
BESIDE = {"run_id": "run-1", "stage": "implementation", "runtime": "argo"}
LINES = [line for name in sorted(STREAMS) for line in STREAMS[name].split(b"\n")]
TOKEN = "ghp_" + "0123456789abcdefghij" * 2


def claims_of(lines: list[bytes]) -> Iterator[Claim]:
    reader = Reader("codex-events", "live", EVENTS)
    for number, line in enumerate(lines, 1):
        yield from reader.read(number, line)
    yield from reader.end()


def by_ingest(claim: Claim, redactor: Redactor = REDACTOR, limit: int = LIMIT) -> Message | None:
    """The row that a claim becomes when it is published."""
    payload = msgspec.json.encode({name: value for name, value in fields(claim).items() if value is not None} | BESIDE)
    subject = f"workflow.agents.run-1.uid-1.agent.executor.{claim.kind}"
    message = normalize(JetStreamMessage(subject, payload, DELIVERED), limit)
    return redactor.message(message) if isinstance(message, Message) else None


def fields(claim: Claim) -> dict[str, Any]:
    return {name: getattr(claim, name) for name in claim.__struct_fields__ if name != "timestamp"}


def drafted(claims: list[Claim], redactor: Redactor = REDACTOR, limit: int = LIMIT) -> list[Draft | None]:
    drafter = Drafter(redactor, limit, BESIDE)
    drafts = [drafter.draft(claim, usable_time=True) for claim in claims]
    drafter.redact(drafts)
    return drafts


def assert_alike(draft: Draft | None, message: Message | None) -> None:
    if draft is None or message is None:
        assert (draft, message) == (None, None)
        return
    assert (draft.kind, draft.role, draft.content.decode()) == (message.kind, message.role, message.content)
    expected = {name: value for name, value in message.attrs.items() if name != "timestamp_source"}
    assert msgspec.json.decode(draft.attrs + b"}") == msgspec.json.decode(msgspec.json.encode(expected))


@pytest.mark.parametrize("name", STREAMS)
def test_a_line_is_drafted_as_the_ingest_makes_it(name: str) -> None:
    lines = STREAMS[name].split(b"\n")
    expected = [by_ingest(claim) for claim in claims_of(lines)]
    for draft, message in zip(drafted([*claims_of(lines)]), expected, strict=True):
        assert_alike(draft, message)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([10**17, 10**18, -(10**17), 10**18 - 1])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["\0", "\\u0000", "[", "{" * 130, f"token {TOKEN}", "é", "\t", ""]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "token", "\0"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
    content=st.sampled_from(["x", "  ", "\0", "\\u0000", "[" * 127, "{" * 200, TOKEN]),
    attrs=st.dictionaries(st.sampled_from(["status", "claimed", "runtime", "tool", "usage"]), values, max_size=3),
    tool=st.none() | st.dictionaries(st.sampled_from(["name", "input", "output"]), values, max_size=3),
    kind=st.sampled_from(["message", "tool_call", "status", "log"]),
)
def test_whatever_is_said_it_is_drafted_as_the_ingest_makes_it(
    content: str, attrs: dict[str, Any], tool: dict[str, Any] | None, kind: str
) -> None:
    made = [Claim(message_id="m-1", kind=kind, role="robot", content=content, attrs=attrs, tool=tool) for _ in range(2)]
    expected = by_ingest(msgspec.convert(msgspec.to_builtins(made[0]), Claim))
    (draft,) = drafted(made[1:])
    assert_alike(draft, expected)


def test_numbers_and_levels_beyond_the_quick_way_are_read_as_the_ingest_reads_them() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    many = {"input": {"numbers": [10**18, 7], "boxes": [{}] * 200}}
    for tool in (many, {"input": deep}, {"input": 10**18}):
        claim = Claim(message_id="m-1", kind="tool_call", content="x", attrs={"line": 1}, tool=tool)
        expected = by_ingest(claim)
        assert_alike(drafted([claim])[0], expected)


@pytest.mark.parametrize("content", ["x" * 3_000, '"' * 600, "x" * 700])
def test_what_would_be_too_large_a_message_is_none(content: str) -> None:
    claim = Claim(message_id="m-1", kind="log", content=content, attrs={"line": 1})
    expected = by_ingest(claim, limit=1_000)
    assert_alike(drafted([claim], limit=1_000)[0], expected)


def test_credentials_are_replaced_before_a_draft_is_handed_on() -> None:
    lines = [said(0).encode(), item("completed", 1, "agent_message", text=f"it is {TOKEN}").encode(), said(2).encode()]
    drafts = drafted([*claims_of(lines)])
    assert all(draft is not None and TOKEN.encode() not in draft.content + draft.attrs for draft in drafts)
    assert [b"redacted" in draft.attrs for draft in drafts if draft] == [False, True, False]


def test_a_pattern_without_a_hint_is_looked_for_in_every_draft() -> None:
    redactor = Redactor([Pattern("badge", (), re.compile(r"badge \d+"))])
    (draft,) = drafted([*claims_of([item("completed", 1, "agent_message", text="badge 4711").encode()])], redactor)
    assert draft is not None
    assert draft.content == b"[redacted:badge]"


def test_a_run_whose_id_is_a_credential_marks_all_that_it_says() -> None:
    drafter = Drafter(REDACTOR, LIMIT, {"run_id": TOKEN})
    drafts = [drafter.draft(claim, usable_time=True) for claim in claims_of([said(0).encode()])]
    drafter.redact(drafts)
    assert all(
        draft is not None and b'"redacted"' in draft.attrs and TOKEN.encode() not in draft.attrs for draft in drafts
    )


@settings(max_examples=60, deadline=None)
@given(chosen=st.lists(st.sampled_from([*LINES, *ODD]), max_size=20))
def test_lines_in_any_order_are_drafted_as_the_ingest_makes_them(chosen: list[bytes]) -> None:
    expected = [by_ingest(claim) for claim in claims_of(chosen)]
    for draft, message in zip(drafted([*claims_of(chosen)]), expected, strict=True):
        assert_alike(draft, message)
