"""What the API gives of stored messages: filters, search, cursors both ways, and everything at once."""

import json
import random
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import pytest

from connectors.loopback import HOST
from tests.asking import ask, contents, get, refused
from tests.processes import descendants
from tests.servers import PostgresServer, fresh_database
from tests.webserver import StartWeb, WebServer
from tests.writers import Writer

MESSAGES = "/api/agents/messages"
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


def lines(web: WebServer, **query: Any) -> list[dict[str, Any]]:
    response, body = ask(web, MESSAGES, format="jsonl", **query)
    assert response.status == 200, body
    assert response.headers["Content-Type"] == "application/jsonl"
    return [json.loads(line) for line in body.splitlines()]


def test_a_namespace_alone_is_filter_enough(web: WebServer, writer: Writer) -> None:
    writer.say("a", "b", timestamp=NOON)
    writer.say("c", run="run-2", timestamp=NOON + timedelta(hours=1))
    writer.say("elsewhere", run="run-3", workflow_namespace="b")
    writer.say("general", channel="general", timestamp=NOON + timedelta(hours=2))
    page = get(web, MESSAGES, workflowNamespace="agents", limit=2)
    assert contents(page) == ["c", "general"]
    assert page["next"] is None
    older = get(web, page["prev"])
    assert (contents(older), older["prev"]) == (["a", "b"], None)
    assert contents(get(web, older["next"])) == ["c", "general"]


@pytest.mark.parametrize("query", [{"q": "needle"}, {"workflowNamespace": "agents"}, {"repository": "org/shop"}])
def test_where_neither_run_nor_channel_is_named_it_is_both(
    web: WebServer, writer: Writer, query: dict[str, str]
) -> None:
    for number, (channel, run) in enumerate([("run", "a"), ("general", "a"), ("general", "b"), ("run", "b")]):
        writer.say(
            f"needle {number}",
            channel=channel,
            run=run,
            timestamp=NOON + timedelta(minutes=number),
            attrs={"repository": "org/shop"},
        )
    # What is said in both is a message of the run's.
    writer.say("needle 0", channel="general", run="a", timestamp=NOON, attrs={"repository": "org/shop"})
    everything = [f"needle {number}" for number in range(4)]
    assert contents(get(web, MESSAGES, **query)) == everything
    assert contents(get(web, MESSAGES, **query, include="general")) == everything
    assert contents(get(web, MESSAGES, **query, channel="run")) == ["needle 0", "needle 3"]
    assert contents(get(web, MESSAGES, **query, channel="general")) == ["needle 0", "needle 1", "needle 2"]
    assert [message["content"] for message in lines(web, **query)] == everything
    assert [message["content"] for message in lines(web, **query, limit=3)] == everything[1:]
    # A run is what was said on its own channel.
    named = {**query, "workflowNamespace": "agents"}
    for name in ("workflowUid", "workflowName", "runId"):
        assert contents(get(web, MESSAGES, **named, **{name: "a"})) == ["needle 0"]
        assert contents(get(web, MESSAGES, **named, **{name: "a"}, include="general")) == ["needle 0", "needle 1"]


def test_all_messages_are_searched_by_the_page_too(web: WebServer, writer: Writer) -> None:
    writer.say("a needle in a run", timestamp=NOON)
    writer.say("a needle in the room", channel="general", timestamp=NOON)
    page = ask(web, "/search", q="needle")[1].decode()
    assert page.count('class="hit') == 2
    assert "in the general channel" in page


def test_messages_are_filtered_by_time_and_by_several_kinds(web: WebServer, writer: Writer) -> None:
    for hour, kind in enumerate(["message", "error", "tool_call", "status"]):
        writer.say(str(hour), kind=kind, timestamp=NOON + timedelta(hours=hour))
    assert contents(get(web, MESSAGES, runId="run-1", kind="error,status")) == ["1", "3"]
    assert contents(get(web, MESSAGES, runId="run-1", since="2026-05-04T13:00:00Z")) == ["1", "2", "3"]
    assert contents(get(web, MESSAGES, runId="run-1", until="2026-05-04T15:00:00+02:00")) == ["0"]
    assert contents(get(web, MESSAGES, runId="run-1", since="2026-05-04T13:00", until="2026-05-04T15:00Z")) == [
        "1",
        "2",
    ]
    assert contents(get(web, MESSAGES, runId="run-1", since="2026-05-05")) == []
    assert contents(get(web, f"{MESSAGES}?runId=run-1&since=2026-05-04T13:00:00+00:00")) == ["1", "2", "3"]
    page = get(web, MESSAGES, runId="run-1", since="2026-05-04T13:00:00Z", limit=2)
    assert contents(get(web, page["prev"])) == ["1"]
    assert get(web, page["prev"])["prev"] is None


def test_what_the_general_channel_says_under_a_runs_name_is_added_on_request(web: WebServer, writer: Writer) -> None:
    writer.say("own", timestamp=NOON)
    claim = {"identity": "claimed"}
    writer.say("own", channel="general", timestamp=NOON, attrs=claim)
    writer.say("claim", channel="general", timestamp=NOON + timedelta(seconds=1), attrs=claim)
    writer.say("another's", channel="general", run="run-2", attrs=claim)
    assert contents(get(web, MESSAGES, runId="run-1")) == ["own"]
    messages = get(web, MESSAGES, runId="run-1", include="general")["messages"]
    shown = [(message["channel"], message["content"], message["attrs"].get("identity")) for message in messages]
    assert shown == [("run", "own", None), ("general", "claim", "claimed")]
    assert contents(get(web, MESSAGES, channel="general", runId="run-1")) == ["own", "claim"]


def test_search_needs_no_run_and_shows_the_place(web: WebServer, writer: Writer) -> None:
    writer.say("The checkout_flow test failed with E0308", run="run-a", timestamp=NOON)
    writer.say("数据库连接错误", run="run-b", timestamp=NOON + timedelta(hours=1))
    page = get(web, MESSAGES, q="CHECKOUT e0308")
    (message,) = page["messages"]
    places = [(place["field"], place["start"], place["end"], place["text"]) for place in message["matches"]]
    assert places == [("content", 4, 12, "checkout"), ("content", 35, 40, "E0308")]
    assert message["matches"][0]["before"] == "The "
    assert message["matches"][0]["after"] == "_flow test failed with E0308"
    assert page["prev"] is page["next"] is None
    assert page["search"] == {
        "indexed_to_seq": page["search"]["indexed_to_seq"],
        "behind_seconds": 0,
        "searched_to": None,
    }
    assert contents(get(web, MESSAGES, q="错误")) == ["数据库连接错误"]
    assert contents(get(web, MESSAGES, q="错误", runId="run-a")) == []
    assert contents(get(web, MESSAGES, q="test", runId="run-a")) == ["The checkout_flow test failed with E0308"]
    assert "matches" not in get(web, MESSAGES, runId="run-a")["messages"][0]


def test_pages_of_a_search_lead_both_ways_and_end(web: WebServer, writer: Writer) -> None:
    for number in range(7):
        writer.say(
            f"needle {number}", *["hay"] * 20, run=f"run-{number % 3}", timestamp=NOON + timedelta(minutes=number)
        )
    page = get(web, MESSAGES, q="needle", limit=3)
    assert contents(page) == ["needle 4", "needle 5", "needle 6"]
    assert page["next"] is None
    older = get(web, page["prev"])
    oldest = get(web, older["prev"])
    assert (contents(oldest), oldest["prev"]) == (["needle 0"], None)
    newer = get(web, oldest["next"])
    assert contents(newer) == ["needle 1", "needle 2", "needle 3"]
    newest = get(web, newer["next"])
    assert (contents(newest), newest["next"]) == (["needle 4", "needle 5", "needle 6"], None)
    assert contents(get(web, newest["prev"])) == ["needle 1", "needle 2", "needle 3"]


def test_a_cursor_at_an_end_leads_back(web: WebServer, writer: Writer) -> None:
    writer.say("a", "b", timestamp=NOON)
    before_all = get(web, MESSAGES, runId="run-1", before="2020-01-01T00:00:00Z,1")
    assert (contents(before_all), before_all["prev"]) == ([], None)
    assert contents(get(web, before_all["next"])) == ["a", "b"]
    first = get(web, MESSAGES, runId="run-1")["messages"][0]
    at_the_first = get(web, MESSAGES, runId="run-1", before=f"{first['timestamp']},{first['seq']}")
    assert (contents(at_the_first), at_the_first["prev"]) == ([], None)
    assert contents(get(web, at_the_first["next"])) == ["a", "b"]
    after_all = get(web, MESSAGES, runId="run-1", after="2030-01-01T00:00:00Z,1")
    assert (contents(after_all), after_all["next"]) == ([], None)
    assert contents(get(web, after_all["prev"])) == ["a", "b"]


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"runId": "x", "format": "xml"}, "format"),
        ({"runId": "x", "include": "everything"}, "include"),
        ({"runId": "x", "since": "yesterday"}, "since"),
        ({"runId": "x", "until": "2026-13-01"}, "until"),
        ({"runId": "x", "since": "0001-01-01T00:00:00+14:00"}, "since"),
        ({"runId": "x", "before": "9999-12-31T23:59:59-14:00,1"}, "before"),
        ({"q": " "}, "q"),
        ({"q": '""'}, "q"),
        ({"q": " ".join(map(str, range(17)))}, "q"),
        ({"q": "x" * 1_001}, "q"),
        ({"agentId": "planner"}, "runId"),
        ({"kind": "error"}, "runId"),
        ({"since": "2026-01-01"}, "runId"),
        ({"runId": "x", "kind": ",".join(map(str, range(21)))}, "kind"),
        ({"runId": "x", "runid": "y"}, "runid"),
        ({"runId": "x", "html": "1"}, "html"),
        ({"runId": "x", "": "y"}, ""),
        ({"runId": ["x", "y"]}, "runId"),
    ],
)
def test_a_wrong_unknown_or_doubled_parameter_is_named(web: WebServer, query: dict[str, Any], parameter: str) -> None:
    problem = refused(ask(web, f"{MESSAGES}?{urlencode(query, doseq=True)}"))
    assert (problem["status"], problem["parameter"]) == (400, parameter)
    assert parameter in problem["error"]


def test_everything_comes_as_json_lines_whatever_its_size(web: WebServer, writer: Writer) -> None:
    said = [f"line {number}" for number in range(2_500)]
    writer.say(*said, timestamp=NOON)
    writer.say("late", timestamp=NOON - timedelta(hours=1))
    found = lines(web, runId="run-1")
    assert [message["content"] for message in found] == ["late", *said]
    assert set(found[0]) == set(get(web, MESSAGES, runId="run-1")["messages"][0])
    assert [message["content"] for message in lines(web, runId="run-1", limit=1_200)] == said[-1_200:]
    assert [message["content"] for message in lines(web, q='"line 77"')] == ["line 77", *said[770:780]]
    assert [message["content"] for message in lines(web, q="line", limit=1_100)] == said[-1_100:]
    middle = quote(f"{NOON.isoformat()},{found[1]['seq'] + 9}")
    _, body = ask(web, f"{MESSAGES}?format=jsonl&runId=run-1&limit=2&after={middle}")
    assert [json.loads(line)["content"] for line in body.splitlines()] == said[10:12]
    assert lines(web, runId="nobody") == []


def test_a_transcript_is_markdown_in_which_everything_said_is_a_quotation(web: WebServer, writer: Writer) -> None:
    writer.say("Fix it.\n# now", agent_id="planner", timestamp=NOON)
    writer.say("ls", kind="tool_call", agent_id="executor", attrs={"tool": {"name": "shell"}}, timestamp=NOON)
    response, body = ask(web, MESSAGES, runId="run-1", format="md")
    assert response.headers["Content-Type"] == "text/markdown; charset=utf-8"
    assert body.decode().split("\n") == [
        "### 2026-05-04 12:00:00 planner · message",
        "",
        "> Fix it.",
        "> # now",
        "",
        r"### 2026-05-04 12:00:00 executor · tool\_call shell",
        "",
        "> ```",
        "> ls",
        "> ```",
        "",
        "",
    ]


@pytest.mark.parametrize("form", ["json", "jsonl", "md"])
def test_head_says_what_get_would_without_a_body(web: WebServer, writer: Writer, form: str) -> None:
    writer.say("a")
    response, body = ask(web, MESSAGES, "HEAD", runId="run-1", format=form)
    assert (response.status, body) == (200, b"")


def rss(web: WebServer) -> float:
    """Return the MiB that the web's workers hold."""
    total = 0
    for pid in (web.pid, *descendants(web.pid)):
        status = Path(f"/proc/{pid}/status").read_text()
        total += int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    return total / 1024


@pytest.fixture
def large(web: WebServer) -> int:
    """Store 120 MB, whose number of messages is given."""
    count = 1_200
    with psycopg.connect(web.database) as connection:
        connection.execute(
            """
            INSERT INTO workflow_comms.agent_messages (id, workflow_uid, workflow_name, workflow_namespace, agent_id,
                role, kind, "timestamp", channel, content, dedupe_key)
            SELECT gen_random_uuid(), 'large', 'large', 'agents', 'planner', 'assistant', 'message',
                now() + number * interval '1 second', 'run', number || ' ' || repeat('x', 100000), number::text
            FROM generate_series(1, %s) AS number
            """,
            [count],
        )
    return count


def test_an_export_takes_no_more_memory_than_a_page_of_it(web: WebServer, large: int) -> None:
    # What the first of them makes it take, it keeps.
    assert len(lines(web, workflowNamespace="agents", workflowUid="large", limit=100)) == 100
    before = rss(web)
    most = 0.0
    with closing(HTTPConnection(HOST, web.port, timeout=120)) as connection:
        connection.request("GET", f"{MESSAGES}?workflowNamespace=agents&workflowUid=large&format=jsonl")
        response = connection.getresponse()
        size = count = 0
        while piece := response.read(4_000_000):
            size += len(piece)
            count += piece.count(b"\n")
            most = max(most, rss(web))
    assert count == large
    assert size > 120_000_000
    assert most - before < 60


def test_an_export_that_breaks_off_is_seen_to(start_web: StartWeb, own_postgres_server: PostgresServer) -> None:
    with fresh_database(own_postgres_server) as dsn:
        web = start_web(DATABASE_URL=dsn)
        with Writer(dsn) as writer:
            for _ in range(20):
                writer.say(*["x" * 200_000] * 20)
        with closing(HTTPConnection(HOST, web.port, timeout=120)) as connection:
            connection.request("GET", f"{MESSAGES}?runId=run-1&format=jsonl")
            response = connection.getresponse()
            response.read(100)
            own_postgres_server.stop()
            with pytest.raises(IncompleteRead):
                response.read()
        own_postgres_server.start()


def test_no_value_of_a_filter_is_our_failure(web: WebServer) -> None:
    nasty = ["\0", "'", '"; DROP', "%", "\\", "\ud7ff", "\uffff", "\r\nX: y", "{}", "9" * 900, "\U0001f600" * 99, "%00"]
    names = ["q", "repository", "issue", "branch", "since", "until", "kind", "include", "format", "agentId", "channel"]
    for name in names:
        for value in nasty:
            query = {"workflowUid": "x", "workflowNamespace": "y", name: value}
            response, body = ask(web, f"{MESSAGES}?{urlencode(query)}")
            assert response.status in (200, 400), (name, value, body)


def test_bytes_of_any_kind_in_an_address_are_no_failure_of_ours(web: WebServer) -> None:
    dice = random.Random(3)
    paths = [b"/api/agents/messages", b"/api/agents/runs", b"/api/agents/runs/x", b"/api/agents/dead-letters"]
    names = [b"q", b"runId", b"kind", b"since", b"before", b"after", b"limit", b"format", b"workflowNamespace", b"\xff"]
    for _ in range(300):
        pairs = []
        for _ in range(dice.randrange(4)):
            value = bytes(dice.choices(b"ab0:,+-%\xff\xc3\x00\x7f\xe6\x95\xb0\"'&=;/?#", k=dice.randrange(12)))
            pairs.append(dice.choice(names) + b"=" + (value if dice.random() < 0.5 else quote(value).encode()))
        address = dice.choice(paths) + b"?" + b"&".join(pairs)
        status, body = web.send(b"GET " + address + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert 200 <= status < 500, (address, status, body)
