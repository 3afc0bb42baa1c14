"""Each credential is exchanged while messages flow, as gitops/README.md says it is done: nothing is lost or refused."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from connectors import authority
from connectors.bootstrap import bootstrap
from connectors.connection import NatsConnection, NatsUnavailable
from connectors.jetstream import JetStreamSource
from connectors.loopback import HOST
from connectors.private import write_private
from connectors.puback import PublishError
from flows import topology
from flows.users import AGENTS, JANGAR, SYSTEM, USERS, WEB, User
from tests.secured import DURABLE, PERSON, STREAM, Client, Look, Secured, Traffic, gets_in
from tests.waiting import PATIENCE_S, wait_until
from web.failure import in_words
from web.link import Link


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.name)
def test_a_key_is_exchanged_while_messages_flow(user: User, secured: Secured, tmp_path: Path) -> None:
    old, following = secured.ring.seeds[user.name]
    link = Link(secured.options(WEB))
    link.start()
    wait_until(lambda: link.start().is_connected, "the pages to be connected")
    with Traffic(secured) as traffic, NatsConnection(secured.options(SYSTEM)) as controller:
        # 1. The Secret takes the key that the server knows already as the next one.
        secured.ring.hand_out(user, following=True)
        assert gets_in(secured.options(user))
        traffic.go_on()
        # 2. The server forgets the old one: whoever is still connected with it is cut, and comes again with the other.
        secured.ring.move_on(user)
        secured.reload()
        kept = secured.options_of(user, old, tmp_path / "kept.nk")
        wait_until(lambda: not gets_in(kept), "the old key to be refused")
        assert gets_in(secured.options_of(user, following, tmp_path / "new.nk"))
        traffic.go_on()
        wait_until(lambda: link.start().is_connected, "the pages to be back")
        # Under one id, so that it is said once however often it is tried.
        wait_until(lambda: says(link, b'{"content": "still here"}'), "the pages to get through")
        wait_until(lambda: controller.is_connected, "the controller to be back")
        assert controller.run(bootstrap(controller.jetstream(), topology.manifests())) == []
        traffic.assert_whole()
        link.close()
        with Look(secured) as look:
            assert look.subjects()[PERSON] == 1
            # While there is somebody to take again what was acked in vain, over the connection that was cut.
            wait_until(lambda: look.left == 0, "everything to be acked")


def says(link: Link, content: bytes) -> bool:
    try:
        link.publish(PERSON, content, "m-1")
    except PublishError:
        return False
    return True


@pytest.mark.parametrize("user", USERS, ids=lambda user: user.name)
def test_a_stolen_key_is_cut_off_at_once(user: User, secured: Secured, tmp_path: Path) -> None:
    old, _ = secured.ring.seeds[user.name]
    with Client(secured.options_of(user, old, tmp_path / "stolen.nk")) as thief:
        secured.ring.move_on(user)
        secured.reload()
        wait_until(lambda: not thief.connection.is_connected, "the thief to be cut off")
        wait_until(lambda: any("authorization violation" in c.lower() for c in thief.complaints), "to be refused")
    for other in USERS:
        secured.ring.hand_out(other)
        assert gets_in(secured.options(other))


def test_the_servers_certificate_is_renewed_and_nobody_is_cut(secured: Secured) -> None:
    with Traffic(secured) as traffic:
        old = secured.ring.ca_file.read_bytes()
        secured.ring.certificate = authority.issue(secured.ring.folder / "renewed", [HOST])
        # Trusted beside the old one before it is used.
        write_private(secured.ring.ca_file, old + secured.ring.certificate.ca.read_bytes())
        secured.reload()
        traffic.go_on()
        write_private(secured.ring.folder / "old.crt", old)
        options = secured.options(AGENTS)
        assert gets_in(options)
        traffic.assert_whole()


def test_clients_come_again_after_the_authority_was_exchanged(secured: Secured) -> None:
    with Traffic(secured) as traffic:
        secured.ring.certificate = authority.issue(secured.ring.folder / "exchanged", [HOST])
        secured.server.security = secured.ring.security()
        secured.server.restart()
        # They trust the old authority alone, and try in vain; then the file that they have mounted is exchanged.
        assert not gets_in(secured.options(AGENTS))
        write_private(secured.ring.ca_file, secured.ring.certificate.ca.read_bytes())
        traffic.go_on()
        traffic.assert_whole()


@pytest.mark.parametrize("shape", ["v1", "v2"])
def test_acks_of_both_shapes_reach_the_consumer(shape: str, tmp_path: Path) -> None:
    settings = "feature_flags { js_ack_fc_v2: true }" if shape == "v2" else ""
    with Secured(tmp_path, settings) as server:
        with Traffic(server) as traffic, Look(server) as look:
            traffic.go_on()
            traffic.assert_whole()
            wait_until(lambda: look.left == 0, "everything to be acked")
        assert (server_reply_tokens(server) > 9) is (shape == "v2")


def server_reply_tokens(server: Secured) -> int:
    """How many tokens the server gives the reply of a message."""
    with Client(server.options(AGENTS)) as speaker, Client(server.options(JANGAR)) as reader:
        speaker.request("workflow.agents.run.uid-9.agent.a.message", b'{"content": "x"}')

        async def reply() -> str:
            js = reader.connection.jetstream()
            puller = await js.pull_subscribe_bind(stream="agent-comms", durable="jangar-agent-comms")
            [message] = await puller.fetch(1, timeout=PATIENCE_S)
            await message.ack_sync()
            return message.reply

        return len(reader.run(reply()).split("."))


def test_who_comes_while_the_authority_is_none_waits_for_it_says_so_once_and_gets_in(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    options = replace(secured.options(WEB), name="late")
    trusted = secured.ring.ca_file.read_bytes()
    write_private(secured.ring.ca_file, b"")
    link = Link(options)
    tries: list[int] = []
    source = JetStreamSource(secured.options(JANGAR, patient=True), STREAM, DURABLE)
    building = threading.Thread(target=lambda: tries.append(len(source.build("read", 0, 1).next_batch())))
    try:
        building.start()
        late = link.start()
        wait_until(lambda: late.last_error and late._failures > 2, "some tries")
        assert late.last_error == f"ca_file: {secured.ring.ca_file} holds no certificate in PEM"
        # Nobody has asked it to stop: it doesn't take the file for an end of its input.
        assert building.is_alive()
        write_private(secured.ring.ca_file, trusted)
        wait_until(lambda: link.is_connected, "the pages to be connected")
        building.join(60)
        assert tries == [0]
    finally:
        link.close()
        for partition in source._partitions:
            partition.close()
    told = [record for record in caplog.records if getattr(record, "connection", "") == "late"]
    assert [record.getMessage() for record in told] == [f"nats: {late.last_error}"]


def test_who_is_connected_says_once_that_a_file_is_none_and_comes_back_with_what_it_had(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    with NatsConnection(secured.options(AGENTS)) as connection:
        trusted = secured.ring.ca_file.read_bytes()
        write_private(secured.ring.ca_file, b"no certificate")
        secured.server.stop()
        wait_until(lambda: connection._failures > 2, "some tries")
        secured.server.start()
        wait_until(lambda: connection.is_connected, "the connection")
        write_private(secured.ring.ca_file, trusted)
    told = f"nats: ca_file: {secured.ring.ca_file} holds no certificate in PEM; it goes on with what it had"
    assert [record.getMessage() for record in caplog.records].count(told) == 1


def test_where_the_client_gives_up_while_a_file_is_none_the_connection_is_made_anew_once_it_is_right(
    secured: Secured, caplog: pytest.LogCaptureFixture
) -> None:
    with NatsConnection(secured.options(AGENTS)) as connection:
        trusted = secured.ring.ca_file.read_bytes()
        write_private(secured.ring.ca_file, b"no certificate")
        # As it does by itself where its key is refused.
        connection.run(connection.client.close())
        told = f"ca_file: {secured.ring.ca_file} holds no certificate in PEM"
        wait_until(lambda: connection.last_error == told and connection._failures > 2, "some tries")
        write_private(secured.ring.ca_file, trusted)
        wait_until(lambda: connection.is_connected, "the connection")
    assert [record.getMessage() for record in caplog.records].count(f"nats: {told}") == 1


def test_a_command_that_does_not_trust_the_server_says_so_in_one_line(secured: Secured) -> None:
    other = authority.issue(secured.ring.folder / "other", [HOST])
    with pytest.raises(NatsUnavailable, match="CERTIFICATE_VERIFY_FAILED") as raised:
        NatsConnection(replace(secured.options(AGENTS), ca_file=other.ca)).connect(wait=False)
    failure = in_words(raised.value)
    assert failure is not None
    assert str(failure).startswith("NATS_CA_FILE: NATS shows a certificate that is not trusted: ")
    assert "_ssl" not in str(failure)


def test_what_a_stolen_seed_of_the_controller_changes_is_named_and_put_right(secured: Secured) -> None:
    with Client(secured.options(SYSTEM)) as client, NatsConnection(secured.options(SYSTEM)) as controller:
        name = topology.stream().stream_name
        config = client.request(f"$JS.API.STREAM.INFO.{name}")["config"]
        # A copy of everything to where the thief listens, and room for one message only.
        config |= {"republish": {"src": ">", "dest": "_INBOX.x.>"}, "max_msgs": 1}
        answer = client.request(f"$JS.API.STREAM.UPDATE.{name}", json.dumps(config).encode())
        assert "error" not in answer
        left = controller.run(bootstrap(controller.jetstream(), topology.manifests()))
        assert {difference.field for difference in left} == {"maxMsgs", "republish"}
        assert controller.run(bootstrap(controller.jetstream(), topology.manifests(), update=True)) == []
        config = client.request(f"$JS.API.STREAM.INFO.{name}")["config"]
        assert (config["max_msgs"], config.get("republish")) == (-1, None)
