"""Who is let in, by what they bring, to what; and what happens once they are let in no longer."""

import http.cookies
import json
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
import pytest

from connectors.loopback import HOST
from flows.settings import Settings
from tests.asking import ask, refused
from tests.nginx import StartNginx
from tests.readers import Headers, Readers, StartGuarded
from tests.servers import NatsServer, StreamHandle
from tests.sockets import SocketClient, handshake
from tests.waiting import PATIENCE_S, wait_until
from tests.watcher import RUN_EVENTS, Watcher
from tests.webserver import StartWeb, WebServer
from tests.writers import Writer
from web import create_app
from web.rights import need_of

API = "/api/agents"
RUNS = f"{API}/runs"
MESSAGES = f"{API}/messages"
OPEN = {"static", "health.healthz", "health.readyz", "signin.show", "signin.sign_in", "signin.sign_out"}
NEEDS = {"writing.say": "speak", "writing.complete": "operate", "health.metrics": "operate"} | dict.fromkeys(
    ("ops.show", "ops.parts", "ops.letter", "ops.replay", "reading.flow_words"), "operate"
)


@pytest.fixture
def writer(database: str) -> Iterator[Writer]:
    with Writer(database) as writer:
        yield writer


@pytest.fixture
def alice(readers: Readers) -> Headers:
    return readers.add("alice", "agents", rights=("read", "speak"))


def send(
    web: WebServer, method: str, path: str, body: bytes | str | None = None, **headers: str
) -> tuple[HTTPResponse, bytes]:
    with closing(HTTPConnection(HOST, web.port, timeout=PATIENCE_S)) as connection:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response, response.read()


def post(web: WebServer, path: str, body: object, **headers: str) -> tuple[HTTPResponse, bytes]:
    return send(web, "POST", path, json.dumps(body), **{"Content-Type": "application/json", **headers})


def sign_in(web: WebServer, token: str, following: str = "", **headers: str) -> tuple[HTTPResponse, bytes]:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return send(web, "POST", "/sign-in", urlencode({"token": token, "next": following}), **{**form, **headers})


def cookie(response: HTTPResponse) -> http.cookies.Morsel[str]:
    jar: http.cookies.SimpleCookie = http.cookies.SimpleCookie()
    for line in response.headers.get_all("Set-Cookie") or []:
        jar.load(line)
    (found,) = [morsel for morsel in jar.values() if morsel.value]
    return found


def signed_in(web: WebServer, token: str) -> Headers:
    morsel = cookie(sign_in(web, token)[0])
    return {"Cookie": f"{morsel.key}={morsel.value}"}


def test_every_route_says_what_it_needs() -> None:
    app = create_app(Settings())
    for rule in app.url_map.iter_rules():
        wanted = "open" if rule.endpoint in OPEN else NEEDS.get(rule.endpoint, "read")
        assert need_of(app, rule.endpoint) == wanted, rule.endpoint


def test_nobody_gets_anything_but_what_is_open(guarded: WebServer) -> None:
    app = create_app(Settings())
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<path:run>", "run-1").replace("<int:seq>", "1").replace("<path:filename>", "app.css")
        path = path.replace("<form>", "raw").replace("<uuid:identity>", "0195b0aa-0000-7000-8000-000000000000")
        for method in (rule.methods or set()) - {"CONNECT"}:
            response, body = send(guarded, method, path, Content_Type="application/json")
            if rule.endpoint in OPEN:
                assert response.status != 401, (method, path)
                continue
            assert response.status == 401, (method, path, body)
            assert response.headers["WWW-Authenticate"] == 'Bearer realm="agent-comms"'
            assert "Location" not in response.headers
            is_page = not path.startswith(("/api/", "/metrics"))
            assert response.headers["Content-Type"].startswith("text/html" if is_page else "application/problem+json")
            if is_page and method == "GET":
                assert b'<form class="sign-in" method="post" action="/sign-in">' in body
    for path in ("/no/such/address", "/api/no/such/address"):
        assert ask(guarded, path)[0].status == 401


def test_a_token_is_all_that_is_needed(guarded: WebServer, alice: Headers) -> None:
    assert ask(guarded, RUNS, headers=alice)[0].status == 200
    assert ask(guarded, "/agents", headers=alice)[0].status == 200
    assert ask(guarded, "/no/such/address", headers=alice)[0].status == 404
    assert (
        ask(guarded, RUNS, headers={"Authorization": alice["Authorization"].replace("Bearer", "bearer ")})[0].status
        == 200
    )
    for header in (
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic YTpi",
        "token-of-alice",
        "Bearer token-of-alice x",
        "Bearer é",
    ):
        problem = refused(ask(guarded, RUNS, headers={"Authorization": header.encode("latin-1")}))  # type: ignore[dict-item]
        assert problem["status"] == 401
        assert problem["error"].startswith("Authorization: ")


def test_a_right_that_lacks_is_a_403(guarded: WebServer, readers: Readers) -> None:
    reads = readers.add("reads", "agents")
    speaks = readers.add("speaks", "agents", rights=("speak",))
    operates = readers.add("operates", "agents", rights=("operate",))
    body = {"metadata": {"name": "r", "uid": "r"}, "status": {"phase": "Failed"}}

    def read(headers: Headers) -> tuple[HTTPResponse, bytes]:
        return ask(guarded, RUNS, headers=headers)

    def say(headers: Headers) -> tuple[HTTPResponse, bytes]:
        return post(guarded, MESSAGES, {"channel": "general", "content": "x"}, **headers)

    def complete(headers: Headers) -> tuple[HTTPResponse, bytes]:
        return post(guarded, f"{RUNS}/r/complete", body, **headers)

    def metrics(headers: Headers) -> tuple[HTTPResponse, bytes]:
        return ask(guarded, "/metrics", headers=headers)

    for may, can, cannot in (
        (reads, [read], [say, complete, metrics]),
        # Nobody listens for what is said here, so that it is not taken, but for another reason.
        (speaks, [say], [read, complete, metrics]),
        (operates, [complete, metrics], [read, say]),
    ):
        for request in can:
            assert request(may)[0].status in (200, 202, 503)
        for request in cannot:
            assert request(may)[0].status == 403
    problem = refused(say(reads))
    assert problem["error"] == "This needs the right to speak, which you don't have."
    assert b"This needs the right to read" in ask(guarded, "/agents", headers=speaks)[1]


def test_who_signs_in_gets_a_cookie_that_opens_everything(guarded: WebServer, writer: Writer, alice: Headers) -> None:
    assert alice
    writer.say("hello")
    response, body = ask(guarded, "/agents/run-1?workflowNamespace=agents")
    assert response.status == 401
    assert b'name="next" value="/agents/run-1?workflowNamespace=agents"' in body
    response, _ = sign_in(guarded, "token-of-alice", "/agents/run-1?workflowNamespace=agents")
    assert (response.status, response.headers["Location"]) == (303, "/agents/run-1?workflowNamespace=agents")
    morsel = cookie(response)
    assert (morsel["samesite"], morsel["httponly"], morsel["path"], morsel["secure"]) == ("Lax", True, "/", "")
    assert int(morsel["max-age"]) == 12 * 3_600
    assert "token-of-alice" not in morsel.value
    brought = {"Cookie": f"{morsel.key}={morsel.value}"}
    page = ask(guarded, "/agents", headers=brought)[1]
    assert b"Signed in as <bdi>alice</bdi>" in page
    assert ask(guarded, RUNS, headers=brought)[0].status == 200
    with Watcher(guarded.url, headers=brought, runId="run-1") as watcher:
        assert watcher.take(1)[0].said == "hello"
    with SocketClient(guarded, **brought) as client:
        client.send("subscribe", run="run-1")
        assert client.hear("hello") == ["hello"]
    # Another one each time.
    assert cookie(sign_in(guarded, "token-of-alice", **brought)[0]).value != morsel.value


def test_over_tls_the_cookie_is_for_tls_alone(guarded: WebServer, alice: Headers) -> None:
    assert alice
    origin = f"https://{HOST}:{guarded.port}"
    morsel = cookie(sign_in(guarded, "token-of-alice", Origin=origin)[0])
    assert (morsel.key, morsel["secure"], morsel["samesite"]) == ("__Host-agent_comms", True, "Lax")
    assert ask(guarded, RUNS, headers={"Cookie": f"{morsel.key}={morsel.value}"})[0].status == 200
    assert cookie(sign_in(guarded, "token-of-alice", X_Forwarded_Proto="https")[0])["secure"]


def test_whoever_signs_out_has_no_cookie(guarded: WebServer, alice: Headers) -> None:
    brought = signed_in(guarded, "token-of-alice")
    response, _ = send(guarded, "POST", "/sign-out", **brought)
    assert (response.status, response.headers["Location"]) == (303, "/sign-in")
    assert all("Max-Age=0" in line for line in response.headers.get_all("Set-Cookie") or [""])
    assert send(guarded, "GET", "/sign-out", **alice)[0].status == 405


def test_a_copied_cookie_opens_nothing_after_its_sign_out(start_guarded: StartGuarded, alice: Headers) -> None:
    one, two = start_guarded(), start_guarded()
    ended, other = signed_in(one, "token-of-alice"), signed_in(one, "token-of-alice")
    with (
        Watcher(one.url, headers=ended, runId="run-1") as here,
        Watcher(two.url, headers=ended, runId="run-1") as there,
        Watcher(two.url, headers=other, runId="run-1") as stays,
    ):
        for watcher in (here, there, stays):
            watcher.take_comments(1)
        assert send(one, "POST", "/sign-out", **ended)[0].status == 303
        assert ask(one, RUNS, headers=ended)[0].status == 401
        wait_until(lambda: ask(two, RUNS, headers=ended)[0].status == 401)
        assert [[event.name for event in watcher.rest()] for watcher in (here, there)] == [["signed-out"]] * 2
        stays.take_comments(1)
    # One that starts later knows it from its first answer on.
    three = start_guarded()
    assert ask(three, RUNS, headers=ended)[0].status == 401
    for brought in (other, alice):
        assert [ask(web, RUNS, headers=brought)[0].status for web in (one, two, three)] == [200] * 3
    assert send(two, "POST", "/sign-out", **ended)[0].status == 303
    with psycopg.connect(one.database) as connection:
        noted = connection.execute("SELECT count(*) FROM workflow_comms.audit_log WHERE action = 'signed-out'")
        assert noted.fetchone() == (1,)


ELSEWHERE = (
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/agents\n/x",
    "javascript:alert(1)",
    "/agents/../../x\r\nSet-Cookie: a=b",
    "agents",
    "/agentsevil",
    "/sign-out",
    "/agents?x=\x7f",
    "/%61gents",
    "",
)


@pytest.mark.usefixtures("alice")
def test_nobody_is_led_elsewhere(guarded: WebServer) -> None:
    for following in ELSEWHERE:
        response, _ = sign_in(guarded, "token-of-alice", following)
        assert (response.status, response.headers["Location"]) == (303, "/agents"), following
        assert ask(guarded, f"/sign-in?next={quote(following)}")[1].count(b'name="next" value="/agents"') == 1, (
            following
        )


def test_a_wrong_token_is_told_and_too_many_are_not_looked_at(
    guarded: WebServer, alice: Headers, database: str
) -> None:
    assert alice
    for token in ("wrong", "", "x" * 5_000, "é", "token-of-alice\0"):
        response, body = sign_in(guarded, token)
        assert response.status == 401
        assert b'role="alert"' in body
        assert "Set-Cookie" not in response.headers
    while (response := sign_in(guarded, "wrong")[0]).status == 401:
        pass
    assert response.status == 429
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert sign_in(guarded, "token-of-alice")[0].status == 429
    # Whoever has a token needs no sign-in.
    assert ask(guarded, RUNS, headers=alice)[0].status == 200
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT DISTINCT action, who FROM workflow_comms.audit_log").fetchall()
    assert rows == [("sign-in-refused", None)]


def test_another_sites_page_signs_nobody_in_or_out_and_says_nothing(guarded: WebServer, alice: Headers) -> None:
    assert alice
    brought = signed_in(guarded, "token-of-alice")
    own = {"Origin": guarded.url, "Sec-Fetch-Site": "same-origin"}
    assert sign_in(guarded, "token-of-alice", **own)[0].status == 303
    said = {"channel": "general", "content": "x"}
    for foreign in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://{HOST}:{guarded.port + 1}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": guarded.url},
    ):
        assert sign_in(guarded, "token-of-alice", **foreign)[0].status == 403
        assert send(guarded, "POST", "/sign-out", **brought, **foreign)[0].status == 403
        assert post(guarded, MESSAGES, said, **brought, **foreign)[0].status == 403
        with closing(handshake(guarded, *[f"{k}: {v}" for k, v in {**brought, **foreign}.items()])) as connection:
            assert connection.recv(65_536).startswith(b"HTTP/1.1 403 ")
    assert post(guarded, MESSAGES, said, **brought, **own)[0].status in (202, 503)


def test_two_webs_take_each_others_cookies(start_guarded: StartGuarded, readers: Readers) -> None:
    readers.add("alice", "agents")
    one, two = start_guarded(), start_guarded()
    keyed = start_guarded(AGENT_COMMS_COOKIE_KEY="a key that is long enough")
    brought = signed_in(one, "token-of-alice")
    assert ask(two, RUNS, headers=brought)[0].status == 200
    assert ask(keyed, RUNS, headers=brought)[0].status == 401
    assert ask(keyed, RUNS, headers=signed_in(keyed, "token-of-alice"))[0].status == 200


def test_a_reader_who_is_taken_out_of_the_file_is_out_at_once(
    guarded: WebServer, readers: Readers, alice: Headers
) -> None:
    brought = signed_in(guarded, "token-of-alice")
    readers.add("bob", "agents")
    assert ask(guarded, RUNS, headers=brought)[0].status == 200
    readers.remove("alice")
    assert ask(guarded, RUNS, headers=alice)[0].status == 401
    assert ask(guarded, RUNS, headers=brought)[0].status == 401
    readers.add("alice", "agents", token="another")
    assert ask(guarded, RUNS, headers=alice)[0].status == 401
    assert ask(guarded, RUNS, headers=brought)[0].status == 401
    assert ask(guarded, RUNS, headers=signed_in(guarded, "another"))[0].status == 200


@pytest.mark.parametrize("by", ["token", "cookie"])
def test_live_connections_end_with_their_reader(
    guarded: WebServer, readers: Readers, writer: Writer, alice: Headers, by: str
) -> None:
    brought = alice if by == "token" else signed_in(guarded, "token-of-alice")
    bob = readers.add("bob", "agents")
    writer.say("before")
    with (
        Watcher(guarded.url, headers=brought, runId="run-1") as watcher,
        Watcher(guarded.url, RUN_EVENTS, headers=brought) as runs,
        Watcher(guarded.url, headers=bob, runId="run-1") as other,
        SocketClient(guarded, **brought) as client,
        SocketClient(guarded, **brought) as silent,
    ):
        client.send("subscribe", run="run-1")
        assert client.hear("before") == ["before"]
        assert silent.ask("ping") == {"op": "pong"}
        (before,) = watcher.take(1)
        runs.skip_to_comments(1, without="event:")
        readers.remove("alice")
        (told,) = watcher.rest()
        assert (told.name, told.id) == ("signed-out", before.id)
        assert told.data == {"reason": "The sign-in or the token is good no longer."}
        # What was said before may be told of as well, and that it is all.
        assert [event.name for event in runs.rest() if event.name not in {"message", "caught-up"}] == ["signed-out"]
        for socket_client in (client, silent):
            assert socket_client.take()["op"] == "signed-out"
            assert socket_client.end() == 1008
        writer.say("after")
        assert other.hear("after") == ["before", "after"]
    wait_until(lambda: _live(guarded, bob, readers) == 0)


def _live(web: WebServer, _: Headers, readers: Readers) -> float:
    scraper = readers.add("scraper", "*", rights=("operate",))
    lines = ask(web, "/metrics", headers=scraper)[1].decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("agent_comms_live_subscribers "))


def test_who_may_read_something_else_comes_again(
    guarded: WebServer, readers: Readers, writer: Writer, alice: Headers
) -> None:
    writer.say("hello", workflow_namespace="b", channel="general")
    with Watcher(guarded.url, headers=alice, channel="general") as watcher:
        watcher.take_comments(1)
        readers.add("alice", "agents", "b")
        assert watcher.rest() == []
    with Watcher(guarded.url, headers=alice, channel="general") as watcher:
        assert watcher.take(1)[0].said == "hello"


def test_what_a_person_says_carries_their_name_and_a_namespace_of_theirs(
    start_guarded: StartGuarded, readers: Readers, stream: StreamHandle
) -> None:
    web = start_guarded(NATS_URL=stream.url)
    carol = readers.add("carol", "team-b", "team-a", rights=("read", "speak"))
    dave = readers.add("dave", "*", rights=("speak",))
    wait_until(lambda: json.loads(ask(web, "/readyz")[1])["checks"]["nats"]["state"] == "ok")

    def say(headers: Headers, **body: str) -> dict[str, Any]:
        response, answer = post(web, MESSAGES, {"content": "x", **body}, **headers)
        assert response.status == 202, answer
        message = stream.connection.run(stream.connection.jetstream().get_last_msg(stream.name, "workflow.>"))
        return {"subject": message.subject, **json.loads(message.data or b"")}

    said = say(carol, channel="general", attrs={"author": "somebody else"})  # type: ignore[arg-type]
    assert said["subject"] == "workflow.general.team-b.person.message"
    assert (said["workflow_namespace"], said["attrs"]["author"]) == ("team-b", "carol")
    assert (
        say(carol, channel="general", workflow_namespace="team-a")["subject"]
        == "workflow.general.team-a.person.message"
    )
    assert say(carol, workflow_uid="u", workflow_name="n")["subject"] == "workflow.team-b.n.u.agent.person.message"
    assert say(dave, channel="general")["subject"] == "workflow.general.agents.person.message"
    problem = refused(post(web, MESSAGES, {"content": "x", "channel": "general", "workflow_namespace": "c"}, **carol))
    assert problem["status"] == 403
    assert problem["error"] == "workflow_namespace: you may do this in team-b, team-a, but not in 'c'."
    with SocketClient(web, **carol) as client:
        assert client.ask("publish", content="x", channel="general")["op"] == "published"
        assert "c" in client.ask("publish", content="x", channel="general", workflow_namespace="c")["error"]
    reads = readers.add("reads", "team-a")
    with SocketClient(web, **reads) as client:
        assert client.ask("publish", content="x", channel="general")["error"].startswith(
            "This needs the right to speak"
        )


def test_where_somebody_may_speak_is_not_where_they_may_read(
    start_guarded: StartGuarded, readers: Readers, nats_server: NatsServer
) -> None:
    readers.add_group("readers", "a", "b")
    readers.add_group("speakers", "b", rights=("speak",))
    web = start_guarded(AGENT_COMMS_AUTH="proxy", AGENT_COMMS_PROXY_ADDRESSES=HOST, NATS_URL=nats_server.url)
    told = {"X-Forwarded-User": "erin", "X-Forwarded-Groups": "readers, speakers"}
    assert ask(web, f"{RUNS}?workflowNamespace=a", headers=told)[0].status == 200
    problem = refused(post(web, MESSAGES, {"content": "x", "channel": "general", "workflow_namespace": "a"}, **told))
    assert problem["status"] == 403


def test_what_the_proxy_says_is_believed_from_the_proxy_alone(
    start_guarded: StartGuarded, readers: Readers, writer: Writer
) -> None:
    readers.add_group("team", "agents", rights=("read", "operate"))
    scraper = readers.add("scraper", "*", rights=("operate",))
    told = {"X-Forwarded-User": "erin@example.com", "X-Forwarded-Groups": "other,team"}
    writer.say("hello")
    web = start_guarded(AGENT_COMMS_AUTH="proxy", AGENT_COMMS_PROXY_ADDRESSES="127.0.0.0/8")
    assert ask(web, f"{RUNS}/run-1", headers=told)[0].status == 200
    assert ask(web, RUNS, headers={**told, "X-Forwarded-Groups": "other"})[0].status == 403
    assert ask(web, RUNS, headers={"X-Forwarded-User": "erin"})[0].status == 403
    assert ask(web, RUNS, headers={"X-Forwarded-Groups": "team"})[0].status == 401
    assert ask(web, RUNS, headers={**told, "X-Forwarded-User": "mallory,erin"})[0].status == 401
    assert ask(web, "/agents", headers={})[0].status == 401
    assert b'<form class="sign-in"' not in ask(web, "/agents", headers={})[1]
    assert ask(web, "/sign-in")[0].status == 404
    assert ask(web, "/metrics", headers=scraper)[0].status == 200
    other = start_guarded(AGENT_COMMS_AUTH="proxy", AGENT_COMMS_PROXY_ADDRESSES="10.0.0.0/8,::1")
    assert ask(other, RUNS, headers=told)[0].status == 401
    assert ask(other, "/metrics", headers=scraper)[0].status == 200


def test_a_real_proxy_says_who_comes(start_guarded: StartGuarded, readers: Readers, start_nginx: StartNginx) -> None:
    readers.add_group("team", "agents")
    web = start_guarded(AGENT_COMMS_AUTH="proxy", AGENT_COMMS_PROXY_ADDRESSES=HOST)
    directives = "proxy_set_header Host $http_host; proxy_set_header X-Forwarded-User erin;"
    nginx = start_nginx(web, directives=directives + " proxy_set_header X-Forwarded-Groups team;")
    assert ask(nginx, RUNS)[0].status == 200  # type: ignore[arg-type]
    # What its client says of itself does not reach us.
    assert ask(nginx, RUNS, headers={"X-Forwarded-Groups": "none"})[0].status == 200  # type: ignore[arg-type]
    # Nor does a header whose name only looks like it.
    assert ask(web, RUNS, headers={"X_Forwarded_User": "erin", "X_Forwarded_Groups": "team"})[0].status == 401


def test_whoever_says_too_much_is_told_to_come_again(
    start_guarded: StartGuarded, readers: Readers, stream: StreamHandle
) -> None:
    web = start_guarded(AGENT_COMMS_POSTS_PER_MINUTE="3", NATS_URL=stream.url)
    erin, frank = (readers.add(name, "agents", rights=("speak",)) for name in ("erin", "frank"))
    wait_until(lambda: json.loads(ask(web, "/readyz")[1])["checks"]["nats"]["state"] == "ok")
    said = {"channel": "general", "content": "x"}
    assert [post(web, MESSAGES, said, **erin)[0].status for _ in range(4)] == [202, 202, 202, 429]
    response, body = post(web, MESSAGES, said, **erin)
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert json.loads(body)["error"] == "You say too much at once. Come again later."
    assert post(web, MESSAGES, said, **frank)[0].status == 202


def test_what_people_did_is_written_down(start_guarded: StartGuarded, readers: Readers, stream: StreamHandle) -> None:
    web = start_guarded(NATS_URL=stream.url, AGENT_COMMS_PROXY_ADDRESSES=HOST)
    erin = readers.add("erin", "team", rights=("read", "speak", "operate"))
    wait_until(lambda: json.loads(ask(web, "/readyz")[1])["checks"]["nats"]["state"] == "ok")
    behind = {"X-Forwarded-For": "203.0.113.9, 127.0.0.1"}
    message_id = json.loads(post(web, MESSAGES, {"channel": "general", "content": "x"}, **erin, **behind)[1])[
        "message_id"
    ]
    completed = {"metadata": {"name": "r", "uid": "u"}, "status": {"phase": "Failed"}}
    assert post(web, f"{RUNS}/u/complete", completed, **erin)[0].status == 202
    brought = signed_in(web, "token-of-erin")
    assert send(web, "POST", "/sign-out", **brought)[0].status == 303
    with psycopg.connect(web.database) as connection:
        rows = connection.execute(
            "SELECT action, who, how, source, workflow_namespace, target FROM workflow_comms.audit_log ORDER BY id"
        ).fetchall()
    assert rows == [
        ("said", "erin", "token", "203.0.113.9", "team", message_id),
        ("completed", "erin", "token", "127.0.0.1", "team", "u"),
        ("signed-in", "erin", "token", "127.0.0.1", None, None),
        ("signed-out", "erin", "cookie", "127.0.0.1", None, None),
    ]


def test_another_name_than_ours_is_not_answered(
    start_web: StartWeb, start_guarded: StartGuarded, readers: Readers, database: str
) -> None:
    def status(web: WebServer, host: str, path: str = RUNS, **headers: str) -> int:
        return send(web, "GET", path, Host=host, **headers)[0].status

    web = start_web(DATABASE_URL=database)
    for host in (
        f"{HOST}:{web.port}",
        "localhost",
        "localhost:8080",
        "[::1]:8080",
        "127.8.8.8",
        "LOCALHOST",
        "near",
        "",
    ):
        assert status(web, host) == 200, host
    for host in (
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "[::1",
        "10.0.0.1",
        "@127.0.0.1",
        "near.",
    ):
        assert status(web, host) in (400, 421), host
    problem = refused(send(web, "GET", RUNS, Host="evil.example"))
    assert (problem["status"], problem["parameter"]) == (421, "Host")
    erin = readers.add("erin", "*", rights=("read", "operate"))
    named = start_guarded(AGENT_COMMS_HOSTS="comms.example, other.example")
    assert [status(named, host, **erin) for host in ("comms.example", "Other.Example:443", "evil.example")] == [
        200,
        200,
        421,
    ]
    assert [status(named, "10.1.2.3", path, **erin) for path in ("/healthz", "/metrics")] == [200, 200]
    anything = start_guarded()
    assert status(anything, "evil.example", **erin) == 200


def test_where_nobody_is_asked_nobody_signs_in(shared_web: WebServer) -> None:
    assert ask(shared_web, "/sign-in")[0].status == 404
    assert send(shared_web, "POST", "/sign-out")[0].status == 404
    assert ask(shared_web, "/metrics")[0].status == 200
    assert b"Sign" not in ask(shared_web, "/agents")[1]


def test_what_was_shown_is_kept_by_no_cache(guarded: WebServer, writer: Writer, alice: Headers) -> None:
    writer.say("hello")
    for path in (
        "/agents",
        "/agents/run-1",
        "/agents/general",
        RUNS,
        f"{MESSAGES}?runId=run-1",
        "/sign-in",
        "/nowhere",
    ):
        assert ask(guarded, path, headers=alice)[0].headers["Cache-Control"] == "no-store", path
    headers = ask(guarded, "/agents", headers=alice)[0].headers
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Permissions-Policy"]


def test_the_log_holds_no_token(guarded: WebServer, alice: Headers) -> None:
    ask(guarded, RUNS, headers=alice)
    ask(guarded, RUNS, headers={"Authorization": "Bearer a-wrong-token"})
    sign_in(guarded, "token-of-alice")
    sign_in(guarded, "a-wrong-token")
    assert "token" not in guarded.log()
