"""A run's stream with what the general channel says under its name."""

import re
from contextlib import ExitStack
from datetime import UTC, datetime
from html import unescape
from typing import Any, cast

import pytest

from tests.asking import ask, contents, get
from tests.sockets import SocketClient
from tests.watcher import Watcher, said
from tests.webserver import WebServer
from tests.writers import Writer

MESSAGES = "/api/agents/messages"


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


def speak(writer: Writer, turn: str) -> None:
    now = datetime.now(UTC)
    twin: dict[str, Any] = {"agent_id": "planner", "timestamp": now}
    writer.say(f"{turn} a")
    # In one transaction, as a flow stores what comes together; and in both channels.
    writer.say(f"{turn} b", **twin)
    writer.say(f"{turn} b", channel="general", **twin)
    writer.say(f"{turn} c", channel="general", attrs={"identity": "claimed"})
    writer.say(f"{turn} d", channel="general", agent_id="reviewer")
    writer.say(f"{turn} e", channel="general", run="run-2")
    writer.say(f"{turn} f", channel="general", workflow_uid=None, workflow_name=None)
    writer.say(f"{turn} g")


def test_it_is_in_order_once_and_marked_as_a_claim(web: WebServer, writer: Writer) -> None:
    speak(writer, "then")
    wanted = [f"then {letter}" for letter in "abcdg"]
    with Watcher(web.url, runId="run-1", include="general", limit=100) as watcher:
        history = watcher.take(5)
        assert said(history) == wanted
        assert history[2].data["channel"] == "general"
        assert history[2].data["attrs"]["identity"] == "claimed"
        for turn in ("now", "again"):
            speak(writer, turn)
            assert said(watcher.take(5)) == [f"{turn} {letter}" for letter in "abcdg"]
    with Watcher(web.url, runId="run-1", include="general", last_id=history[0].id) as watcher:
        assert said(watcher.take(14))[:4] == wanted[1:]


def test_filters_hold_there_too_and_without_it_nothing_is_said(web: WebServer, writer: Writer) -> None:
    with (
        Watcher(web.url, workflowUid="run-1", include="general", agentId="reviewer") as reviewer,
        Watcher(web.url, runId="run-1") as plain,
        Watcher(web.url, channel="general", include="general") as general,
    ):
        for watcher in (reviewer, plain, general):
            watcher.take_comments(1)
        speak(writer, "now")
        assert said(reviewer.take(1)) == ["now d"]
        assert said(plain.take(3)) == ["now a", "now b", "now g"]
        assert said(general.take(5)) == [f"now {letter}" for letter in "bcdef"]


def test_a_socket_gives_the_same(web: WebServer, writer: Writer) -> None:
    with SocketClient(web) as client:
        client.ask("subscribe", run="run-1", include="general")
        speak(writer, "now")
        assert client.hear("now g") == [f"now {letter}" for letter in "abcdg"]
        assert client.ask("subscribe", run="run-1", include="everything")["parameter"] == "include"


def test_a_burst_of_both_channels_comes_in_one_order(web: WebServer, writer: Writer) -> None:
    with Watcher(web.url, runId="run-1", include="general", limit=1) as watcher:
        writer.say("first")
        watcher.hear("first")
        for number in range(100):
            writer.say(f"{number}", f"{number} too")
            writer.say(f"{number} in general", channel="general")
        seen = watcher.take(300)
    seqs = [event.data["seq"] for event in seen]
    assert seqs == sorted(set(seqs))
    assert {event.said for event in seen} >= {f"{number} in general" for number in range(100)}


@pytest.mark.parametrize("name", ["uid-9", "name-9", "id-9"])
def test_any_name_of_a_run_that_speaks_in_the_general_channel_alone_leads_to_what_it_says(
    web: WebServer, writer: Writer, name: str
) -> None:
    def speak(turn: str) -> None:
        names: dict[str, Any] = {"workflow_uid": "uid-9", "workflow_name": "name-9", "run_id": "id-9"}
        writer.say(f"{turn} a", channel="general", **names)
        writer.say(f"{turn} other", channel="general")
        for number, bearer in enumerate(names):
            writer.say(
                f"{turn} {number}", channel="general", **cast("dict[str, Any]", {**dict.fromkeys(names), bearer: name})
            )

    asked: list[dict[str, Any]] = [{"channel": "general"}, {"include": "general"}]
    with ExitStack() as open_now:
        early = [open_now.enter_context(Watcher(web.url, runId=name, **more)) for more in asked]
        client = open_now.enter_context(SocketClient(web))
        client.ask("subscribe", run=name, channel="general")
        for watcher in early:
            watcher.take_comments(1)
        speak("then")
        then = ["then a", "then 0", "then 1", "then 2"]
        assert [said(watcher.take(4)) for watcher in early] == [then, then]
        assert client.hear("then 2") == then
        late = [open_now.enter_context(Watcher(web.url, runId=name, limit=3, **more)) for more in asked]
        assert [said(watcher.take(3)) for watcher in late] == [then[1:], then[1:]]
        for more in asked:
            assert contents(get(web, MESSAGES, runId=name, **more)) == then
            assert contents(get(web, MESSAGES, runId=name, kind="message", limit=2, **more)) == then[2:]
            assert get(web, MESSAGES, runId=name, kind="error", **more)["messages"] == []
        writer.say("own", workflow_uid="uid-9", workflow_name="name-9", run_id="id-9")
        speak("now")
        # What bears the run's uid is the run's once it is known, and what bears another of its names alone is not.
        now = ["now a", *(["now 0"] if name == "uid-9" else [])]
        own = {"general": [], "include": ["own"]}
        for watchers in (early, late):
            for watcher, kind in zip(watchers, own, strict=True):
                wanted = [*own[kind], *now]
                assert said(watcher.take(len(wanted))) == wanted


def test_a_page_leads_to_what_the_general_channel_says_under_a_name_that_is_no_runs(
    web: WebServer, writer: Writer
) -> None:
    writer.say("hello", channel="general", workflow_uid="uid-9", workflow_name="name-9")
    writer.say("elsewhere", channel="general", workflow_uid="uid-9", workflow_name="name-9", workflow_namespace="b")
    writer.say("other", channel="general")
    general = ask(web, "/agents/general")[1].decode()
    link = unescape(re.findall(r'<a class="where" href="([^"]*uid-9[^"]*)"', general)[0])
    response, body = ask(web, link)
    assert response.status == 404
    (claimed,) = re.findall(r'<a href="(/agents/general[^"]*)">Show what is said there', body.decode())
    response, body = ask(web, unescape(claimed))
    page = body.decode()
    assert response.status == 200
    assert re.findall(r'data-seq="(\d+)"', page) == [str(get(web, MESSAGES, channel="general")["messages"][0]["seq"])]
    assert "what those claim who said it" in page
    assert 'data-testid="say"' not in page
    assert "Show what is said there" not in ask(web, "/agents/nobody")[1].decode()
    (stream,) = re.findall(r'data-stream="([^"]*channel=general[^"]*)"', page)
    (cursor,) = set(re.findall(r'data-cursor="(\d+)"', page))
    with Watcher(web.url, "/live", watch=f"{cursor} {unescape(stream)}") as watcher:
        writer.say("other", "elsewhere", channel="general")
        writer.say("later", channel="general", workflow_uid="uid-9", workflow_name="name-9")
        lines = iter(watcher.response.readline, b"")
        assert b'"content":"later"' in next(line for line in lines if b'"content":' in line)
