import pytest

from flows.artifact import BUNDLE, attempt_of, kind_of, title_of


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("wf/wf/implementation-events.tgz", "implementation-events"),
        ("wf/wf/.codex-implementation-events.jsonl", "implementation-events"),
        ("wf/wf/.codex/implementation-events.jsonl", "implementation-events"),
        ("implementation-events.jsonl.gz", "implementation-events"),
        ("implementation-events.tar.gz", "implementation-events"),
        ("implementation-events.tar", "implementation-events"),
        ("research-events.tgz", "research-events"),
        ("rollout-2026-01-01T10-00-00-0199.jsonl", "rollout-2026-01-01T10-00-00-0199"),
        ("a/b/c/d/stream.ndjson", "stream-ndjson"),
    ],
)
def test_what_codex_writes_is_told_by_its_name(path: str, title: str) -> None:
    assert (kind_of(path), title_of(path)) == ("codex-events", title)


@pytest.mark.parametrize("path", ["implementation-agent-log.tgz", ".codex-implementation-agent.log", "agent.log.gz"])
def test_so_is_an_agents_log(path: str) -> None:
    assert kind_of(path) == "log"


@pytest.mark.parametrize(
    "path",
    [
        ".codex-implementation-changes.tar.gz",
        "implementation-changes.tgz",
        ".codex-implementation-notify.json",
        ".codex-implementation-status.txt",
        ".codex-implementation-runtime.log",
        ".codex-implementation.log",
        "implementation-log.tgz",
        ".codex/implementation-resume.json",
        "main.log",
        "report.pdf",
        "README",
    ],
)
def test_what_lies_beside_is_left_alone(path: str) -> None:
    assert kind_of(path) is None


def test_an_archive_of_another_name_may_hold_some() -> None:
    assert kind_of("wf/pod/artifacts.tgz") == BUNDLE


def test_an_attempt_is_a_stage_in_a_folder() -> None:
    events, log = "wf/pod-1/implementation-events.tgz", "wf/pod-1/implementation-agent-log.tgz"
    assert attempt_of(events) == attempt_of(log)
    assert attempt_of(events) != attempt_of("wf/pod-2/implementation-events.tgz")
    assert attempt_of(events) != attempt_of("wf/pod-1/research-events.tgz")


def test_where_the_name_tells_nothing_it_is_what_it_is_said_to_be() -> None:
    assert attempt_of("wf/pod-1/0a1b2c", "implementation-events") == "wf/pod-1/implementation"
