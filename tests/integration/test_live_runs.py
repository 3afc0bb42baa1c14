"""What the live list of runs gives."""

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection

import pytest

from connectors.loopback import HOST
from tests.waiting import PATIENCE_S
from tests.watcher import RUN_EVENTS, Seen, Watcher
from tests.webserver import StartWeb, WebServer
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


def test_a_run_that_ended_before_it_said_anything_reaches_the_list(web: WebServer) -> None:
    with Watcher(web.url, RUN_EVENTS) as watcher:
        watcher.take_comments(1)
        with closing(HTTPConnection(HOST, web.port, timeout=PATIENCE_S)) as connection:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/api/agents/runs/silent/complete", '{"phase": "Succeeded"}', headers)
            assert connection.getresponse().status == 202
        event = watcher.take(1)[0]
    assert (event.data["run"]["workflow_uid"], event.data["run"]["state"]) == ("silent", "succeeded")
    assert "no message yet" in event.data["html"]
    assert f'data-timestamp="{event.data["run"]["finished_at"][:19]}' in event.data["html"]


def test_a_busy_run_is_sent_to_the_list_twice_a_second_at_most(web: WebServer, writer: Writer) -> None:
    with Watcher(web.url, RUN_EVENTS) as watcher:
        watcher.take_comments(1)
        began = time.monotonic()
        writer.say("busy")
        events: list[Seen] = watcher.take(1)
        while time.monotonic() - began < 2:
            writer.say("busy")
        writer.say("last")
        while not (events and events[-1].data["run"]["last_content"] == "last"):
            events += watcher.take(1)
    assert 2 <= len(events) <= 2 * (time.monotonic() - began) + 2


def test_a_run_that_goes_silent_reaches_the_list_though_nobody_says_so(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database, AGENT_COMMS_STALE_MINUTES="1")
    with (
        Writer(database) as writer,
        Watcher(web.url, RUN_EVENTS) as watcher,
        Watcher(web.url, RUN_EVENTS, workflowNamespace="b") as other,
    ):
        watcher.take_comments(1)
        other.take_comments(1)
        soon = datetime.now(UTC) - timedelta(seconds=50)
        writer.say("waits", run="run-1", workflow_namespace="a", timestamp=soon)
        spoke = watcher.take(1)[0]
        assert spoke.data["run"]["state"] == "running"
        writer.say("goes on", run="run-2", workflow_namespace="b")
        assert watcher.take(1)[0].data["run"]["workflow_uid"] == "run-2"
        silent = watcher.take(1)[0]
        assert (silent.data["run"]["workflow_uid"], silent.data["run"]["state"]) == ("run-1", "stale")
        assert "is-stale" in silent.data["html"]
        assert other.take(1)[0].data["run"]["workflow_uid"] == "run-2"
    # Whoever was away meanwhile is told when it comes back.
    with Watcher(web.url, RUN_EVENTS, last_id=spoke.id) as watcher:
        states = {event.data["run"]["workflow_uid"]: event.data["run"]["state"] for event in watcher.take(2)}
        assert states == {"run-1": "stale", "run-2": "running"}


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
