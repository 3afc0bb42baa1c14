"""What readers see of a run that was recovered from its artifacts."""

import json

import pytest

from tests.artifacts import Archive, Stored, completion, live, recover, store
from tests.sidecar import event, said, talk
from tests.watcher import Watcher
from tests.webserver import WebServer

LINES = "\n".join(talk(2)).encode()


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


@pytest.fixture
def database(shared_web: WebServer) -> str:
    return shared_web.database


def read(web: WebServer, path: str) -> str:
    status, body = web.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert status == 200
    return body.decode()


def test_a_run_says_that_it_was_recovered_and_what_it_took(web: WebServer, archive: Archive) -> None:
    archive.complete(completion("run-1", [archive.add("run-1", LINES)]))
    recover(web.database, archive.folder)
    page = read(web, "/agents/run-1")
    assert "recovered from artifacts" in page
    assert "partly recovered" not in page
    account = read(web, "/agents/run-1/account")
    assert '<dt>Out</dt><dd class="number">1</dd>' in account
    assert "Partial" not in account
    assert "<dt>Not complete</dt>" not in page
    assert 'title="Link to this message, recovered from the run' in page
    assert "Succeeded after 10 min" in page


def test_a_run_of_which_a_part_came_live_says_so(web: WebServer, archive: Archive) -> None:
    archive.add("run-1", LINES)
    store(web.database, live(LINES, "run-1", upto=8))
    recover(web.database, archive.folder)
    page = read(web, "/agents/run-1")
    assert "partly recovered from artifacts" in page
    assert "<dt>Not complete</dt><dd>no final status; " in page


def test_a_run_that_came_whole_says_nothing_of_it(web: WebServer, archive: Archive) -> None:
    archive.complete(completion("run-1", [archive.add("run-1", LINES)]))
    store(web.database, live(LINES, "run-1", ends=True))
    recover(web.database, archive.folder)
    page = read(web, "/agents/run-1")
    assert "recovered" not in page.lower()


def test_the_api_tells_the_same(web: WebServer, archive: Archive) -> None:
    archive.add("run-1", LINES)
    recover(web.database, archive.folder)
    run = json.loads(read(web, "/api/agents/runs/run-1"))
    report = run["attrs"]["backfill"]
    assert (report["recovered"], report["live_percent"], report["complete"]) == (run["messages"], 0.0, False)
    assert (run["tokens"]["output_tokens"], run["tokens_partial"]) == (1, True)
    assert [turn["turn"] for turn in run["attrs"]["tokens"]["turns"]] == [1, 2]


def turn(thread: str, used: int) -> bytes:
    lines = [
        event("thread.started", thread_id=thread),
        event("turn.started"),
        said(0, f"by {thread}"),
        event("turn.completed", usage={"input_tokens": used, "output_tokens": 1}),
    ]
    return "\n".join(lines).encode()


def test_a_backfill_that_reads_a_part_takes_no_tokens_away(web: WebServer, archive: Archive) -> None:
    one, other = turn("t-1", 1_000), turn("t-2", 2_000)
    store(web.database, [*live(one, "run-1", agent="planner"), *live(other, "run-1", agent="executor")])
    before = json.loads(read(web, "/api/agents/runs/run-1"))
    archive.complete(completion("run-1", [archive.add("run-1", one), "run-1/other/implementation-events.tgz"]))
    recover(web.database, archive.folder)
    after = json.loads(read(web, "/api/agents/runs/run-1"))
    assert after["attrs"]["backfill"]["absent"]
    assert after["tokens"] == before["tokens"] == {"input_tokens": 3_000, "output_tokens": 2}
    (listed,) = json.loads(read(web, "/api/agents/runs"))["runs"]
    assert "total" not in listed["attrs"]["tokens"]
    assert listed["attrs"] == after["attrs"]
    assert "3,000" in read(web, "/agents/run-1/account")
    assert "Tokens" not in read(web, "/agents/run-1").partition("</dl>")[0]


def test_who_watches_a_run_is_told_what_is_recovered(web: WebServer, archive: Archive, stored: Stored) -> None:
    archive.add("run-1", LINES)
    made = live(LINES, "run-1", ends=True)
    store(web.database, made[::3])
    with Watcher(web.url, runId="run-1", limit=100) as watcher:
        watcher.take(len(made[::3]))
        recover(web.database, archive.folder)
        heard = watcher.take(len(made) - len(made[::3]))
    assert {event.data["attrs"]["source"] for event in heard} == {"backfill"}
    # Each says where it belongs.
    assert [event.said for event in sorted(heard, key=lambda event: (event.data["timestamp"], event.data["seq"]))] == [
        content for at, content in enumerate(stored.contents("run-1")) if at % 3
    ]
