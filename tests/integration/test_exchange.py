"""One connection for several topics: each is there whole, in order, from its own cursor."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

from connectors.loopback import HOST
from tests.asking import ask
from tests.waiting import PATIENCE_S
from tests.webserver import StartWeb, WebServer
from tests.writers import Writer

RUNS = "/api/agents/runs/events"
GENERAL = "/api/agents/events?channel=general&html=1"


def topic(run: str, **more: str) -> str:
    return f"/api/agents/events?{urlencode({'workflowNamespace': 'agents', 'workflowUid': run, **more})}"


class Told(NamedTuple):
    cursor: int
    topic: str
    data: dict[str, Any]


class Line:
    """A connection to `/live`."""

    def __init__(self, web: WebServer, *watch: tuple[int, str], headers: dict[str, str] | None = None) -> None:
        self._connection = HTTPConnection(HOST, web.port, timeout=PATIENCE_S)
        query = urlencode([("watch", f"{cursor} {name}") for cursor, name in watch])
        self._connection.request("GET", f"/live?{query}", headers=headers or {})
        self.response = self._connection.getresponse()
        self.names: list[str] = []
        self.comments = 0
        self._data: list[str] = []
        self._name = ""
        self._told = self._read()

    def close(self) -> None:
        self.response.close()
        self._connection.close()

    def look(self) -> None:
        """Read on to the end of something that is no message."""
        seen = len(self.names) + self.comments
        while len(self.names) + self.comments == seen:
            self._line()

    def take(self, count: int) -> list[Told]:
        return [next(self._told) for _ in range(count)]

    def until(self, name: str) -> list[Told]:
        """Read on to an event of this name; return the messages before it."""
        told = []
        while name not in self.names:
            if each := self._line():
                told.append(each)
        return told

    def _read(self) -> Iterator[Told]:
        while not self.response.isclosed():
            if told := self._line():
                yield told

    def _line(self) -> Told | None:
        """Read a line; return what it completes."""
        line = self.response.readline().decode().rstrip("\n")
        self.comments += line.startswith(":")
        if line.startswith("data: "):
            self._data.append(line.removeprefix("data: "))
        elif line.startswith("event: "):
            self._name = line.removeprefix("event: ")
        elif not line and self._name:
            self.names += [self._name] if self._name != "alive" else []
            self._data, self._name = [], ""
        elif not line and self._data:
            (head, data), self._data = self._data, []
            cursor, _, of = head.partition(" ")
            return Told(int(cursor), of, json.loads(data))
        return None


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.fixture
def head(web: WebServer, writer: Writer) -> int:
    writer.say("before", run="run-1")
    with closing(Line(web, (0, topic("run-1")))) as line:
        return line.take(1)[0].cursor


def test_each_topic_is_told_from_its_own_cursor(web: WebServer, writer: Writer, head: int) -> None:
    writer.say("one", "two", run="run-1")
    writer.say("three", run="run-2")
    writer.say("four", run="run-1", channel="general")
    with closing(Line(web, (head + 1, topic("run-1")), (head, topic("run-2")), (head, GENERAL))) as line:
        told = {(each.topic, each.data["content"]) for each in line.take(3)}
        assert told == {(topic("run-1"), "two"), (topic("run-2"), "three"), (GENERAL, "four")}
        writer.say("five", run="run-2")
        writer.say("six", run="run-1")
        writer.say("elsewhere", run="run-3")
        live = line.take(2)
        assert {(each.topic, each.data["content"]) for each in live} == {
            (topic("run-2"), "five"),
            (topic("run-1"), "six"),
        }
        assert [each.cursor for each in live] == [each.data["seq"] for each in live]
        assert all('data-seq="' in each.data["html"] for each in live)


def test_agents_and_kinds_narrow_a_topic(web: WebServer, writer: Writer, head: int) -> None:
    narrow = topic("run-1", agentId="executor", kind="error,status")
    with closing(Line(web, (head, narrow))) as line:
        writer.say("no", run="run-1", agent_id="executor")
        writer.say("no", run="run-1", kind="error")
        writer.say("yes", run="run-1", agent_id="executor", kind="error")
        assert line.take(1)[0].data["content"] == "yes"


def test_the_list_of_runs_is_a_topic_too(web: WebServer, writer: Writer, head: int) -> None:
    with closing(Line(web, (head, RUNS), (head, topic("run-1")))) as line:
        writer.say("hello", run="run-9")
        (told,) = line.take(1)
        # What was said before may be told of first.
        while told.data["run"]["workflow_uid"] == "run-1":
            (told,) = line.take(1)
        assert (told.topic, told.data["run"]["workflow_uid"]) == (RUNS, "run-9")
        assert told.cursor > head


def test_many_messages_come_whole_and_in_order(web: WebServer, writer: Writer, head: int) -> None:
    writer.say(*(str(number) for number in range(1_500)), run="run-1")
    with closing(Line(web, (head, topic("run-1")), (head, RUNS))) as line:
        told: list[str] = []
        while len(told) < 2_000:
            (each,) = line.take(1)
            if each.topic == topic("run-1"):
                told.append(each.data["content"])
                if len(told) == 1_000:
                    writer.say(*(str(number) for number in range(1_500, 2_000)), run="run-1")
    assert told == [str(number) for number in range(2_000)]


def test_each_topic_says_when_all_that_was_stored_is_told(web: WebServer, writer: Writer, head: int) -> None:
    writer.say(*(str(number) for number in range(1_500)), run="run-1")
    for name, stored in ((topic("run-1"), 1_500), (topic("not-yet"), 0), (RUNS, 2)):
        with closing(Line(web, (head, name))) as line:
            assert len(line.until("caught-up")) == stored
            writer.say("now", run="run-1" if name == RUNS else name.rpartition("=")[2])
            # Once a connection: what follows is live.
            assert line.take(1)[0].topic == name
            assert line.names == ["caught-up"]


def test_a_cursor_from_another_database_is_a_gap(web: WebServer, writer: Writer, head: int) -> None:
    with closing(Line(web, (head + 10**9, topic("run-1")))) as line:
        # Where it goes on instead is told first.
        while line.comments < 1:
            line.look()
        while "gap" not in line.names:
            line.look()
        writer.say("after", run="run-1")
        assert line.take(1)[0].data["content"] == "after"


def test_the_connection_ends_in_good_order_to_be_opened_anew(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database)
    with closing(Line(web, (0, topic("run-1")))) as line:
        line.look()
        os.kill(web.pid, signal.SIGTERM)
        assert line.until("again") == []
        assert set(line.names) <= {"caught-up", "again"}
        assert line.comments >= 1


@pytest.mark.parametrize(
    "watch",
    [
        "",
        "x",
        "1",
        f"x {topic('run-1')}",
        f"-1 {topic('run-1')}",
        "1 /api/agents/events",
        "1 /api/agents/events?channel=else",
        "1 /api/agents/events?workflowUid=x",
        "1 /elsewhere",
        f"1 {topic('a')}%00",
    ],
)
def test_what_names_no_topic_is_refused(web: WebServer, watch: str) -> None:
    response, _ = ask(web, "/live", watch=watch)
    assert response.status == 400


def test_nothing_and_too_much_are_refused(web: WebServer) -> None:
    assert ask(web, "/live")[0].status == 400
    many = urlencode([("watch", f"1 {topic(str(number))}") for number in range(65)])
    assert ask(web, f"/live?{many}")[0].status == 400
