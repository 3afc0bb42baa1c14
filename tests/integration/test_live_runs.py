"""What the live list of runs gives."""

import time

import pytest

from tests.watcher import RUN_EVENTS, Seen, Watcher
from tests.webserver import WebServer
from tests.writers import Writer


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


def test_a_run_that_changes_reaches_the_list(web: WebServer, writer: Writer) -> None:
    with Watcher(web.url, RUN_EVENTS) as everybody, Watcher(web.url, RUN_EVENTS, workflowNamespace="b") as some:
        everybody.take_comments(1)
        some.take_comments(1)
        writer.say("hello", run="run-1", workflow_namespace="a")
        event = everybody.take(1)[0]
        assert (event.data["run"]["workflow_uid"], event.data["run"]["messages"]) == ("run-1", 1)
        assert "run-1" in event.data["html"]
        writer.say("hello", run="run-2", workflow_namespace="b")
        assert some.take(1)[0].data["run"]["workflow_uid"] == "run-2"


def test_a_busy_run_is_sent_to_the_list_twice_a_second_at_most(web: WebServer, writer: Writer) -> None:
    with Watcher(web.url, RUN_EVENTS) as watcher:
        watcher.take_comments(1)
        began = time.monotonic()
        while time.monotonic() - began < 2:
            writer.say("busy")
        writer.say("last")
        events: list[Seen] = []
        while not (events and events[-1].data["run"]["last_content"] == "last"):
            events += watcher.take(1)
    assert 2 <= len(events) <= 2 * (time.monotonic() - began) + 2


def test_the_list_resumes_with_what_changed_meanwhile(web: WebServer, writer: Writer) -> None:
    writer.say("old", run="run-1")
    with Watcher(web.url, RUN_EVENTS, lastEventId="0") as watcher:
        last_id = watcher.take(1)[0].id
    writer.say("new", run="run-2")
    writer.say("new", run="run-3")
    with Watcher(web.url, RUN_EVENTS, last_id=last_id) as watcher:
        events = watcher.take(2)
        assert {event.data["run"]["workflow_uid"] for event in events} == {"run-2", "run-3"}
    with Watcher(web.url, RUN_EVENTS, last_id=events[0].id) as watcher:
        assert len(watcher.take(2)) == 2
