import re
from collections import Counter
from itertools import pairwise

import pytest

from connectors.delivery import JetStreamMessage
from flows.dead_letter import DeadLetter
from flows.normalize import normalize
from flows.payload import Speaker, compose
from flows.runs import roll_up
from tests.unit.deliveries import LIMIT, reply
from web.sample import Story, read_stories

STORIES = read_stories()
HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@.*$", re.MULTILINE)


@pytest.fixture(params=STORIES, ids=lambda story: story.name)
def story(request: pytest.FixtureRequest) -> Story:
    told: Story = request.param
    return told


def test_there_are_two_tasks_of_three_agents_with_much_to_say(story: Story) -> None:
    assert len(STORIES) == 2
    assert {line.agent for line in story.lines} == {"planner", "executor", "reviewer"}
    assert len(story.lines) >= 40


def test_every_kind_of_thing_is_said(story: Story) -> None:
    kinds = Counter(line.claim.kind for line in story.lines)
    assert min(kinds[kind] for kind in ("message", "status", "error", "tool_call", "tool_result")) >= 1
    texts = [line.claim.content or "" for line in story.lines]
    outputs = [str((line.claim.tool or {}).get("output", "")) for line in story.lines]
    for sign in ("| --- |", "```", "1. ", "- [ ] ", "> "):
        assert any(sign in text for each in STORIES for text in (line.claim.content or "" for line in each.lines)), sign
    assert any("\x1b[31m" in output for output in outputs), "a failure in red"
    assert any("@@ " in output for output in outputs), "a diff"
    assert not any("␛" in text for text in (*texts, *outputs)), "an escape character that YAML can hold"
    assert any(line.claim.channel == "general" for line in story.lines)


def test_its_pace_is_a_persons(story: Story) -> None:
    times = [line.at.total_seconds() for line in story.lines]
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert times == sorted(times)
    assert max(waits) < 30
    assert 120 < times[-1] < 600


def test_every_line_becomes_a_message_of_its_run(story: Story) -> None:
    messages = []
    for number, line in enumerate(story.lines):
        said = compose(Speaker("workflow", "agents", "run-1", "uid-1", line.agent), line.claim)
        message = normalize(JetStreamMessage(said.subject, said.payload, reply(number + 1), b""), LIMIT)
        assert not isinstance(message, DeadLetter)
        assert (message.workflow_uid, message.agent_id) == ("uid-1", line.agent)
        assert "claimed" not in message.attrs
        assert message.attrs["repository"].startswith("acme/")
        messages.append(message)
    (run,) = roll_up(messages)
    assert run.said == "succeeded"
    assert run.errors >= 1


def test_a_call_and_its_result_belong_together(story: Story) -> None:
    calls = {(line.claim.attrs or {})["item_id"] for line in story.lines if line.claim.kind == "tool_call"}
    results = [(line.claim.attrs or {})["item_id"] for line in story.lines if line.claim.kind == "tool_result"]
    assert len(results) == len(set(results))
    assert calls == set(results)


def test_its_diffs_add_up(story: Story) -> None:
    outputs = [(line.claim.tool or {}).get("output") for line in story.lines]
    checked = 0
    for output in (output for output in outputs if isinstance(output, str) and "@@ " in output):
        heads = list(HUNK.finditer(output))
        for head, following in zip(heads, [*heads[1:], None], strict=True):
            body = output[head.end() + 1 : following.start() if following else None].split("\ndiff --git")[0]
            rows = body.removesuffix("\n").split("\n")
            old = sum(not row.startswith("+") for row in rows)
            new = sum(not row.startswith("-") for row in rows)
            assert (old, new) == (int(head[2] or 1), int(head[4] or 1)), head[0]
            checked += 1
    assert checked >= 3
