"""The live streams where things go wrong: nothing missing, nothing twice, one order for all."""

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection

import psycopg
import pytest

from connectors.loopback import HOST
from tests.processes import freeze
from tests.servers import PostgresServer, fresh_database
from tests.waiting import wait_until
from tests.wandering import DISTURBED
from tests.watcher import EVENTS, Follower, Watcher, said
from tests.webserver import StartWeb, WebServer
from tests.writers import Writer
from web.api import MOST_HISTORY


@pytest.fixture
def writer(database: str) -> Iterator[Writer]:
    with Writer(database) as writer:
        yield writer


def stored(database: str) -> list[int]:
    with psycopg.connect(database) as connection:
        rows = connection.execute("SELECT seq FROM workflow_comms.agent_messages ORDER BY seq").fetchall()
    return [seq for (seq,) in rows]


def test_nothing_is_lost_or_doubled_where_history_meets_live(web: WebServer, database: str) -> None:
    """A writer commits all the time while 40 clients come, so that commits fall into every gap there is."""
    words = ["first"]
    followers = [
        # One that reads too slowly on a busy machine is cut off, and goes on where it was.
        Follower(web.url, until="last", drop_after=lambda: -1, through=DISTURBED, runId="run-1", limit=MOST_HISTORY)
        for _ in range(40)
    ]
    all_follow = threading.Event()
    with Writer(database) as writer:
        writer.say(*words)

        def speak() -> None:
            while not all_follow.is_set():
                words.append(str(len(words)))
                writer.say(words[-1])
            words.append("last")
            writer.say("last")

        speaking = threading.Thread(target=speak)
        speaking.start()
        for follower in followers:
            follower.start()
            assert follower.ready.wait(120)
        all_follow.set()
        speaking.join()
    assert len(words) > 40
    for follower in followers:
        follower.join(300)
        assert said(follower.events) == words


def test_clients_that_drop_and_resume_see_everything_once_in_one_order(start_web: StartWeb, database: str) -> None:
    """Four writers hold their lock for random times; clients wander between two webs."""
    webs = [start_web(DATABASE_URL=database), start_web(DATABASE_URL=database)]
    with Writer(database) as first:
        first.say("first", workflow_uid="u")
    seed = random.Random(7)
    urls = [web.url for web in webs]
    followers = [
        Follower(*urls, until="last", drop_after=lambda: seed.randint(1, 30), through=DISTURBED, workflowUid="u")
        for _ in range(12)
    ]
    for follower in followers:
        follower.start()
        assert follower.ready.wait(120)

    def speak(name: int) -> None:
        with Writer(database, workflow_uid="u", agent_id=f"agent-{name}") as writer:
            for turn in range(60):
                words = [f"{name}.{turn}.{n}" for n in range(seed.randint(1, 5))]
                writer.say(*words, held=seed.random() * 0.01)

    speakers = [threading.Thread(target=speak, args=(name,)) for name in range(4)]
    for speaker in speakers:
        speaker.start()
    for speaker in speakers:
        speaker.join()
    with Writer(database) as last:
        last.say("last", workflow_uid="u")
    for follower in followers:
        follower.join(300)
        assert [event.data["seq"] for event in follower.events] == stored(database)


def test_a_client_that_does_not_read_is_cut_and_the_others_notice_nothing(
    web: WebServer, writer: Writer, database: str
) -> None:
    writer.say("first")
    follower = Follower(web.url, until="last", drop_after=lambda: -1, runId="run-1")
    follower.start()
    assert follower.ready.wait(120)
    with socket.create_connection((HOST, web.port)) as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.sendall(f"GET {EVENTS}?runId=run-1 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        wait_until(lambda: web.metric("agent_comms_live_subscribers") == 2)

        def is_cut() -> bool:
            writer.say(*["x" * 20_000] * 20)
            return web.metric("agent_comms_live_cut_total") == 1

        wait_until(is_cut, "the cut")
        wait_until(lambda: web.metric("agent_comms_live_subscribers") == 1)
    writer.say("last")
    follower.join(300)
    assert [event.data["seq"] for event in follower.events] == stored(database)


def test_three_hundred_clients_see_the_same(web: WebServer, database: str) -> None:
    with ExitStack() as stack, Writer(database) as writer:
        writer.say("first")
        watchers = [stack.enter_context(Watcher(web.url, runId="run-1")) for _ in range(300)]
        for watcher in watchers:
            watcher.take(1)
        assert web.metric("agent_comms_live_subscribers") == 300
        words = [str(n) for n in range(100)]
        for word in words:
            writer.say(word)
        for watcher in watchers:
            assert said(watcher.take(100)) == words
        assert web.metric("agent_comms_live_cut_total") == 0


def test_clients_that_vanish_are_forgotten(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database, AGENT_COMMS_HEARTBEAT_SECONDS="1")
    for _ in range(50):
        with Watcher(web.url, runId="run-1") as watcher:
            watcher.take_comments(1)
            # A reset instead of a farewell.
            watcher.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    wait_until(lambda: web.metric("agent_comms_live_subscribers") == 0)


def test_postgres_away_is_told_and_everything_comes_once_it_is_back(
    start_web: StartWeb, own_postgres_server: PostgresServer
) -> None:
    with fresh_database(own_postgres_server) as dsn:
        web = start_web(DATABASE_URL=dsn, AGENT_COMMS_HEARTBEAT_SECONDS="1")
        with Writer(dsn) as writer:
            writer.say("one")
        with Watcher(web.url, runId="run-1") as watcher:
            cursor = watcher.take(1)[0].id
            own_postgres_server.stop()
            stale = watcher.take(1)[0]
            assert (stale.name, stale.id, stale.data["stale"]) == ("stale", cursor, True)
            with Watcher(web.url, runId="run-1", limit=5) as late:
                assert late.take(1)[0].name == "stale"
                own_postgres_server.start()
                with Writer(dsn) as writer:
                    writer.say("two", "three")
                    assert watcher.hear("three") == ["two", "three"]
                    assert late.hear("three") == ["one", "two", "three"]
                    writer.say("four")
                    assert watcher.hear("four") == ["four"]
                    assert late.hear("four") == ["four"]


def test_a_listener_that_is_cut_off_comes_back_by_itself(web: WebServer, writer: Writer, database: str) -> None:
    writer.say("one")
    with Watcher(web.url, runId="run-1") as watcher:
        watcher.take(1)
        for turn in range(5):
            with psycopg.connect(database, autocommit=True) as admin:
                cut = admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name LIKE 'agent-comms-%'"
                ).fetchall()
            assert cut
            writer.say(f"again {turn}")
            assert watcher.hear(f"again {turn}") == [f"again {turn}"]


def test_a_postgres_that_takes_questions_and_gives_no_answer_is_told(start_web: StartWeb, database: str) -> None:
    web = start_web(DATABASE_URL=database, AGENT_COMMS_HEARTBEAT_SECONDS="1")
    with Writer(database) as writer, Watcher(web.url, runId="run-1") as watcher:
        writer.say("one")
        watcher.take(1)
        with psycopg.connect(database) as admin:
            row = admin.execute(
                "SELECT pid FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'agent-comms-live'"
            ).fetchone()
        assert row
        os.kill(row[0], signal.SIGSTOP)
        try:
            writer.say("two")
            stale = watcher.take(1)[0]
            assert (stale.name, stale.data["stale"]) == ("stale", True)
        finally:
            os.kill(row[0], signal.SIGCONT)
        assert watcher.hear("two") == ["two"]


def test_sigterm_ends_streams_and_process_within_10_s(web: WebServer, writer: Writer) -> None:
    writer.say("one")
    with ExitStack() as stack:
        watchers = [stack.enter_context(Watcher(web.url, runId="run-1")) for _ in range(20)]
        for watcher in watchers:
            watcher.take(1)
        began = time.monotonic()
        web.stop()
        # Whoever takes longer than its grace is killed by gunicorn, and says no farewell.
        assert time.monotonic() - began < 10
        for watcher in watchers:
            assert watcher.rest() == []
            assert len(watcher.retries) == 2
    assert "Traceback" not in web.log()


def test_a_frozen_postgres_hangs_neither_streams_nor_pages(
    start_web: StartWeb, own_postgres_server: PostgresServer
) -> None:
    """Stopped as a whole, it takes connections and questions and answers none."""
    with fresh_database(own_postgres_server) as dsn:
        web = start_web(DATABASE_URL=dsn, AGENT_COMMS_HEARTBEAT_SECONDS="1")
        with Writer(dsn) as writer, Watcher(web.url, runId="run-1") as watcher:
            writer.say("one")
            watcher.take(1)
            frozen = freeze(own_postgres_server.pid)
            try:
                statuses: list[int] = []
                asking = [threading.Thread(target=lambda: statuses.append(status(web, "/agents"))) for _ in range(20)]
                began = time.monotonic()
                for thread in asking:
                    thread.start()
                for thread in asking:
                    thread.join()
                assert statuses == [503] * 20
                # One that waits for Postgres would wait for ever.
                assert time.monotonic() - began < 60
                stale = watcher.take(1)[0]
                assert (stale.name, stale.data["stale"]) == ("stale", True)
                with Watcher(web.url, runId="run-1", lastEventId=stale.id) as late:
                    assert late.take(1)[0].name == "stale"
                    late.take_comments(late.comments + 1)
                    for pid in frozen:
                        os.kill(pid, signal.SIGCONT)
                    writer.say("two")
                    assert late.hear("two") == ["two"]
                assert watcher.hear("two") == ["two"]
                wait_until(lambda: status(web, "/agents") == 200)
            finally:
                for pid in frozen:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)


def status(web: WebServer, path: str) -> int:
    with closing(HTTPConnection(HOST, web.port, timeout=120)) as connection:
        connection.request("GET", path)
        return connection.getresponse().status
