"""What a live stream gives: history, then what is being said, filtered, resumed, beating."""

import http.client
import json
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from connectors.loopback import HOST
from flows.retention import prune
from tests.waiting import PATIENCE_S, wait_until
from tests.watcher import EVENTS, RUN_EVENTS, Watcher, said
from tests.webserver import StartWeb, WebServer
from tests.writers import Writer


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


def test_a_stream_begins_with_the_newest_and_goes_on_live(web: WebServer, writer: Writer) -> None:
    writer.say("one", "two", "three")
    with Watcher(web.url, runId="run-1", limit=2) as watcher:
        history = watcher.take(2)
        writer.say("four")
        assert said(history + watcher.take(1)) == ["two", "three", "four"]
    assert [event.id for event in history] == [str(event.data["seq"]) for event in history]


def test_an_event_has_every_field_and_no_name(web: WebServer, writer: Writer) -> None:
    tool = {"name": "shell", "exit_code": 1}
    writer.say("broken", kind="tool_result", attrs={"tool": tool, "deep": {"n": 10**30}})
    with Watcher(web.url, runId="run-1") as watcher:
        event = watcher.take(1)[0]
    expected = (
        "id seq workflow_uid workflow_name workflow_namespace run_id step_id agent_id role kind timestamp channel"
    )
    assert set(event.data) == {*expected.split(), "stage", "content", "tool", "attrs", "created_at"}
    assert event.name == "message"
    assert event.data["tool"] == tool
    assert event.data["attrs"]["deep"] == {"n": 10**30}


def test_the_head_comes_at_once_with_its_headers(web: WebServer, writer: Writer) -> None:
    writer.say("one")
    with Watcher(web.url, runId="run-1") as watcher:
        headers = watcher.response.headers
        assert watcher.response.status == 200
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Cache-Control"] == "no-cache"
        assert headers["X-Accel-Buffering"] == "no"
        assert "Content-Length" not in headers
        assert "Content-Encoding" not in headers
        watcher.take(1)
        assert [1_000 <= retry <= 3_000 for retry in watcher.retries] == [True]


def test_head_ends_at_once_and_opens_nothing(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database)
    with closing(http.client.HTTPConnection(HOST, web.port, timeout=PATIENCE_S)) as connection:
        connection.request("HEAD", f"{EVENTS}?runId=run-1")
        response = connection.getresponse()
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert "Content-Length" not in response.headers
        assert response.read() == b""
    assert web.metric("agent_comms_live_subscribers") == 0


def test_quiet_streams_say_that_they_live(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database, AGENT_COMMS_HEARTBEAT_SECONDS="1")
    with Watcher(web.url, runId="nobody") as watcher:
        watcher.take_comments(1)
        began = time.monotonic()
        watcher.take_comments(4)
        # By default it would take longer by far.
        assert time.monotonic() - began < 25


def test_the_default_heartbeat_is_within_the_contracts_15_s(web: WebServer) -> None:
    with Watcher(web.url, channel="general") as watcher:
        watcher.take_comments(1)
        began = time.monotonic()
        watcher.take_comments(2)
        assert time.monotonic() - began < 15


def test_an_unknown_run_is_an_empty_stream_that_delivers_once_it_speaks(web: WebServer, writer: Writer) -> None:
    asked: list[dict[str, Any]] = [
        {"runId": "r-7"},
        {"workflowUid": "u-7"},
        {"workflowName": "n-7"},
        {"runId": "r-7", "workflowNamespace": "elsewhere"},
    ]
    with ExitStack() as stack:
        by_id, by_uid, by_name, elsewhere = (
            stack.enter_context(Watcher(web.url, limit=1, **wanted)) for wanted in asked
        )
        for watcher in (by_id, by_uid, by_name, elsewhere):
            watcher.take_comments(1)
        names: dict[str, Any] = {"workflow_uid": "u-7", "workflow_name": "n-7", "run_id": "r-7"}
        writer.say("one", "two", **names)
        writer.say("three", **names)
        for watcher in (by_id, by_uid, by_name):
            assert said(watcher.take(3)) == ["one", "two", "three"]
        writer.say("other", **names, workflow_namespace="elsewhere")
        assert said(elsewhere.take(1)) == ["other"]


def test_a_run_is_meant_by_its_id_before_its_uid_before_its_name(web: WebServer, writer: Writer) -> None:
    writer.say("by name", workflow_uid="u-1", workflow_name="x")
    with Watcher(web.url, runId="x") as watcher:
        assert said(watcher.take(1)) == ["by name"]
    writer.say("by uid", workflow_uid="x", workflow_name="n-2")
    with Watcher(web.url, runId="x") as watcher:
        assert said(watcher.take(1)) == ["by uid"]
    writer.say("by id", workflow_uid="u-3", workflow_name="n-3", run_id="x")
    with Watcher(web.url, runId="x") as watcher:
        assert said(watcher.take(1)) == ["by id"]


def test_filters_hold_for_history_and_live_alike(web: WebServer, writer: Writer) -> None:
    def speak(turn: str) -> None:
        writer.say(f"{turn} a", agent_id="planner", kind="message")
        writer.say(f"{turn} b", agent_id="executor", kind="tool_call")
        writer.say(f"{turn} c", agent_id="executor", kind="error")
        writer.say(f"{turn} d", channel="general", agent_id="executor")
        writer.say(f"{turn} e", run="run-2", agent_id="executor", kind="error")
        writer.say(f"{turn} f", channel="general", workflow_namespace="tenant", agent_id="reviewer")

    wanted: list[tuple[dict[str, Any], str]] = [
        ({"runId": "run-1"}, "abc"),
        ({"runId": "run-1", "agentId": "executor"}, "bc"),
        ({"runId": "run-1", "agentId": "executor", "kind": "error"}, "c"),
        ({"workflowName": "run-2"}, "e"),
        ({"workflowUid": "run-2", "workflowNamespace": "agents"}, "e"),
        ({"channel": "general"}, "df"),
        ({"channel": "general", "agentId": "executor"}, "d"),
        ({"channel": "general", "workflowNamespace": "tenant"}, "f"),
        ({"channel": "general", "workflowName": "run-1"}, "df"),
        ({"channel": "general", "runId": "run-1", "workflowNamespace": "agents"}, "d"),
    ]
    speak("then")
    with ExitStack() as stack:
        watchers = [stack.enter_context(Watcher(web.url, EVENTS, **query)) for query, _ in wanted]
        for watcher, (_, letters) in zip(watchers, wanted, strict=True):
            assert said(watcher.take(len(letters))) == [f"then {letter}" for letter in letters]
        speak("now")
        for watcher, (_, letters) in zip(watchers, wanted, strict=True):
            assert said(watcher.take(len(letters))) == [f"now {letter}" for letter in letters]


def test_an_older_header_yields_to_a_newer_one(web: WebServer, writer: Writer) -> None:
    """A browser repeats the first URL, with its old cursor, and adds the header."""
    writer.say("one", "two", "three")
    with Watcher(web.url, runId="run-1") as watcher:
        one, two, _ = watcher.take(3)
    with Watcher(web.url, runId="run-1", lastEventId=one.id) as watcher:
        assert said(watcher.take(2)) == ["two", "three"]
        assert watcher.response.headers["X-Agent-Comms-Resumed-From"] == one.id
    with Watcher(web.url, runId="run-1", last_id=two.id, lastEventId=one.id, limit=1) as watcher:
        writer.say("four")
        assert said(watcher.take(2)) == ["three", "four"]


def test_limit_never_bounds_a_resume(web: WebServer, writer: Writer) -> None:
    writer.say("first")
    with Watcher(web.url, runId="run-1") as watcher:
        last_id = watcher.take(1)[0].id
    writer.say(*map(str, range(2_500)))
    with Watcher(web.url, runId="run-1", last_id=last_id, limit=10) as watcher:
        assert said(watcher.take(2_500)) == [str(n) for n in range(2_500)]


@pytest.mark.parametrize("last_id", ["garbage", "-1", "1.5", "99999999999999999999999", str(2**63 - 1), "٣", "4 4"])
def test_an_id_that_nobody_gave_is_told_and_delivers_what_comes(web: WebServer, writer: Writer, last_id: str) -> None:
    writer.say("before")
    with Watcher(web.url, runId="run-1", lastEventId=last_id) as watcher:
        gap = watcher.take(1)[0]
        assert gap.name == "gap"
        assert gap.id == watcher.response.headers["X-Agent-Comms-Resumed-From"] == str(gap.data["resumed_from"])
        writer.say("after")
        assert said(watcher.take(1)) == ["after"]


def test_html_is_in_the_data_where_it_is_asked_for(web: WebServer, writer: Writer) -> None:
    writer.say("**then**")
    with Watcher(web.url, runId="run-1", html=1) as watcher:
        writer.say("**now**")
        events = [event for event in watcher.take(3) if event.name == "message"]
        assert len(events) == 2
        for event in events:
            assert event.data["content"].strip("*") in event.data["html"]
            assert f'data-seq="{event.data["seq"]}"' in event.data["html"]


def test_a_page_is_told_when_it_has_all_that_was_stored(web: WebServer, writer: Writer) -> None:
    writer.say("one", "two")
    with Watcher(web.url, runId="run-1", html=1) as watcher:
        _, two, told = watcher.take(3)
        assert (told.name, told.id) == ("caught-up", two.id)
        writer.say("three")
        assert watcher.take(1)[0].said == "three"
    # Whoever takes the API's events gets what is promised there alone.
    with Watcher(web.url, runId="run-1") as watcher:
        assert said(watcher.take(3)) == ["one", "two", "three"]
        writer.say("four")
        assert watcher.take(1)[0].said == "four"


def test_messages_of_a_mebibyte_pass(web: WebServer, writer: Writer) -> None:
    large = ["x" * 1_000_000 + str(n) for n in range(12)]
    writer.say(*large)
    with Watcher(web.url, runId="run-1") as watcher:
        assert said(watcher.take(12)) == large
        writer.say(*large)
        assert said(watcher.take(12)) == large


def test_an_id_older_than_what_is_kept_is_told_where_the_rest_begins(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database)
    with Writer(database) as writer:
        writer.say("gone", "gone too")
        writer.say("gone", channel="general")
        with psycopg.connect(database) as connection:
            connection.execute("UPDATE workflow_comms.agent_messages SET created_at = now() - interval '1 year'")
        writer.say("kept")
    with Watcher(web.url, runId="run-1") as watcher:
        first = int(watcher.take(3)[0].id)
    prune(database, datetime.now(UTC) - timedelta(days=90))
    for last_id in (0, first):
        with Watcher(web.url, runId="run-1", last_id=str(last_id)) as watcher:
            gap, kept = watcher.take(2)
            assert (gap.name, kept.said) == ("gap", "kept")
            assert gap.id == watcher.response.headers["X-Agent-Comms-Resumed-From"] == str(first + 1)
            assert gap.data == {"resumed_from": first + 1}
    # Up to here nothing is missing.
    with Watcher(web.url, runId="run-1", last_id=str(first + 1)) as watcher:
        assert watcher.take(1)[0].said == "kept"
    # What was pruned of the one channel is no gap in the other.
    with Watcher(web.url, channel="general", last_id=str(first + 2)) as watcher:
        with Writer(database) as writer:
            writer.say("new", channel="general")
        assert watcher.take(1)[0].said == "new"


def test_where_everything_was_pruned_the_newest_id_is_still_one(start_web: StartWeb, database: str) -> None:
    with Writer(database) as writer:
        writer.say("gone")
    web = start_web(DATABASE_URL=database)
    with Watcher(web.url, runId="run-1") as watcher:
        last_id = watcher.take(1)[0].id
    prune(database, datetime.now(UTC) + timedelta(days=1))
    with Watcher(web.url, runId="run-1", last_id=last_id) as watcher:
        with Writer(database) as writer:
            writer.say("new")
        assert watcher.take(1)[0].said == "new"


@pytest.mark.parametrize(
    ("path", "name"),
    [(EVENTS, "q"), (EVENTS, "since"), (EVENTS, "agentID"), (EVENTS, "format"), (RUN_EVENTS, "runId"), (EVENTS, "")],
)
def test_a_parameter_that_would_be_overlooked_is_refused(web: WebServer, path: str, name: str) -> None:
    with closing(http.client.HTTPConnection(HOST, web.port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", f"{path}?channel=general&{name}=x" if path == EVENTS else f"{path}?{name}=x")
        response = connection.getresponse()
        problem = json.loads(response.read())
    assert (response.status, problem["parameter"]) == (400, name)


def test_one_who_is_too_many_is_told_when_to_come_again(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database, AGENT_COMMS_LIVE_CONNECTIONS="3")
    with ExitStack() as stack:
        watchers = [stack.enter_context(Watcher(web.url, runId="run-1")) for _ in range(3)]
        with closing(http.client.HTTPConnection(HOST, web.port, timeout=PATIENCE_S)) as connection:
            connection.request("GET", f"{EVENTS}?runId=run-1")
            response = connection.getresponse()
            assert response.status == 503
            assert int(response.headers["Retry-After"]) > 0
            assert "3 live connections" in json.loads(response.read())["error"]
            # Others are served.
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
        with Writer(database) as writer:
            writer.say("one")
        for watcher in watchers:
            assert said(watcher.take(1)) == ["one"]
        # A refused one, and one that asks for what there isn't, take no place.
        watchers[0].close()
        wait_until(lambda: is_let_in(web), "a place that has become free")


def is_let_in(web: WebServer) -> bool:
    with Writer(web.database) as writer:
        writer.say("to notice who has left")
    with Watcher(web.url, runId="run-1") as watcher:
        return watcher.response.status == 200


def test_the_place_of_one_who_has_left_a_quiet_stream_is_free_at_once(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database, AGENT_COMMS_LIVE_CONNECTIONS="1")
    with Watcher(web.url, runId="run-1") as watcher:
        watcher.take_comments(1)
    tries = 1
    while not is_free(web):
        tries += 1
    # Nothing was written since: by what it writes a stream notices it some thousand tries later.
    assert tries < 100


def is_free(web: WebServer) -> bool:
    with Watcher(web.url, runId="run-1") as watcher:
        return watcher.response.status == 200


def test_many_refusals_take_no_place(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database, AGENT_COMMS_LIVE_CONNECTIONS="2")
    for query in ("", "runId=x&limit=0", "runId=x&q=y") * 3:
        with closing(http.client.HTTPConnection(HOST, web.port, timeout=PATIENCE_S)) as connection:
            connection.request("GET", f"{EVENTS}?{query}")
            assert connection.getresponse().status == 400
    with Watcher(web.url, runId="run-1"), Watcher(web.url, runId="run-1") as watcher:
        assert watcher.response.status == 200
