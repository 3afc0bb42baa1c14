import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.connection import NatsConnection, NatsOptions
from connectors.outbox import Outbox
from connectors.parcel import Parcel, Ticket
from connectors.puback import NotPermitted, PublishError
from connectors.publisher import SILENCE
from connectors.spool import Spool
from tests.integration.test_follow import guarded_stream
from tests.processes import is_stopped
from tests.servers import NatsServer, StreamHandle, fresh_stream
from tests.waiting import wait_until

ROOM = 1024 * 1024


def parcel(number: int, subject: str = "workflow.agents.r.r.agent.a.message") -> Parcel:
    return Parcel(subject, b'{"content":"%d"}' % number, f"m-{number}", "events", number, counts=True)


@contextmanager
def outbox(url: str, folder: Path | None = None, **options: str) -> Iterator[tuple[Outbox, list[str], list[str]]]:
    """An outbox, with what it complains of and what it leaves out."""
    troubles: list[str] = []
    left: list[str] = []

    def leave(parcel: Parcel, error: PublishError) -> None:
        left.append(f"{parcel.line}: {type(error).__name__}")

    opened = Outbox(
        NatsOptions((url,), **options),  # type: ignore[arg-type]  # user and password are texts
        Spool(folder, ROOM),
        on_trouble=lambda error: troubles.append(str(error)),
        on_left=leave,
    )
    opened.start()
    try:
        yield opened, troubles, left
    finally:
        opened.close()


def drained(opened: Outbox) -> bool:
    return opened.drain(time.monotonic() + 120)


def test_everything_is_stored_in_the_order_in_which_it_was_given(stream: StreamHandle) -> None:
    with outbox(stream.url) as (opened, troubles, left):
        for number in range(2000):
            assert opened.add(parcel(number))
        assert drained(opened)
        assert (opened.published, opened.waiting, opened.is_empty) == (2000, 0, True)
        assert (troubles, left) == ([], [])
    assert stream.info().state.messages == 2000


def test_a_message_that_is_taken_for_anothers_is_told(stream: StreamHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    # As if somebody had guessed what nobody can.
    monkeypatch.setattr("connectors.publisher.secrets.token_hex", lambda length: "0" * length)
    with outbox(stream.url) as (opened, troubles, _):
        opened.add(parcel(1))
        assert drained(opened)
        assert troubles == []
    with outbox(stream.url) as (opened, troubles, _):
        opened.add(parcel(2))
        assert drained(opened)
        assert troubles == ["message id conflict: the stream took m-2 for a message that it has already"]


def test_what_may_not_be_published_is_left_out_and_the_rest_is_not(tmp_path: Path) -> None:
    with (
        guarded_stream(tmp_path) as server,
        outbox(server.url, user="agents", password="hunter2") as (opened, _, left),
    ):
        for number in range(10):
            opened.add(parcel(number, "workflow.general.message" if number % 3 == 0 else parcel(0).subject))
        assert drained(opened)
        assert sorted(left) == [f"{number}: {NotPermitted.__name__}" for number in (0, 3, 6, 9)]
        assert opened.published == 6


def test_a_server_that_stands_still_is_away(own_nats_server: NatsServer) -> None:
    with fresh_stream(own_nats_server) as stream, outbox(stream.url) as (opened, _, _):
        opened.add(parcel(1))
        assert drained(opened)
        assert not opened.is_away
        os.kill(own_nats_server.pid, signal.SIGSTOP)
        try:
            wait_until(lambda: is_stopped(own_nats_server.pid))
            opened.add(parcel(2))
            wait_until(lambda: opened.is_away, "the outbox to notice")
        finally:
            os.kill(own_nats_server.pid, signal.SIGCONT)
        assert drained(opened)
        assert not opened.is_away


def test_a_stream_that_is_missing_is_waited_for(own_nats_server: NatsServer) -> None:
    with outbox(own_nats_server.url) as (opened, troubles, left):
        opened.add(parcel(1))
        wait_until(lambda: "no stream takes workflow.agents.r.r.agent.a.message" in troubles, "a complaint")
        with fresh_stream(own_nats_server):
            assert drained(opened)
        assert left == []


def test_what_is_not_acknowledged_is_left_for_the_next(own_nats_server: NatsServer, tmp_path: Path) -> None:
    with fresh_stream(own_nats_server) as stream:
        with outbox(stream.url, tmp_path / "spool") as (opened, _, _):
            opened.add(parcel(1))
            assert drained(opened)
            own_nats_server.stop()
            for number in range(2, 50):
                opened.add(parcel(number))
            assert not opened.drain(time.monotonic() + 0.1)
        own_nats_server.start()
        with outbox(stream.url, tmp_path / "spool") as (opened, _, _):
            assert drained(opened)
            assert stream.info().state.messages == 49


def test_a_server_that_acknowledges_nothing_is_told(
    own_nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.publisher.SILENT_S", 0.2)

    async def swallow(connection: NatsConnection) -> None:
        # Somebody takes the messages and stores none, as a stream whose disk is full.
        await connection.client.subscribe("workflow.>")
        await connection.client.flush()

    with NatsConnection(NatsOptions((own_nats_server.url,))) as connection:
        connection.run(swallow(connection))
        with outbox(own_nats_server.url) as (opened, troubles, _):
            opened.add(parcel(1))
            wait_until(lambda: SILENCE in troubles, "word of it")


def test_what_cannot_be_sent_keeps_nothing_else_from_it(stream: StreamHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    take = Spool.take
    failures = [RuntimeError("no")]

    def fail_once(spool: Spool) -> tuple[Ticket, Parcel] | None:
        if failures:
            raise failures.pop()
        return take(spool)

    monkeypatch.setattr(Spool, "take", fail_once)
    with outbox(stream.url) as (opened, troubles, _):
        opened.add(parcel(1))
        assert drained(opened)
        assert troubles == ["a message that waited can't be sent: RuntimeError: no"]


def test_a_message_that_no_stream_takes_is_told_and_has_no_other_sent_again(
    stream: StreamHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.publisher.NO_STREAM_GRACE_S", 0.1)

    bogus = parcel(0, "bogus.agents.r.r.agent.a.message")

    def send(*parcels: Parcel, stored: int) -> None:
        with outbox(stream.url, tmp_path / "spool") as (opened, troubles, _):
            for each in parcels:
                opened.add(each)
            wait_until(lambda: f"no stream takes {bogus.subject}" in troubles, "word of it")
            wait_until(lambda: opened.published == stored, "what a stream takes")

    send(parcel(1), bogus, parcel(2), stored=2)
    send(parcel(3), stored=1)
    send(parcel(4), stored=1)
    assert stream.info().state.messages == 4
