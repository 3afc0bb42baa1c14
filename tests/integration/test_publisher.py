import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from connectors.bootstrap import bootstrap
from connectors.connection import NatsConnection, NatsOptions, NatsUnavailable
from connectors.embedded import EmbeddedNats
from connectors.puback import NoAnswer, NoStream, PubAck, PublishError, TooLarge
from connectors.publisher import Publisher
from flows import topology
from tests.processes import is_stopped
from tests.waiting import wait_until

SUBJECT = "workflow.agents.run-1.uid-1.agent.planner.message"
PATIENCE_S = 90.0


@pytest.fixture
def server(own_nats_server: EmbeddedNats) -> EmbeddedNats:
    with NatsConnection(NatsOptions((own_nats_server.url,))) as connection:
        connection.run(bootstrap(connection.jetstream(), topology.manifests()))
    return own_nats_server


@pytest.fixture
def publisher(server: EmbeddedNats) -> Iterator[Publisher]:
    with Publisher(NatsOptions((server.url,)), patience=PATIENCE_S) as publisher:
        yield publisher


def stored(server: EmbeddedNats) -> int:
    with NatsConnection(NatsOptions((server.url,))) as connection:
        return connection.run(connection.jetstream().stream_info("agent-comms")).state.messages


def send_many(publisher: Publisher, count: int) -> list[Future[PubAck]]:
    """Publish from another thread; returns once a part of it is on its way."""
    futures: list[Future[PubAck]] = []

    def send() -> None:
        futures.extend(publisher.publish_soon(SUBJECT, b"x" * 200, message_id=str(n)) for n in range(count))

    threading.Thread(target=send, daemon=True).start()
    wait_until(lambda: len(futures) > count // 4)
    return futures


def test_a_message_is_in_the_stream_once_it_is_acknowledged(publisher: Publisher, server: EmbeddedNats) -> None:
    ack = publisher.publish(SUBJECT, b'{"content":"hello"}', message_id="m-1", headers={"X-Note": "yes"})
    assert ack == PubAck("agent-comms", 1, duplicate=False)
    with NatsConnection(NatsOptions((server.url,))) as connection:
        message = connection.run(connection.jetstream().get_msg("agent-comms", ack.seq))
    assert (message.subject, message.data) == (SUBJECT, b'{"content":"hello"}')
    assert message.headers is not None
    assert message.headers["X-Note"] == "yes"
    assert message.headers["Nats-Msg-Id"].endswith("-m-1")


def test_nobody_can_guess_the_id_that_the_server_compares(server: EmbeddedNats) -> None:
    options = NatsOptions((server.url,))
    for _ in range(2):
        with Publisher(options) as publisher:
            assert not publisher.publish(SUBJECT, b"x", message_id="m-1").duplicate
    assert stored(server) == 2


def test_ids_that_differ_in_white_space_alone_are_two_messages(publisher: Publisher, server: EmbeddedNats) -> None:
    for message_id in ("a", " a", "a\n", "a\r\nNats-Msg-Id: b", "ä", ""):
        assert not publisher.publish(SUBJECT, b"x", message_id=message_id).duplicate
    assert stored(server) == 6


def test_a_retry_is_not_stored_twice(publisher: Publisher, server: EmbeddedNats) -> None:
    publisher.publish(SUBJECT, b"first", message_id="1")
    # A server that stands still takes bytes and answers nothing, until a retry has been sent as well.
    os.kill(server.pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(server.pid), "the server to stand still")
    try:
        sent = publisher._connection.client.stats
        before = sent["out_msgs"]
        future = publisher.publish_soon(SUBJECT, b"second", message_id="2")
        wait_until(lambda: sent["out_msgs"] >= before + 2, "a retry")
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert future.result(PATIENCE_S).seq == 2
    assert publisher.publish(SUBJECT, b"third", message_id="3").seq == 3
    assert stored(server) == 3


def test_the_same_id_on_another_subject_is_another_message(publisher: Publisher, server: EmbeddedNats) -> None:
    publisher.publish(SUBJECT, b"x", message_id="1")
    other = publisher.publish(f"{SUBJECT}-too", b"x", message_id="1")
    assert not other.duplicate
    assert stored(server) == 2


def test_the_same_id_again_is_a_duplicate(publisher: Publisher) -> None:
    first = publisher.publish(SUBJECT, b"x", message_id="1")
    again = publisher.publish(SUBJECT, b"x", message_id="1")
    assert (again.seq, again.duplicate) == (first.seq, True)


def test_many_in_flight_are_stored_in_order(publisher: Publisher, server: EmbeddedNats) -> None:
    futures = [publisher.publish_soon(SUBJECT, b"x", message_id=str(number)) for number in range(5000)]
    publisher.flush()
    assert [future.result().seq for future in futures] == list(range(1, 5001))
    assert stored(server) == 5000


def test_no_more_are_in_flight_than_allowed(server: EmbeddedNats) -> None:
    with Publisher(NatsOptions((server.url,)), max_in_flight=10) as publisher:
        os.kill(server.pid, signal.SIGSTOP)
        wait_until(lambda: is_stopped(server.pid), "the server to stand still")
        try:
            futures: list[Future[PubAck]] = []

            def send() -> None:
                futures.extend(publisher.publish_soon(SUBJECT, b"x", message_id=str(n)) for n in range(11))

            thread = threading.Thread(target=send)
            thread.start()
            wait_until(lambda: bool(publisher._room._waiters))  # type: ignore[attr-defined]
            assert len(futures) == 10
        finally:
            os.kill(server.pid, signal.SIGCONT)
        thread.join(PATIENCE_S)
        assert [future.result(PATIENCE_S).seq for future in futures] == list(range(1, 12))


@pytest.mark.parametrize("signal_sent", ["restart", "kill"])
def test_a_restart_of_the_server_loses_nothing_and_doubles_nothing(
    publisher: Publisher, server: EmbeddedNats, signal_sent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What was on its way is sent again with the reconnect, not some time later.
    monkeypatch.setattr("connectors.publisher.RETRY_S", 2 * PATIENCE_S)
    futures = send_many(publisher, 8000)
    if signal_sent == "kill":
        server.kill()
        server.start()
    else:
        server.restart()
    wait_until(lambda: len(futures) == 8000)
    publisher.flush()
    assert [future.result().seq for future in futures] == list(range(1, 8001))
    assert stored(server) == 8000


@pytest.mark.parametrize("how", ["restart", "reload"])
def test_credentials_that_were_refused_for_a_while_work_again(tmp_path: Path, how: str) -> None:
    users = "authorization {{ users: [{{user: a, password: {}}}] }}"
    server = EmbeddedNats(tmp_path, settings=users.format("right"))
    other = EmbeddedNats(tmp_path, server.port, settings=users.format("other"))
    options = NatsOptions((server.url,), user="a", password="right")

    def change_users(configured: EmbeddedNats) -> None:
        configured.prepare()
        if how == "restart":
            server.kill()
            other.kill()
            configured.start()
        else:
            # The client is thrown out in the middle of things and gives up; another one is made.
            os.kill(server.pid, signal.SIGHUP)

    with server, Publisher(options, patience=PATIENCE_S) as publisher:
        with NatsConnection(options) as connection:
            connection.run(bootstrap(connection.jetstream(), topology.manifests()))
        client = publisher._connection.client
        change_users(other)
        wait_until(lambda: "Authorization" in publisher._connection.last_error)
        future = publisher.publish_soon(SUBJECT, b"x", message_id="1")
        change_users(server)
        assert future.result(PATIENCE_S).seq == 1
        assert publisher.publish(SUBJECT, b"x", message_id="2").seq == 2
        assert (publisher._connection.client is client) is (how == "restart")


def test_no_stream_is_one_line(publisher: Publisher) -> None:
    with pytest.raises(NoStream, match=r"^no stream takes elsewhere\.message$"):
        publisher.publish("elsewhere.message", b"x", message_id="1")


def test_a_stream_that_was_there_is_waited_for(server: EmbeddedNats, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.publisher.NO_STREAM_GRACE_S", 0)
    with (
        Publisher(NatsOptions((server.url,)), patience=PATIENCE_S) as publisher,
        NatsConnection(NatsOptions((server.url,))) as connection,
    ):
        publisher.publish(SUBJECT, b"x", message_id="1")
        connection.run(connection.jetstream().delete_stream("agent-comms"))
        future = publisher.publish_soon(SUBJECT, b"x", message_id="2")
        wait_until(lambda: any(message.problem for message in publisher._in_flight.values()))
        connection.run(bootstrap(connection.jetstream(), topology.manifests()))
        assert future.result(PATIENCE_S).seq == 1


def test_a_message_that_the_server_would_hang_up_over_is_one_line(publisher: Publisher) -> None:
    limit = publisher._connection.client.max_payload
    with pytest.raises(TooLarge, match=rf"bytes with its headers; the server takes {limit:,}$"):
        publisher.publish(SUBJECT, b"x" * limit, message_id="1")
    assert publisher.publish(SUBJECT, b"x", message_id="2").seq == 1


def test_a_message_that_just_fits_is_stored(publisher: Publisher) -> None:
    limit = publisher._connection.client.max_payload
    with pytest.raises(TooLarge) as raised:
        publisher.publish(SUBJECT, b"x" * limit, message_id="1")
    overhead = int(str(raised.value).split()[3].replace(",", "")) - limit
    assert publisher.publish(SUBJECT, b"x" * (limit - overhead), message_id="1").seq == 1


def test_a_message_that_the_stream_finds_too_large_is_one_line(publisher: Publisher, server: EmbeddedNats) -> None:
    with NatsConnection(NatsOptions((server.url,))) as connection:
        connection.run(connection.jetstream().add_stream(name="small", subjects=["small"], max_msg_size=100))
    with pytest.raises(TooLarge, match="larger than the stream takes"):
        publisher.publish("small", b"x" * 200, message_id="1")


@pytest.mark.parametrize("subject", ["a b", "a..b", "", "a.>", "a\r\nPUB b 0"])
def test_a_subject_that_is_none_is_one_line(publisher: Publisher, subject: str) -> None:
    with pytest.raises(PublishError) as raised:
        publisher.publish(subject, b"x", message_id="1")
    assert "\n" not in str(raised.value)
    assert publisher.publish(SUBJECT, b"x", message_id="2").seq == 1


def test_a_server_that_is_gone_is_one_line(server: EmbeddedNats) -> None:
    with Publisher(NatsOptions((server.url,)), patience=0.5) as publisher:
        server.stop()
        with pytest.raises(NoAnswer, match=r"^NATS could not be reached for 0\.5 s: ") as raised:
            publisher.publish(SUBJECT, b"x", message_id="1")
        assert "\n" not in str(raised.value)
        server.start()
        wait_until(lambda: publisher._connection.is_connected)
        wait_until(lambda: is_published(publisher), "it to get through in its short time")
        assert stored(server) == 1


def is_published(publisher: Publisher) -> bool:
    try:
        return publisher.publish(SUBJECT, b"x", message_id="1").seq == 1
    except NoAnswer:
        return False


def test_where_nothing_listens_is_one_line() -> None:
    with pytest.raises(NatsUnavailable, match="Connect call failed"):
        Publisher(NatsOptions(("nats://127.0.0.1:1",))).connect()


def test_closing_ends_what_waits(server: EmbeddedNats) -> None:
    publisher = Publisher(NatsOptions((server.url,))).connect()
    server.stop()
    future = publisher.publish_soon(SUBJECT, b"x", message_id="1")
    publisher.close(flush=False)
    with pytest.raises(NoAnswer, match="closed before the server acknowledged"):
        future.result(0)
    with pytest.raises(PublishError, match="not connected"):
        publisher.publish(SUBJECT, b"x", message_id="2")
