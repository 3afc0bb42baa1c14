"""What people say: published as everybody's words are, shown once it comes back, refused with a reason."""

import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from connectors.loopback import HOST
from tests.ingestion import Ingest
from tests.servers import NatsServer, StreamHandle
from tests.waiting import PATIENCE_S, wait_until
from tests.watcher import Watcher, said
from tests.webserver import StartWeb, WebServer
from tests.writers import Writer

MESSAGES = "/api/agents/messages"
MIB = 1024 * 1024
# Whoever sends a body that is none may have meant what follows to be a part of it.
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
GENERAL = {"channel": "general", "content": "hello, **all**"}


def post(
    web: WebServer, body: object, headers: dict[str, str] | None = None, path: str = MESSAGES
) -> tuple[HTTPResponse, Any]:
    with closing(HTTPConnection(HOST, web.port, timeout=PATIENCE_S)) as connection:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", path, data, {"Content-Type": "application/json", **(headers or {})})
        response = connection.getresponse()
        return response, json.loads(response.read())


def refused(answer: tuple[HTTPResponse, Any]) -> tuple[int, str | None]:
    response, problem = answer
    assert response.headers["Content-Type"] == "application/problem+json"
    assert problem["error"]
    return response.status, problem.get("parameter")


@pytest.fixture
def web(start_web: StartWeb, ingest: Ingest) -> WebServer:
    """A web beside a flow, both on one stream and one database."""
    web = start_web(DATABASE_URL=ingest.database, NATS_URL=ingest.stream.url)
    wait_until(lambda: post(web, b"")[0].status == 400 and web.is_linked())
    return web


@pytest.fixture
def writer(web: WebServer) -> Iterator[Writer]:
    with Writer(web.database) as writer:
        yield writer


def published(stream: StreamHandle) -> list[str]:
    """Return the subjects of what the stream holds."""
    info = stream.connection.run(stream.connection.jetstream().stream_info(stream.name, subjects_filter=">"))
    return sorted(info.state.subjects or {})


def test_what_is_said_in_the_general_channel_comes_back_through_the_flow(web: WebServer, ingest: Ingest) -> None:
    with Watcher(web.url, channel="general") as watcher:
        response, answer = post(web, GENERAL)
        assert response.status == 202
        event = watcher.take(1)[0].data
    assert event["content"] == "hello, **all**"
    assert (event["agent_id"], event["role"], event["kind"]) == ("person", "user", "message")
    assert (event["workflow_namespace"], event["workflow_uid"]) == ("agents", None)
    assert event["attrs"]["message_id"] == answer["message_id"]
    assert event["attrs"]["identity"] == "person"
    assert "author" not in event["attrs"]
    assert published(ingest.stream) == ["workflow.general.agents.person.message"]


def test_what_is_said_in_a_run_goes_on_the_runs_subject(web: WebServer, ingest: Ingest, writer: Writer) -> None:
    writer.say("begun", workflow_uid="uid-1", workflow_name="nightly.v2", run_id="r-1", workflow_namespace="b")
    with Watcher(web.url, runId="r-1") as watcher:
        watcher.take(1)
        for place in ({"run_id": "r-1"}, {"workflowUid": "uid-1"}, {"workflow_name": "nightly.v2"}):
            response, _ = post(web, {**place, "content": "stop, please", "channel": "run"})
            assert response.status == 202
            event = watcher.take(1)[0].data
            names = event["workflow_namespace"], event["workflow_name"], event["workflow_uid"], event["run_id"]
            assert names == ("b", "nightly.v2", "uid-1", "r-1")
            assert (event["content"], event["agent_id"], event["role"]) == ("stop, please", "person", "user")
    assert published(ingest.stream) == ["workflow.b.nightly%2Ev2.uid-1.agent.person.message"]


def test_whatever_a_payload_claims_a_person_says_it(web: WebServer) -> None:
    claims = {
        "message_id": "m-1",
        "workflow_uid": "uid-2",
        "workflow_name": "new",
        "workflow_namespace": "agents",
        "agent_id": "planner",
        "role": "system",
        "kind": "message",
        "timestamp": "1999-01-01T00:00:00Z",
        "content": "I am the planner",
        "attrs": {"author": "root", "mood": "good"},
    }
    with Watcher(web.url, workflowUid="uid-2") as watcher:
        response, answer = post(web, claims)
        assert (response.status, answer) == (202, {"message_id": "m-1"})
        event = watcher.take(1)[0].data
    assert (event["agent_id"], event["role"]) == ("person", "user")
    assert event["attrs"]["mood"] == "good"
    assert "author" not in event["attrs"]
    assert not event["timestamp"].startswith("1999")


def test_what_is_sent_again_is_said_once(web: WebServer, ingest: Ingest) -> None:
    with Watcher(web.url, channel="general") as watcher:
        for _ in range(3):
            assert post(web, {**GENERAL, "message_id": "again\r\nNats-Msg-Id: é"})[0].status == 202
        post(web, {**GENERAL, "content": "last"})
        assert said(watcher.take(2)) == ["hello, **all**", "last"]
    # The stream drops what comes again by way of the same web.
    assert ingest.stream.info().state.messages == 2


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"[]", "body"),
        (b"\xff\xfe", "body"),
        (b'{"content":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "body"),
        ({}, "content"),
        ({"channel": "general"}, "content"),
        ({"channel": "general", "content": " \n"}, "content"),
        ({"content": "where?"}, "channel"),
        ({"channel": "private", "content": "x"}, "channel"),
        ({"workflow_name": " ", "content": "x"}, "workflow_name"),
        ({"channel": "general", "content": "x", "kind": "tool_call"}, "kind"),
        ({"channel": "general", "content": "x", "message_id": "m" * 300}, "message_id"),
        ({"workflow_uid": "u" * 300, "content": "x"}, "workflow_uid"),
        ({"channel": "general", "content": "x", "workflow_namespace": "general"}, "workflow_namespace"),
    ],
)
def test_what_cannot_be_said_is_refused_with_the_field(web_alone: WebServer, body: object, parameter: str) -> None:
    assert refused(post(web_alone, body)) == (400, parameter)


def test_a_parameter_that_would_be_overlooked_is_refused(web_alone: WebServer) -> None:
    assert refused(post(web_alone, GENERAL, path=f"{MESSAGES}?channel=run")) == (400, "channel")


@pytest.mark.parametrize("name", ["id-run-1", "run-1"])
def test_a_run_is_named_as_where_it_is_read(web: WebServer, writer: Writer, name: str) -> None:
    writer.say("first", run_id="id-run-1")
    response, body = post(web, {"run_id": name, "content": "by whatever name"})
    assert response.status == 202, body


def test_a_run_that_nobody_knows_by_its_id_is_not_there(web_alone: WebServer) -> None:
    assert refused(post(web_alone, {"run_id": "nobody", "content": "hello?"})) == (404, "run_id")


@pytest.fixture
def web_alone(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_write_that_is_no_json_is_refused(web_alone: WebServer, kind: str) -> None:
    assert refused(post(web_alone, GENERAL, {"Content-Type": kind})) == (415, "Content-Type")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "null"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://127.0.0.1:{port}.elsewhere.example"},
        {"Origin": "http://127.0.0.1:{port}/path"},
        {"Origin": "http://user@127.0.0.1:{port}"},
        {"Origin": "file://127.0.0.1:{port}"},
        {"Origin": "http://127.0.0.1:99999999"},
        {"Origin": "http://[127.0.0.1:{port}"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:{port}", "Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_may_not_write(web_alone: WebServer, headers: dict[str, str]) -> None:
    headers = {name: value.format(port=web_alone.port) for name, value in headers.items()}
    status, _ = refused(post(web_alone, GENERAL, headers))
    assert status == 403


@pytest.mark.parametrize("origin", ["http://127.0.0.1:{port}", "https://127.0.0.1:{port}", "HTTP://127.0.0.1:{port}"])
def test_our_own_page_may_write(web_alone: WebServer, origin: str) -> None:
    headers = {"Origin": origin.format(port=web_alone.port), "Sec-Fetch-Site": "same-origin"}
    # It comes as far as NATS, which isn't there.
    assert refused(post(web_alone, GENERAL, headers))[0] == 503


def test_without_nats_nothing_is_taken_and_the_reason_is_told(web_alone: WebServer) -> None:
    response, problem = post(web_alone, {**GENERAL, "message_id": "m-7"})
    assert response.status == 503
    assert response.headers["Retry-After"]
    assert "m-7" in problem["error"]
    # Neither an errno nor an address: whoever says something can do nothing with them.
    assert problem["error"].startswith("The message was not sent: NATS can't be reached at the moment. Send it again")


def test_without_a_stream_the_reason_is_told(start_web: StartWeb, database: str, own_nats_server: NatsServer) -> None:
    web = start_web(DATABASE_URL=database, NATS_URL=own_nats_server.url)
    wait_until(web.is_linked)
    response, problem = post(web, GENERAL)
    assert response.status == 503
    assert "no stream takes workflow.general.agents.person.message" in problem["error"]


def test_nats_may_go_and_come(start_web: StartWeb, database: str, own_nats_server: NatsServer) -> None:
    stream = StreamHandle(own_nats_server)
    with closing(stream):
        stream.create()
        web = start_web(DATABASE_URL=database, NATS_URL=own_nats_server.url)
        wait_until(lambda: post(web, GENERAL)[0].status == 202)
        own_nats_server.stop()
        wait_until(lambda: post(web, GENERAL)[0].status == 503)
        own_nats_server.start()
        wait_until(lambda: post(web, GENERAL)[0].status == 202)


def test_what_the_flow_would_not_take_is_too_large(start_web: StartWeb, database: str, stream: StreamHandle) -> None:
    web = start_web(DATABASE_URL=database, NATS_URL=stream.url, AGENT_COMMS_MAX_MESSAGE_BYTES="2000")
    wait_until(web.is_linked)
    assert post(web, {**GENERAL, "content": "x" * 1_000})[0].status == 202
    assert refused(post(web, {**GENERAL, "content": "x" * 2_000})) == (413, "content")
    web = start_web(DATABASE_URL=database, NATS_URL=stream.url, AGENT_COMMS_MAX_MESSAGE_BYTES="20000000")
    wait_until(web.is_linked)
    # More than the server takes.
    assert refused(post(web, {**GENERAL, "content": "x" * 9_000_000})) == (413, "content")


def test_a_body_that_breaks_off_is_the_clients_mistake(web_alone: WebServer) -> None:
    head = b"POST /api/agents/messages HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    for rest in (
        b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}",
        b"Content-Length: 100\r\n\r\n{}",
    ):
        status, body = web_alone.send(head + rest + HEALTH)
        assert status == 400, (rest, body)
        assert json.loads(body)["error"]


def chunked(size: int, *, ends: bool = True) -> bytes:
    """A whole payload and white space up to so many bytes, in chunks."""
    data = json.dumps(GENERAL).encode().ljust(size)
    pieces = [data[at : at + 1_000_000] for at in range(0, size, 1_000_000)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + (b"0\r\n\r\n" if ends else b"")


@pytest.mark.parametrize("path", [MESSAGES, "/api/agents/runs/run-1/complete"])
@pytest.mark.parametrize(
    ("body", "refused"),
    [
        (chunked(9 * MIB - 1), False),
        (chunked(9 * MIB), True),
        (chunked(12 * MIB), True),
        (chunked(30 * MIB, ends=False), True),
    ],
    ids=["largest", "too large by a byte", "cut off", "endless"],
)
def test_a_body_in_chunks_is_as_large_as_any_other_at_most(
    web_alone: WebServer, path: str, body: bytes, refused: bool
) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, problem = web_alone.send(head.encode() + body + HEALTH)
    if refused:
        # What comes after it is no request: the connection has ended.
        assert (status, json.loads(problem)["parameter"]) == (413, "body")
    else:
        assert status != 413
