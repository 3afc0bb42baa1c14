"""The accounts of gitops/nats on a real server: attacked as each user and as nobody, while others do their work."""

import json
import socket
import ssl
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from connectors import authority, nkey
from connectors.connection import NatsOptions
from connectors.delivery import JetStreamMessage
from connectors.loopback import HOST
from flows.dead_letter import DeadLetter
from flows.normalize import normalize
from flows.users import AGENTS, JANGAR, SYSTEM, USERS, WEB, User
from tests.secured import DURABLE, INFO, NEXT, PERSON, RUN, STREAM, Client, Look, Secured, Traffic, clients, gets_in
from tests.waiting import PATIENCE_S, wait_until

OTHERS_RUN = "workflow.other.run.uid-1.agent.planner.message"
OTHERS_PERSON = "workflow.other.run.uid-1.agent.person.message"
GENERAL_PERSON = "workflow.general.agents.person.message"
JS = "$JS.API"
ACKS = (
    f"$JS.ACK.{STREAM}.{DURABLE}.1.1.1.0.0",
    f"$JS.ACK._.hash.{STREAM}.{DURABLE}.1.1.1.0.0",
)
# What would read, change, empty or delete the stream or its consumer.
STREAM_API = tuple(
    f"{JS}.{verb}"
    for verb in (
        f"STREAM.DELETE.{STREAM}",
        f"STREAM.PURGE.{STREAM}",
        f"STREAM.MSG.GET.{STREAM}",
        f"STREAM.MSG.DELETE.{STREAM}",
        f"STREAM.SNAPSHOT.{STREAM}",
        f"STREAM.RESTORE.{STREAM}",
        f"STREAM.LEADER.STEPDOWN.{STREAM}",
        f"DIRECT.GET.{STREAM}",
        f"DIRECT.GET.{STREAM}.{RUN}",
        "STREAM.CREATE.mine",
        "STREAM.NAMES",
        "STREAM.LIST",
        "INFO",
        f"CONSUMER.MSG.NEXT.{STREAM}.{DURABLE}",
        f"CONSUMER.DELETE.{STREAM}.{DURABLE}",
        f"CONSUMER.PAUSE.{STREAM}.{DURABLE}",
        f"CONSUMER.RESET.{STREAM}.{DURABLE}",
        f"CONSUMER.CREATE.{STREAM}",
        f"CONSUMER.CREATE.{STREAM}.mine",
        f"CONSUMER.CREATE.{STREAM}.mine.workflow.>",
        f"CONSUMER.DURABLE.CREATE.{STREAM}.mine",
        f"CONSUMER.NAMES.{STREAM}",
        f"CONSUMER.LIST.{STREAM}",
    )
)
SETTING_UP = tuple(
    f"{JS}.{verb}"
    for verb in (
        f"STREAM.INFO.{STREAM}",
        f"STREAM.UPDATE.{STREAM}",
        f"STREAM.CREATE.{STREAM}",
        f"CONSUMER.INFO.{STREAM}.{DURABLE}",
        f"CONSUMER.CREATE.{STREAM}.{DURABLE}",
        f"CONSUMER.DURABLE.CREATE.{STREAM}.{DURABLE}",
    )
)
ELSEWHERE = (
    OTHERS_RUN,
    OTHERS_PERSON,
    PERSON,
    "workflow.agents.run.uid-1.agent.person",
    "workflow.agents.run.uid-1.agent.person.status",
    "workflow.general.agents.message",
    "workflow.general.other.message",
    GENERAL_PERSON,
    "workflow.general.other.person.message",
    "argo.workflow.agents.run.uid-1.agent.planner.message",
    "_INBOX.somebody",
    "_INBOX_agents.somebody",
    "_INBOX_jangar.somebody",
    "_INBOX_web.somebody",
    "_R_.somebody",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.ACCOUNT.COMMS.INFO",
    "$SYS.REQ.USER.INFO",
)
PULLS = (NEXT, f"JS.comms.API.CONSUMER.MSG.NEXT.{STREAM}.another", f"JS.comms.API.STREAM.PURGE.{STREAM}")
REFUSED = {
    AGENTS: (*ELSEWHERE, *STREAM_API, *SETTING_UP, *ACKS, *PULLS, INFO),
    WEB: (
        *(subject for subject in ELSEWHERE if not subject.endswith("person.message")),
        RUN,
        "workflow.general.message",
        *STREAM_API,
        *SETTING_UP,
        *ACKS,
        *PULLS,
        INFO,
    ),
    JANGAR: (*ELSEWHERE, RUN, "workflow.general.message", *STREAM_API, *SETTING_UP, *PULLS[1:]),
    SYSTEM: (*ELSEWHERE, RUN, "workflow.general.message", *STREAM_API, *ACKS, *PULLS, INFO),
}
LISTENING = (
    ">",
    "*.>",
    "*.*",
    "workflow.>",
    "workflow.agents.>",
    RUN,
    "workflow.general.message",
    "workflow.general.>",
    "_INBOX.>",
    "_INBOX_agents.>",
    "_INBOX_jangar.>",
    "_INBOX_web.>",
    "_R_.>",
    "$JS.>",
    f"{JS}.>",
    "$JS.ACK.>",
    "$JS.EVENT.>",
    "$SYS.>",
    "JS.>",
    NEXT,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    with Secured(tmp_path_factory.mktemp("secured") / "a folder") as running:
        yield running


@pytest.fixture(scope="module")
def look(server: Secured) -> Iterator[Look]:
    with Look(server) as looking:
        yield looking


@pytest.fixture
def traffic(server: Secured, look: Look) -> Iterator[Traffic]:
    """Somebody who talks and somebody who listens, whatever the test does; afterwards the stream is whole."""
    before = look.stream()
    said_before = look.subjects().get(RUN, 0)
    with Traffic(server) as running:
        yield running
        running.go_on()
        running.assert_whole()
    after = look.stream()
    assert after["config"] == before["config"]
    assert after["created"] == before["created"]
    assert after["state"]["first_seq"] == 1
    assert after["state"].get("num_deleted", 0) == 0
    assert after["state"]["messages"] == after["state"]["last_seq"]
    assert look.subjects()[RUN] >= said_before + len(running.acked)
    wait_until(lambda: look.left == 0, "everything to be acked")
    assert sorted(running.taken) == list(range(len(running.acked))), "some came twice or never"


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.name)
def test_what_a_user_may_not_publish_is_refused(user: User, server: Secured, look: Look, traffic: Traffic) -> None:
    before = {subject: count for subject, count in look.subjects().items() if subject != RUN}
    with Client(server.options(user)) as client:
        allowed = [
            subject for subject in REFUSED[user] if not client.may_not_publish(subject, b'{"content": "stolen"}')
        ]
        assert allowed == []
    assert {subject: count for subject, count in look.subjects().items() if subject != RUN} == before
    traffic.go_on()


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.name)
def test_nobody_listens_to_anything_but_their_own_answers(user: User, server: Secured, traffic: Traffic) -> None:
    with Client(server.options(user)) as client:
        subjects = [subject for subject in LISTENING if subject != f"{user.inbox_prefix}.>" or user is SYSTEM]
        assert [subject for subject in subjects if not client.may_not_listen(subject)] == []
        assert [subject for subject in subjects if not client.may_not_listen(subject, queue="thieves")] == []
        traffic.go_on()
        assert client.heard == []


@pytest.mark.parametrize("user", [SYSTEM, AGENTS, WEB], ids=lambda user: user.name)
def test_where_a_user_may_listen_there_is_nothing_of_other_users(user: User, server: Secured, traffic: Traffic) -> None:
    asking = {
        AGENTS: ("workflow.agents.run.uid-2.agent.a.message", b'{"content": "x"}'),
        WEB: (PERSON, b'{"content": "x"}'),
        JANGAR: (INFO, b""),
        SYSTEM: (f"{JS}.STREAM.INFO.{STREAM}", b""),
    }
    with Client(server.options(user)) as client, clients(server) as by:
        assert not client.may_not_listen("_INBOX.*.*" if user is SYSTEM else f"{user.inbox_prefix}.>")
        for other, (subject, payload) in asking.items():
            if other is not user:
                by[other.name].request(subject, payload)
        traffic.go_on()
        client.run(client.connection.client.flush())
        # Runtimes of a namespace share a user: they may see that others' messages were stored, and no more.
        assert all(subject.startswith("_INBOX_agents.") for subject in client.heard)
        assert client.heard == [] or user is AGENTS


def test_each_does_what_it_is_for(server: Secured, look: Look, traffic: Traffic) -> None:
    before = look.subjects()
    with clients(server) as by:
        said = b'{"content": "said"}'
        for user, subject in (
            (AGENTS, "workflow.agents.run.uid-3.agent.executor.tool_call"),
            (AGENTS, "workflow.agents.whatever"),
            (AGENTS, "workflow.general.status"),
            (WEB, OTHERS_PERSON),
            (WEB, "workflow.general.other.person.message"),
        ):
            assert by[user.name].request(subject, said)["stream"] == STREAM
        assert by["jangar"].request(INFO)["name"] == DURABLE
        assert by["system"].request(f"{JS}.STREAM.INFO.{STREAM}")["config"]["name"] == STREAM
        traffic.go_on()
    after = look.subjects()
    new = {subject for subject, count in after.items() if count > before.get(subject, 0)} - {RUN}
    assert new == {
        "workflow.agents.run.uid-3.agent.executor.tool_call",
        "workflow.agents.whatever",
        # Where it was said, by the server's word.
        "workflow.general.agents.status",
        OTHERS_PERSON,
        "workflow.general.other.person.message",
    }


# Where an answer of the server would do harm.
REPLIES = (
    f"{JS}.STREAM.DELETE.{STREAM}",
    f"{JS}.STREAM.PURGE.{STREAM}",
    f"{JS}.CONSUMER.DELETE.{STREAM}.{DURABLE}",
    f"{JS}.CONSUMER.MSG.NEXT.{STREAM}.{DURABLE}",
    f"{JS}.STREAM.UPDATE.{STREAM}",
    NEXT,
    *ACKS,
    RUN,
    PERSON,
    OTHERS_RUN,
    OTHERS_PERSON,
    GENERAL_PERSON,
    "workflow.general.message",
    "workflow.general.agents.message",
    "workflow.general.other.message",
    "_INBOX.thief",
    "_INBOX_jangar.thief",
    "_R_.thief",
)
ASKING = {
    AGENTS: [("workflow.agents.trick", b'{"content": "x"}'), ("workflow.general.trick", b'{"content": "x"}')],
    WEB: [(PERSON, b'{"content": "x"}'), (GENERAL_PERSON, b'{"content": "x"}')],
    JANGAR: [
        (NEXT, b'{"batch": 1, "no_wait": true}'),
        (NEXT, b""),
        (NEXT, b"not JSON"),
        (INFO, b""),
        *[(ack, word) for ack in ACKS for word in (b"+ACK", b"+NXT", b"-NAK", b"+TERM")],
    ],
}


@pytest.mark.parametrize("user", list(ASKING), ids=lambda user: user.name)
def test_where_the_answer_goes_is_no_way_into_the_stream(user: User, server: Secured, look: Look) -> None:
    with clients(server, [AGENTS]) as by:
        for number in range(20):
            by["agents"].request(RUN, b'{"content": "waits %d"}' % number)
    before, created = look.subjects(), look.consumer()["created"]
    first = look.stream()
    asked = 0
    with Client(server.options(user)) as client:
        for subject, payload in ASKING[user]:
            for reply in REPLIES:
                asked += not client.may_not_publish(subject, payload, reply)
    after, stream = look.subjects(), look.stream()
    assert asked
    assert (stream["created"], stream["config"]) == (first["created"], first["config"])
    assert (stream["state"]["first_seq"], stream["state"]["messages"]) == (1, stream["state"]["last_seq"])
    assert look.consumer()["created"] == created
    grown = {subject for subject, count in after.items() if count > before.get(subject, 0)}
    own = {subject for subject, _ in ASKING[user]} | {"workflow.general.agents.trick"}
    # What the server answers on a shared room's subject is one more word of this namespace, and no message.
    others = {subject for subject in grown - own if not subject.startswith("workflow.general.agents.")}
    assert others == set()
    assert not any(".person." in subject for subject in grown - own)
    if user is JANGAR:
        assert grown == set()


def test_what_the_controller_may_ask_neither_empties_nor_deletes_the_stream(server: Secured, look: Look) -> None:
    with clients(server, [AGENTS]) as by:
        by["agents"].request(RUN, b'{"content": "stays"}')
    before = look.stream()
    with Client(server.options(SYSTEM)) as client:
        for subject in SETTING_UP:
            for reply in REPLIES[:8]:
                client.may_not_publish(subject, b"", reply)
        # It can't make the consumer push to where it listens, nor another one.
        config = {
            "durable_name": DURABLE,
            "name": DURABLE,
            "deliver_subject": "_INBOX.a.b",
            "ack_policy": "none",
            "deliver_policy": "all",
        }
        body = json.dumps({"stream_name": STREAM, "config": config}).encode()
        for verb in ("CREATE", "DURABLE.CREATE"):
            assert "error" in client.request(f"{JS}.CONSUMER.{verb}.{STREAM}.{DURABLE}", body)
        config |= {"durable_name": "mine", "name": "mine"}
        body = json.dumps({"stream_name": STREAM, "config": config}).encode()
        assert "error" in client.request(f"{JS}.CONSUMER.CREATE.{STREAM}.{DURABLE}", body)
    after = look.stream()
    assert (after["created"], after["config"]) == (before["created"], before["config"])
    assert after["state"]["messages"] >= before["state"]["messages"]
    assert after["state"]["consumer_count"] == 1


def test_what_the_server_answers_the_controller_is_nobodys_message(server: Secured) -> None:
    # The controller is inside the stream's account: an answer that it sends on there is stored, and said by nobody.
    bodies = (b"", b"{}", b"not JSON", b'{"name": "agent-comms", "storage": "memory", "description": "I, a person"}')
    with Client(server.options(SYSTEM)) as client:
        for subject in SETTING_UP:
            for body in bodies:
                answer = client.run(client.connection.client.request(subject, body, timeout=PATIENCE_S))
                origin = JetStreamMessage(PERSON, answer.data, ACKS[0], b"")
                assert isinstance(normalize(origin, 1_048_576), DeadLetter), answer.data


@pytest.mark.parametrize(
    "header",
    [
        {"Nats-Rollup": "all"},
        {"Nats-Rollup": "sub"},
        {"Nats-TTL": "1s"},
        {"Nats-Incr": "+1"},
        {"Nats-Schedule": "@at 2030-01-01T00:00:00Z", "Nats-Schedule-Target": OTHERS_RUN},
        {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
    ],
    ids=lambda header: next(iter(header)),
)
@pytest.mark.parametrize(("user", "subject"), [(AGENTS, RUN), (WEB, PERSON)], ids=["agents", "web"])
def test_no_header_replaces_shortens_or_redirects_what_is_stored(
    header: dict[str, str], user: User, subject: str, server: Secured, look: Look
) -> None:
    with Client(server.options(user)) as client:
        assert client.request(subject, b'{"content": "was here before"}')["stream"] == STREAM
        before = look.stream()["state"]
        answer = client.request(subject, b'{"content": "a trick"}', header)
    after = look.stream()["state"]
    assert "error" in answer
    assert (after["first_seq"], after["messages"], after["last_seq"]) == (
        before["first_seq"],
        before["messages"],
        before["last_seq"],
    )


@pytest.mark.parametrize("user", [AGENTS, WEB, SYSTEM], ids=lambda user: user.name)
def test_nobody_but_the_flow_acks(user: User, server: Secured, look: Look) -> None:
    with clients(server, [AGENTS, JANGAR]) as by:
        by["agents"].request(RUN, b'{"content": "not acked"}')
        jangar = by["jangar"].connection
        puller = jangar.jetstream().pull_subscribe_bind(stream=STREAM, durable=DURABLE)
        message = by["jangar"].run(_take_one(puller))
        with Client(server.options(user)) as client:
            for word in (b"+ACK", b"+TERM", b"-NAK", b"+NXT"):
                assert client.may_not_publish(message.reply, word)
        assert look.consumer()["num_ack_pending"] >= 1
        by["jangar"].run(message.ack_sync())


async def _take_one(bound: Awaitable[JetStreamContext.PullSubscription]) -> Msg:
    subscription = await bound
    [message] = await subscription.fetch(1, timeout=PATIENCE_S)
    return message


class TestNobody:
    def test_without_a_credential_there_is_no_way_in(self, server: Secured, tmp_path: Path) -> None:
        plain = NatsOptions((server.server.url,), ca_file=server.ring.ca_file)
        (tmp_path / "foreign.nk").write_text(nkey.new_seed())
        assert not gets_in(plain)
        assert not gets_in(replace(plain, user="agents", password=""))
        assert not gets_in(replace(plain, user="system", password="system"))
        assert not gets_in(replace(plain, nkey_seed_file=tmp_path / "foreign.nk"))
        assert gets_in(server.options(AGENTS))

    def test_a_public_key_alone_is_no_credential(self, server: Secured) -> None:
        key = nkey.public_key(server.ring.seeds["agents"][0])
        with tls_socket(server) as connection:
            connection.sendall(b'CONNECT {"nkey":"%s","sig":"AAAA","verbose":false}\r\nPING\r\n' % key.encode())
            assert b"-ERR 'Authorization Violation'" in answer(connection)

    def test_plaintext_is_refused(self, server: Secured) -> None:
        address = urlsplit(server.server.url)
        with socket.create_connection((HOST, address.port or 0), timeout=PATIENCE_S) as connection:
            assert b'"tls_required":true' in connection.recv(4096)
            connection.sendall(b'CONNECT {"verbose":false}\r\nPUB workflow.agents.x 2\r\n{}\r\nPING\r\n')
            assert b"PONG" not in answer(connection)

    def test_a_server_that_another_authority_vouches_for_is_told_nothing(self, server: Secured, tmp_path: Path) -> None:
        other = authority.issue(tmp_path / "other", [HOST])
        environment = server.options(AGENTS)
        assert not gets_in(NatsOptions(environment.servers, ca_file=other.ca))
        assert not gets_in(replace(environment, ca_file=other.ca))

    def test_a_server_whose_certificate_has_expired_is_told_nothing(self, tmp_path: Path) -> None:
        with Secured(tmp_path) as server:
            assert gets_in(server.options(AGENTS))
            server.ring.certificate = authority.issue(tmp_path / "old", [HOST], life=timedelta(minutes=59))
            old = replace(server.options(AGENTS), ca_file=server.ring.certificate.ca)
            server.reload()
            wait_until(lambda: not gets_in(server.options(AGENTS)), "the server to show the other certificate")
            assert not gets_in(old)


def tls_socket(server: Secured) -> ssl.SSLSocket:
    address = urlsplit(server.server.url)
    plain = socket.create_connection((HOST, address.port or 0), timeout=PATIENCE_S)
    info = plain.recv(4096)
    assert info.startswith(b"INFO ")
    context = ssl.create_default_context(cafile=str(server.ring.ca_file))
    return context.wrap_socket(plain, server_hostname=HOST)


def answer(connection: socket.socket) -> bytes:
    """Return all that comes until the other side ends it."""
    heard = b""
    try:
        while data := connection.recv(4096):
            heard += data
            if b"PONG" in data or b"-ERR" in data:
                break
    except OSError:
        pass
    return heard
