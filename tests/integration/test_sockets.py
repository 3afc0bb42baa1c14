"""The socket: many exact streams on one connection, what is said over it, and what it refuses."""

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest

from tests.asking import ask, refused
from tests.ingestion import Ingest
from tests.servers import PostgresServer, fresh_database
from tests.sockets import WS, SocketClient, frame, handshake
from tests.waiting import wait_until
from tests.watcher import Watcher
from tests.webserver import StartWeb, WebServer
from tests.writers import Writer

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


def test_a_subscription_begins_with_the_newest_and_goes_on_live(web: WebServer, writer: Writer) -> None:
    writer.say("one", "two", "three")
    with SocketClient(web) as client:
        assert client.ask("subscribe", run="run-1", limit=2) == {"op": "subscribed", "subscription": "1"}
        assert client.hear("three") == ["two", "three"]
        writer.say("four")
        assert client.hear("four") == ["four"]


def test_the_objects_are_those_of_the_events(web: WebServer, writer: Writer) -> None:
    writer.say("one", kind="tool_result", attrs={"tool": {"name": "shell"}, "deep": {"ä": [1]}})
    with Watcher(web.url, runId="run-1") as watcher, SocketClient(web) as client:
        client.ask("subscribe", run="run-1")
        assert client.take() == watcher.take(1)[0].data
        writer.say("two")
        assert client.take() == watcher.take(1)[0].data
        client.send("subscribe", id="mine", run="run-1", lastEventId=0)
        assert client.take() == {"op": "subscribed", "subscription": "mine", "resumed_from": 0}
        found = client.take()
        assert found.pop("subscription") == "mine"
        assert found["content"] == "one"


def test_many_subscriptions_share_a_socket_and_each_gets_its_own(web: WebServer, writer: Writer) -> None:
    with SocketClient(web) as client:
        wanted: dict[str, tuple[dict[str, Any], str]] = {
            "a run": ({"run": "run-1"}, "abc"),
            "an agent": ({"workflowUid": "run-1", "agentId": "executor"}, "bc"),
            "a kind": ({"workflowName": "run-1", "kind": "error"}, "c"),
            "general": ({"channel": "general"}, "d"),
            "a namespace": ({"channel": "general", "workflowNamespace": "tenant"}, ""),
            "to come": ({"run": "run-2"}, "e"),
        }
        for name, (place, _) in wanted.items():
            client.send("subscribe", id=name, **place)
        assert {client.take()["subscription"] for _ in wanted} == {*wanted}
        writer.say("a", agent_id="planner")
        writer.say("b", agent_id="executor")
        writer.say("c", agent_id="executor", kind="error")
        writer.say("d", channel="general")
        writer.say("e", run="run-2")
        heard: dict[str, str] = dict.fromkeys(wanted, "")
        for _ in range(sum(len(letters) for _, letters in wanted.values())):
            found = client.take()
            heard[found["subscription"]] += found["content"]
        assert heard == {name: letters for name, (_, letters) in wanted.items()}


def test_an_unsubscribed_stream_is_silent_and_its_name_is_free(web: WebServer, writer: Writer) -> None:
    with SocketClient(web) as client:
        client.ask("subscribe", id="a", run="run-1")
        client.ask("subscribe", id="b", run="run-2")
        assert client.ask("unsubscribe", id="a") == {"op": "unsubscribed", "subscription": "a"}
        writer.say("unheard", run="run-1")
        writer.say("heard", run="run-2")
        assert client.hear("heard") == ["heard"]
        assert client.ask("unsubscribe", id="a")["parameter"] == "id"
        assert client.ask("subscribe", id="a", run="run-1", limit=1)["op"] == "subscribed"
        assert client.hear("unheard") == ["unheard"]


def test_what_was_subscribed_is_ended_in_the_same_words(web: WebServer, writer: Writer) -> None:
    writer.say("known")
    words = [
        {"run": "run-1"},
        {"channel": "general"},
        {"run": "run-1", "agentId": "executor"},
        {"run": "run-1", "include": "general", "kind": "message,error"},
        {"channel": "general", "workflowNamespace": "tenant"},
        {"workflowName": "run-1", "workflowNamespace": "agents"},
    ]
    with SocketClient(web) as client:
        for number, each in enumerate([*words, *words]):
            # Where it goes on is no part of what it is.
            client.send("subscribe", id=f"s{number}", lastEventId=2**62, **each)
        # Each begins, and says that nobody gave its cursor.
        begun = {client.take()["subscription"] for _ in range(4 * len(words))}
        assert begun == {f"s{number}" for number in range(2 * len(words))}
        for number, each in enumerate(words):
            answers = [client.ask("unsubscribe", **each), client.take()]
            both = [f"s{number}", f"s{number + len(words)}"]
            assert answers == [{"op": "unsubscribed", "subscription": name} for name in both]
            problem = client.ask("unsubscribe", **each, limit=1)
            assert problem["op"] == "unsubscribe"
            assert problem["parameter"] in ("run", "channel")
        client.ask("subscribe", run="run-2")
        assert client.ask("unsubscribe", id="1", run="run-1")["parameter"] == "id"
        assert client.ask("unsubscribe", workflowNamespace="agents")["parameter"] == "run"
        assert client.ask("unsubscribe", id="1", run="run-2") == {"op": "unsubscribed", "subscription": "1"}


def test_a_subscription_resumes_at_its_cursor(web: WebServer, writer: Writer) -> None:
    writer.say("one", "two", "three")
    with SocketClient(web) as client:
        client.ask("subscribe", run="run-1")
        seq = client.take()["seq"]
        client.hear("three")
        for cursor in (seq, str(seq)):
            assert client.ask("subscribe", run="run-1", lastEventId=cursor, limit=1)["resumed_from"] == seq
            assert client.hear("three") == ["two", "three"]


@pytest.mark.parametrize("cursor", ["garbage", "-1", 2**70, str(2**63 - 1), -1])
def test_a_cursor_that_nobody_gave_is_told(web: WebServer, writer: Writer, cursor: object) -> None:
    writer.say("before")
    with SocketClient(web) as client:
        begun = client.ask("subscribe", run="run-1", lastEventId=cursor)
        gap = client.take()
        assert (gap["op"], gap["resumed_from"], gap["id"]) == ("gap", begun["resumed_from"], str(begun["resumed_from"]))
        writer.say("after")
        assert client.hear("after") == ["after"]


def test_pings_go_both_ways(web: WebServer, start_web: StartWeb, database: str) -> None:
    with SocketClient(web) as client:
        assert client.ask("ping") == {"op": "pong"}
    with closing(handshake(web)) as raw:
        read_head(raw)
        raw.sendall(frame(PING, b"hello"))
        assert read_frame(raw) == (PONG, b"hello")
    restless = start_web(DATABASE_URL=database, AGENT_COMMS_HEARTBEAT_SECONDS="1")
    with closing(handshake(restless)) as raw:
        read_head(raw)
        # A quiet one is asked whether it lives.
        assert read_frame(raw)[0] == PING
        # One that gives no answer is let go.
        opcode, data = read_frame(raw)
        assert (opcode, int.from_bytes(data[:2])) == (CLOSE, 1008)


@pytest.mark.parametrize(
    ("text", "op", "parameter"),
    [
        ("nonsense", None, "frame"),
        ("[]", None, "frame"),
        ("7", None, "frame"),
        ('{"op":"subscribe"', None, "frame"),
        (b'{"op":"ping"}', None, "frame"),
        ("[" * 100_000, None, "frame"),
        ("{}", None, "op"),
        ('{"op":7}', None, "op"),
        ('{"op":"sing"}', "sing", "op"),
        ('{"op":"subscribe"}', "subscribe", "run"),
        ('{"op":"subscribe","channel":"private"}', "subscribe", "channel"),
        ('{"op":"subscribe","run":7}', "subscribe", "run"),
        ('{"op":"subscribe","run":"a\\u0000b"}', "subscribe", "run"),
        ('{"op":"subscribe","run":"\\ud800"}', None, "frame"),
        ('{"op":"subscribe","run":"' + "x" * 1_001 + '"}', "subscribe", "run"),
        ('{"op":"subscribe","run":"x","limit":0}', "subscribe", "limit"),
        ('{"op":"subscribe","run":"x","limit":1.5}', "subscribe", "limit"),
        ('{"op":"subscribe","run":"x","limit":"1"}', "subscribe", "limit"),
        ('{"op":"subscribe","run":"x","lastEventId":{}}', "subscribe", "lastEventId"),
        ('{"op":"subscribe","run":"x","agentID":"y"}', "subscribe", "agentID"),
        ('{"op":"subscribe","run":"x","id":""}', "subscribe", "id"),
        ('{"op":"unsubscribe"}', "unsubscribe", "id"),
        ('{"op":"unsubscribe","id":"nobody"}', "unsubscribe", "id"),
        ('{"op":"publish"}', "publish", "content"),
        ('{"op":"publish","content":"x"}', "publish", "channel"),
        ('{"op":"publish","channel":"general","content":"x","kind":"log"}', "publish", "kind"),
        ('{"op":"publish","channel":"general","content":"x"}', "publish", None),
        ('{"op":"publish","run":"nobody","content":"x"}', "publish", "run"),
        ('{"op":"publish","run":"a","runId":"a","content":"x"}', "publish", "run"),
        ('{"op":"publish","run":" ","content":"x"}', "publish", "run"),
        ('{"op":"unsubscribe","run":"nobody"}', "unsubscribe", "run"),
        ('{"op":"unsubscribe","channel":"general"}', "unsubscribe", "channel"),
        ('{"op":"unsubscribe","who":"x"}', "unsubscribe", "who"),
    ],
)
def test_what_cannot_be_done_is_an_object_and_no_end(
    web: WebServer, text: str | bytes, op: str | None, parameter: str | None
) -> None:
    with SocketClient(web) as client:
        client.send_text(text)
        problem = client.take()
        assert (problem["op"], problem["parameter"]) == (op, parameter)
        assert problem["error"]
        assert client.ask("ping") == {"op": "pong"}


def test_a_name_is_given_once_and_subscriptions_have_an_end(web: WebServer) -> None:
    with SocketClient(web) as client:
        client.ask("subscribe", id="a", channel="general")
        assert client.ask("subscribe", id="a", channel="general")["parameter"] == "id"
        for _ in range(99):
            client.send("subscribe", channel="general")
        for _ in range(99):
            assert client.take()["op"] == "subscribed"
        problem = client.ask("subscribe", channel="general")
        assert "100 subscriptions" in problem["error"]


def test_what_is_published_comes_back_through_the_flow(start_web: StartWeb, ingest: Ingest) -> None:
    web = start_web(DATABASE_URL=ingest.database, NATS_URL=ingest.stream.url)
    with SocketClient(web) as client:
        client.ask("subscribe", channel="general")
        wait_until(lambda: web.metric('agent_comms_connected{to="nats"}') == 1, "the connection to NATS")
        client.send("publish", channel="general", content="hello", message_id="m-1")
        # Either may overtake the other.
        answer, event = sorted((client.take(), client.take()), key=lambda found: "content" in found)
        assert answer == {"op": "published", "message_id": "m-1"}
        assert (event["content"], event["agent_id"], event["role"]) == ("hello", "person", "user")
        with Writer(ingest.database) as writer:
            writer.say("here", run="uid-1", workflow_name="my-run", run_id="id-1")
        client.ask("unsubscribe", channel="general")
        client.ask("subscribe", run="my-run", limit=1)
        assert client.take()["content"] == "here"
        for name in ("my-run", "uid-1", "id-1"):
            client.send("publish", run=name, content=f"to {name}")
            answer, event = sorted((client.take(), client.take()), key=lambda found: "content" in found)
            assert (answer["op"], event["content"], event["workflow_uid"]) == ("published", f"to {name}", "uid-1")


@pytest.mark.parametrize("origin", ["null", "https://elsewhere.example", "http://127.0.0.1:1"])
def test_another_sites_page_gets_no_socket(web: WebServer, origin: str) -> None:
    with closing(handshake(web, f"Origin: {origin}")) as raw:
        assert read_head(raw).startswith(b"HTTP/1.1 403")


def test_our_own_page_gets_one(web: WebServer) -> None:
    with closing(handshake(web, f"Origin: {web.url}")) as raw:
        assert read_head(raw).startswith(b"HTTP/1.1 101")


def test_nothing_is_compressed(web: WebServer) -> None:
    """It would be made anew for each client, and a little of it can swell to much."""
    with closing(handshake(web, "Sec-WebSocket-Extensions: permessage-deflate")) as raw:
        head = read_head(raw)
        assert head.startswith(b"HTTP/1.1 101")
        assert b"extensions" not in head.lower()


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Sec-WebSocket-Version: 12"], b"426"),
        (["Sec-WebSocket-Version:"], b"426"),
        (["Sec-WebSocket-Key:"], b"400"),
        (["Sec-WebSocket-Key: short"], b"400"),
        (["Sec-WebSocket-Key: é"], b"400"),
        (["Upgrade:", "Connection:"], b"426"),
        (["Upgrade: h2c"], b"426"),
        (["Connection: close"], b"400"),
    ],
)
def test_what_is_no_handshake_is_the_clients_mistake(web: WebServer, lines: list[str], status: bytes) -> None:
    with closing(handshake(web, *lines)) as raw:
        assert read_head(raw).split()[1] == status
    with SocketClient(web) as client:
        assert client.ask("ping") == {"op": "pong"}


def test_whoever_asks_as_for_a_page_is_told_that_it_is_a_socket(web: WebServer) -> None:
    answer = ask(web, WS)
    assert refused(answer)["status"] == 426
    assert answer[0].headers["Upgrade"] == "websocket"
    assert "this is a WebSocket" in json.loads(answer[1])["error"]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(frame(TEXT, b"{}", masked=False), 1002, id="unmasked"),
        pytest.param(frame(3, b"{}"), 1002, id="unknown opcode"),
        pytest.param(b"\xf1" + frame(TEXT, b"{}")[1:], 1002, id="reserved bits"),
        pytest.param(frame(PING, b"x" * 126), 1002, id="long ping"),
        pytest.param(frame(PING, b"x", final=False), 1002, id="ping in parts"),
        pytest.param(frame(0, b"{}"), 1002, id="nothing to continue"),
        pytest.param(frame(TEXT, b"{", final=False) + frame(TEXT, b"}"), 1002, id="text within text"),
        pytest.param(frame(TEXT, b"\xff\xfe"), 1007, id="not UTF-8"),
        pytest.param(frame(CLOSE, b"\0"), 1002, id="short close"),
        pytest.param(frame(CLOSE, (1005).to_bytes(2)), 1002, id="close by a code not to be sent"),
        pytest.param(frame(TEXT, b"", size=2**63), 1002, id="endless"),
        pytest.param(frame(TEXT, b"x" * 3_000_000), 1009, id="too long"),
        pytest.param(
            frame(TEXT, b"x" * 1_000_000, final=False) + frame(0, b"x" * 1_000_000), 1009, id="too long in parts"
        ),
    ],
)
def test_a_malformed_frame_ends_its_socket_and_nobody_elses(web: WebServer, sent: bytes, code: int) -> None:
    with SocketClient(web) as other, closing(handshake(web)) as raw:
        read_head(raw)
        with suppress(ConnectionError):
            raw.sendall(sent)
        opcode, data = read_frame(raw)
        assert (opcode, int.from_bytes(data[:2])) == (CLOSE, code)
        assert other.ask("ping") == {"op": "pong"}


def test_random_bytes_never_harm_the_process(web: WebServer) -> None:
    seed = random.Random(11)
    for _ in range(200):
        with closing(handshake(web)) as raw:
            read_head(raw)
            with suppress(ConnectionError):
                raw.sendall(seed.randbytes(seed.randint(1, 200)))
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(65_536):
                    pass
    with SocketClient(web) as client:
        assert client.ask("ping") == {"op": "pong"}
    assert "Traceback" not in web.log()


def test_a_client_that_does_not_read_is_cut_and_the_others_notice_nothing(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database)
    with Writer(database) as writer, SocketClient(web) as other, closing(handshake(web)) as deaf:
        other.ask("subscribe", run="run-1")
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(frame(TEXT, b'{"op":"subscribe","run":"run-1"}'))
        wait_until(lambda: web.metric("agent_comms_live_subscribers") == 2)
        words: list[str] = []

        def is_cut() -> bool:
            words.append(f"{len(words)} " + "x" * 400_000)
            writer.say(words[-1])
            assert other.hear(words[-1]) == words[-1:]
            return web.metric("agent_comms_live_cut_total") == 1

        wait_until(is_cut, "the cut")
        wait_until(lambda: web.metric("agent_comms_live_subscribers") == 1)


def test_a_client_that_asks_without_end_is_read_no_faster_than_it_is_served(web: WebServer) -> None:
    before = web.metric("process_resident_memory_bytes")
    with closing(handshake(web)) as raw:
        read_head(raw)
        raw.settimeout(2)
        # It reads nothing, so that its answers pile up, and what it asks after them.
        with suppress(TimeoutError, ConnectionError):
            for _ in range(400):
                raw.sendall(frame(TEXT, b'{"op":"ping"}') * 5_000)
        assert web.metric("process_resident_memory_bytes") - before < 32 * 1024 * 1024
    with SocketClient(web) as client:
        assert client.ask("ping") == {"op": "pong"}


def test_sockets_that_vanish_are_forgotten(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database, AGENT_COMMS_HEARTBEAT_SECONDS="1", AGENT_COMMS_LIVE_CONNECTIONS="20")
    for _ in range(30):
        wait_until(lambda: is_let_in(web))
    wait_until(lambda: web.metric("agent_comms_live_subscribers") == 0)


def is_let_in(web: WebServer) -> bool:
    with closing(handshake(web)) as raw:
        let_in = read_head(raw).startswith(b"HTTP/1.1 101")
        if let_in:
            raw.sendall(frame(TEXT, b'{"op":"subscribe","run":"run-1"}'))
            read_frame(raw)
            # A reset instead of a farewell.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return let_in


def test_a_socket_too_many_is_told_when_to_come_again(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database, AGENT_COMMS_LIVE_CONNECTIONS="1")
    with SocketClient(web), closing(handshake(web)) as raw:
        head = read_head(raw)
        assert head.startswith(b"HTTP/1.1 503")
        assert b"Retry-After" in head


def test_postgres_away_is_told_and_everything_comes_once_it_is_back(
    start_web: StartWeb, own_postgres_server: PostgresServer
) -> None:
    with fresh_database(own_postgres_server) as dsn:
        web = start_web(DATABASE_URL=dsn, AGENT_COMMS_HEARTBEAT_SECONDS="1")
        with Writer(dsn) as writer:
            writer.say("one")
        with SocketClient(web) as client:
            client.ask("subscribe", run="run-1")
            cursor = client.take()["seq"]
            own_postgres_server.stop()
            stale = client.take()
            assert (stale["op"], stale["stale"], stale["id"]) == ("stale", True, str(cursor))
            own_postgres_server.start()
            with Writer(dsn) as writer:
                writer.say("two", "three")
                assert client.hear("three") == ["two", "three"]


def test_sigterm_tells_sockets_to_come_again_and_ends_within_10_s(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database)
    with ExitStack() as stack:
        clients = [stack.enter_context(SocketClient(web)) for _ in range(20)]
        for client in clients[:10]:
            client.ask("subscribe", channel="general")
        ends: list[int] = []
        waiting = [threading.Thread(target=lambda one=client: ends.append(one.end())) for client in clients]
        for thread in waiting:
            thread.start()
        began = time.monotonic()
        web.stop()
        assert time.monotonic() - began < 10
        for thread in waiting:
            thread.join(60)
    assert ends == [1012] * 20
    assert "Traceback" not in web.log()


def read_head(raw: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = raw.recv(1)
        assert byte, head
        head += byte
    return head


def read_frame(raw: socket.socket) -> tuple[int, bytes]:
    """Return the opcode and the data of a server's frame."""

    def read(count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = raw.recv(count - len(data))
            assert more, "the connection ended"
            data += more
        return data

    first, size = read(2)
    if size == 126:
        size = int.from_bytes(read(2))
    elif size == 127:
        size = int.from_bytes(read(8))
    return first & 0xF, read(size)


@pytest.fixture
def writer(web: WebServer) -> Iterator[Writer]:
    with Writer(web.database) as writer:
        yield writer


def test_frames_are_whole_whatever_their_size(web: WebServer, writer: Writer) -> None:
    words = ["x" * size for size in (1, 100, 65_000, 70_000, 1_000_000)]
    writer.say(*words)
    with SocketClient(web) as client:
        client.ask("subscribe", run="run-1")
        assert client.hear(words[-1]) == words
        client.send("ping")
        writer.say(*words)
        heard: list[str] = []
        while len(heard) < len(words):
            found = client.take()
            heard += [found["content"]] if "content" in found else []
        assert heard == words
