"""Many watch at once: what some of them do, the others don't notice."""

import threading
import time

import psycopg

from tests.crowd import Crowd
from tests.waiting import wait_until
from tests.webserver import WebServer
from tests.writers import Writer

KIB = 1024


def test_three_hundred_vanish_and_fifty_never_read_and_the_others_notice_nothing(web: WebServer, database: str) -> None:
    pause = 0.02
    storing_ms: list[float] = []
    all_are_cut = threading.Event()
    with (
        Writer(database) as writer,
        Crowd(web.url, 100, runId="run-1") as readers,
        Crowd(web.url, 300, runId="run-1") as fleeting,
        Crowd(web.url, 50, window=4 * KIB, runId="run-1"),
    ):
        wait_until(lambda: web.metric("agent_comms_live_subscribers") == 450)

        def speak() -> None:
            while not all_are_cut.is_set():
                began = time.time_ns()
                writer.say(str(began))
                storing_ms.append((time.time_ns() - began) / 1e6)
                writer.say("x" * 50_000)
                time.sleep(pause)

        speaking = threading.Thread(target=speak)
        speaking.start()

        def have_heard() -> bool:
            # Those who are to vanish read until then, or they would be cut as well where this takes long.
            fleeting.read(0)
            return readers.all_have(20)

        assert readers.read_until(have_heard)
        fleeting.vanish()
        try:
            assert readers.read_until(lambda: web.metric("agent_comms_live_cut_total") >= 50)
        finally:
            all_are_cut.set()
            speaking.join()
        with psycopg.connect(database) as connection:
            rows = connection.execute("SELECT seq FROM workflow_comms.agent_messages ORDER BY seq").fetchall()
        stored = [seq for (seq,) in rows]
        assert readers.read_until(lambda: readers.all_have(len(stored)))
        assert all(list(member.seqs) == stored for member in readers.members)
        # Nobody of them was held up, though this machine may be busy: then whoever stores is slow, too.
        assert max(max(member.took) for member in readers.members) < 5_000 + 10 * max(storing_ms)
        wait_until(lambda: web.metric("agent_comms_live_subscribers") == 100)
        assert web.metric("agent_comms_live_cut_total") == 50


def test_an_idle_client_costs_little_memory(web: WebServer) -> None:
    with Crowd(web.url, 50, runId="run-1"):
        before = web.metric("process_resident_memory_bytes")
    with Crowd(web.url, 1_000, runId="run-1") as crowd:
        assert crowd.read_until(lambda: web.metric("agent_comms_live_subscribers") >= 1_000)
        assert (web.metric("process_resident_memory_bytes") - before) / 1_000 < 100 * KIB
