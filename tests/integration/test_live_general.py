"""A run's stream with what the general channel says under its name."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.sockets import SocketClient
from tests.watcher import Watcher, said
from tests.webserver import WebServer
from tests.writers import Writer


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
