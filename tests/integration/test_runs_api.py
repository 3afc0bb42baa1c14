"""What the API gives of runs and of dead letters."""

import json
import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from flows.completion import Completion, complete
from tests.asking import ask, get, refused
from tests.webserver import WebServer
from tests.writers import Writer
from web import queries
from web.queries import Reader
from web.sight import EVERYTHING, Sight, seeing

RUNS = "/api/agents/runs"
LETTERS = "/api/agents/dead-letters"
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


@pytest.fixture
def web(shared_web: WebServer) -> WebServer:
    return shared_web


def names(web: WebServer, **query: Any) -> list[str]:
    return [run["workflow_uid"] for run in get(web, RUNS, **query)["runs"]]


def test_runs_are_filtered_by_agent_and_by_when_they_were_active(web: WebServer, writer: Writer) -> None:
    for hour in range(4):
        writer.say("x", run=f"run-{hour}", timestamp=NOON + timedelta(hours=hour), agent_id=f"agent-{hour % 2}")
    assert names(web, agentId="agent-1") == ["run-3", "run-1"]
    assert names(web, agentId="agent") == []
    assert names(web, since="2026-05-04T13:00:00Z", until="2026-05-04T15:00:00Z") == ["run-2", "run-1"]
    assert names(web, agentId="agent-0", until="2026-05-04T14:00:00Z") == ["run-0"]
    assert names(web, state="stale", since="2026-05-04T14:00:00Z") == ["run-3", "run-2"]
    assert names(web, state="running", since="2026-05-04T14:00:00Z") == []


def test_a_run_that_goes_on_for_longer_than_the_time_that_is_asked_for_was_under_way_in_it(
    web: WebServer, writer: Writer
) -> None:
    for run, first, last in (("before", 0, 1), ("into", 1, 3), ("within", 3, 4), ("out", 4, 9), ("over", 1, 10)):
        for hour in (first, last):
            writer.say("x", run=run, timestamp=NOON + timedelta(hours=hour))
    writer.say("x", run="after", timestamp=NOON + timedelta(hours=5))
    asked = {"since": "2026-05-04T14:30:00Z", "until": "2026-05-04T17:00:00Z"}
    assert names(web, **asked) == ["over", "out", "within", "into"]
    assert names(web, until="2026-05-04T13:00:00Z") == ["before"]
    assert names(web, state="stale", until="2026-05-04T13:00:01Z") == ["over", "into", "before"]
    pages = [get(web, RUNS, **asked, limit=1)]
    while pages[-1]["next"]:
        pages.append(get(web, pages[-1]["next"]))
    assert [run["workflow_uid"] for page in pages for run in page["runs"]] == ["over", "out", "within", "into"]


def completed(uid: str, hour: int, phase: str = "Succeeded") -> Completion:
    end = NOON + timedelta(hours=hour)
    return Completion("agents", uid, f"{uid}-name", None, phase, end - timedelta(minutes=30), end, end)


def test_a_run_that_ended_before_it_said_anything_is_listed_by_its_end(web: WebServer, writer: Writer) -> None:
    for hour in (0, 2, 4):
        writer.say("x", run=f"loud-{hour}", timestamp=NOON + timedelta(hours=hour))
    with psycopg.connect(web.database) as connection:
        for hour in (1, 3):
            complete(connection, completed(f"silent-{hour}", hour))
        complete(connection, completed("failed", 5, "Failed"))
    everything = ["failed", "loud-4", "silent-3", "loud-2", "silent-1", "loud-0"]
    assert names(web) == everything
    assert names(web, workflowNamespace="agents") == everything
    assert names(web, state="succeeded") == ["silent-3", "silent-1"]
    assert names(web, q="silent-3-name") == ["silent-3"]
    assert names(web, since="2026-05-04T14:00:00Z", until="2026-05-04T15:00:00Z") == ["silent-3", "loud-2"]
    assert names(web, until="2026-05-04T14:30:00Z") == ["loud-2", "silent-1", "loud-0"]
    pages = [get(web, RUNS, limit=1)]
    while pages[-1]["next"]:
        pages.append(get(web, pages[-1]["next"]))
    assert [run["workflow_uid"] for page in pages for run in page["runs"]] == everything
    for query in ("", "?state=failed", "?q=failed"):
        page = ask(web, f"/agents{query}")[1].decode()
        (row,) = re.findall(r'<li class="run[^>]*data-run="failed".*?</li>', page, re.DOTALL)
        assert "no message yet" in row
        assert 'data-timestamp="2026-05-04T17:00:00' in row
        assert 'data-first="2026-05-04T16:30:00' in row
    # What it has said counts from then on, though that was earlier.
    writer.say("x", run="silent-3", timestamp=NOON + timedelta(minutes=30))
    assert names(web) == ["failed", "loud-4", "loud-2", "silent-1", "silent-3", "loud-0"]


@pytest.mark.parametrize("path", [RUNS, LETTERS, "/api/agents/messages?channel=general", "/agents", "/agents/general"])
def test_a_time_that_ends_before_it_begins_is_refused(web: WebServer, path: str) -> None:
    asked = f"{path}{'&' if '?' in path else '?'}since=2026-05-04T13:00:00Z&until=2026-05-04T12:59:59Z"
    response, body = ask(web, asked)
    assert response.status == 400
    assert "until is before since: nothing lies between them." in body.decode()


def test_text_of_runs_is_found_in_any_case_and_script(web: WebServer, writer: Writer) -> None:
    writer.say("ОШИБКА соединения", run="a")
    writer.say("数据库连接错误", run="b")
    assert names(web, q="ошибка") == ["a"]
    assert names(web, q="连接") == ["b"]
    assert names(web, q="%") == []


def test_what_is_rare_among_many_runs_is_found_page_by_page(web: WebServer) -> None:
    with psycopg.connect(web.database) as connection:
        connection.execute(
            "INSERT INTO workflow_comms.runs (workflow_namespace, workflow_uid, workflow_name, agents, last_at)"
            " SELECT 'agents', 'uid-' || n, CASE WHEN n IN (1, 3500) THEN 'needle' ELSE 'hay' END,"
            " ARRAY[CASE WHEN n = 4200 THEN 'seldom' ELSE 'planner' END], now() - n * interval '1 minute'"
            " FROM generate_series(1, 4400) AS n"
        )
    for query, found in (({"q": "NEEDLE"}, ["uid-1", "uid-3500"]), ({"agentId": "seldom"}, ["uid-4200"])):
        pages = [get(web, RUNS, **query)]
        while pages[-1]["next"]:
            pages.append(get(web, pages[-1]["next"]))
        assert [run["workflow_uid"] for page in pages for run in page["runs"]] == found
        assert len(pages) == 9
    with psycopg.connect(web.database) as connection:
        # Of one namespace, and with all that is wanted on the first page.
        connection.execute("UPDATE workflow_comms.runs SET workflow_namespace = 'b' WHERE workflow_uid = 'uid-3500'")
    page = get(web, RUNS, q="needle", workflowNamespace="b", limit=1)
    assert [run["workflow_uid"] for run in page["runs"]] == ["uid-3500"]
    assert page["next"] is None


@pytest.mark.parametrize("sight", [EVERYTHING, Sight(("a",)), Sight(("a", "b"))], ids=["all", "one", "several"])
@pytest.mark.parametrize("limit", [1, 2, 50])
def test_of_so_many_runs_that_are_looked_at_those_that_fit_are_listed_and_where_to_go_on(
    database: str, monkeypatch: pytest.MonkeyPatch, sight: Sight, limit: int
) -> None:
    monkeypatch.setattr(queries, "LOOKED_AT", 4)
    with psycopg.connect(database) as connection:
        # Several at one moment, and those that fit at the beginning and at the end of what is looked at.
        connection.execute(
            "INSERT INTO workflow_comms.runs (workflow_namespace, workflow_uid, workflow_name, agents, last_at)"
            " SELECT (ARRAY['a', 'b', 'c'])[1 + n % 3], 'uid-' || n, CASE WHEN n % 4 < 2 THEN 'needle' ELSE 'hay' END,"
            " '{planner}', now() - n / 3 * interval '1 minute' FROM generate_series(0, 40) AS n"
        )
    with closing(Reader(database, timedelta(minutes=15))) as reader, seeing(sight):
        every = reader.runs(limit=100).runs
        expected = [run.key for run in every if run.workflow_name == "needle"]
        found: list[tuple[str, str]] = []
        pages = 1
        listing = reader.runs(q="needle", limit=limit)
        while listing.next is not None:
            found += [run.key for run in listing.runs]
            assert pages <= len(every)
            listing, pages = reader.runs(q="needle", limit=limit, before=listing.next), pages + 1
        found += [run.key for run in listing.runs]
    assert found == expected
    assert pages >= len(every) // 4


@pytest.mark.parametrize("path", [RUNS, f"{RUNS}/x", LETTERS])
@pytest.mark.parametrize("query", ["agent=x", "runId=x", "channel=run", "limit=1&limit=2", "workflownamespace=x"])
def test_a_parameter_that_is_none_is_named(web: WebServer, path: str, query: str) -> None:
    problem = refused(ask(web, f"{path}?{query}"))
    assert (problem["status"], problem["parameter"]) == (400, query.partition("=")[0])


@pytest.mark.parametrize(
    ("path", "name"), [(RUNS, "since"), (RUNS, "until"), (LETTERS, "since"), (LETTERS, "replayed")]
)
def test_a_wrong_value_is_named(web: WebServer, path: str, name: str) -> None:
    assert refused(ask(web, f"{path}?{name}=x"))["parameter"] == name


def test_one_run_says_what_it_comes_to(web: WebServer, writer: Writer) -> None:
    writer.say("run-started", kind="status", attrs={"status": "started"}, timestamp=NOON)
    writer.say("a", "b", agent_id="executor", timestamp=NOON + timedelta(minutes=1))
    writer.say("c", agent_id="executor", timestamp=NOON + timedelta(minutes=2), attrs={"source": "backfill"})
    for thread, minute, used in (("t1", 3, 10), ("t1", 4, 25), ("t2", 3, 100)):
        usage = {"input_tokens": used, "output_tokens": 1, "note": "x", "odd_tokens": "many", "huge_tokens": 10**40}
        attrs = {"thread_id": thread, "usage": usage, "event_type": "turn.completed", "source": "live"}
        writer.say("Turn completed", kind="status", attrs=attrs, timestamp=NOON + timedelta(minutes=minute))
    writer.say("done", kind="status", attrs={"status": "succeeded"}, timestamp=NOON + timedelta(minutes=10))
    writer.say("claimed", channel="general")
    run = get(web, f"{RUNS}/run-1")
    assert run["duration_seconds"] == 600
    assert run["tokens"] == {"input_tokens": 125, "output_tokens": 2}
    assert run["sources"] == {"live": 7, "backfilled": 1}
    voices = [(voice["agent_id"], voice["kind"], voice["messages"], voice["backfilled"]) for voice in run["voices"]]
    assert voices == [("planner", "status", 5, 0), ("executor", "message", 3, 1)]
    with psycopg.connect(web.database) as connection:
        told = '{"tokens": {"total": {"input_tokens": 700}}}'
        connection.execute("UPDATE workflow_comms.runs SET attrs = %s", [told])
    assert get(web, f"{RUNS}/run-1")["tokens"] == {"input_tokens": 700, "output_tokens": 2}
    assert run["reconciliation"] is None
    assert (run["state"], run["messages"], run["pruned"]) == ("succeeded", 8, 0)


def test_where_a_run_is_completed_is_told_to_whoever_asks_otherwise(web: WebServer, writer: Writer) -> None:
    writer.say("a")
    for name in ("run-1", "nobody", "-"):
        response, body = answer = ask(web, f"{RUNS}/{name}/complete")
        problem = refused(answer)
        assert (problem["status"], response.headers["Allow"]) == (405, "POST")
        assert "takes POST" in json.loads(body)["error"]
    # A run may be called so.
    writer.say("b", run="run-1/complete")
    assert get(web, f"{RUNS}/run-1%2Fcomplete")["workflow_uid"] == "run-1/complete"


def test_one_run_says_what_became_of_its_reconciliation(web: WebServer, writer: Writer) -> None:
    writer.say("a")
    with psycopg.connect(web.database) as connection:
        connection.execute(
            """
            INSERT INTO workflow_comms.reconcile_queue
                (workflow_namespace, workflow_uid, workflow_name, payload, state, attempts, report)
            VALUES ('agents', 'run-1', 'run-1', '{}', 'done', 2, '{"inserted": 3}')
            """
        )
    try:
        run = get(web, f"{RUNS}/run-1")
        told = run["reconciliation"]
        assert (told["state"], told["attempts"], told["report"]) == ("done", 2, {"inserted": 3})
        assert run["tokens"] is None
    finally:
        with psycopg.connect(web.database) as connection:
            connection.execute("DELETE FROM workflow_comms.reconcile_queue")


@pytest.fixture
def letters(web: WebServer) -> None:
    """Put dead letters away, as the flow does."""
    with psycopg.connect(web.database) as connection:
        connection.execute("TRUNCATE workflow_comms.dead_letters")
        for number in range(5):
            connection.execute(
                """
                INSERT INTO workflow_comms.dead_letters
                    (stream_seq, subject, headers, payload, reason, detail, dedupe_key, first_seen_at, replayed_at)
                VALUES (%(number)s, %(subject)s, '{"Nats-Msg-Id": "x"}', %(payload)s, %(reason)s, 'why', %(key)s,
                    %(at)s, %(replayed)s)
                """,
                {
                    "number": number,
                    "subject": f"workflow.agents.run-{number % 2}_.uid.agent.a.message",
                    "payload": b"\xff\x00" + b"x" * 5_000,
                    "reason": "not_json" if number else "too_large",
                    "key": str(number),
                    # Two at the same time, so that a cursor by time alone would lose one.
                    "at": NOON + timedelta(hours=number // 2),
                    "replayed": NOON if number == 4 else None,
                },
            )


def seen(page: dict[str, Any]) -> list[int]:
    return [letter["stream_seq"] for letter in page["dead_letters"]]


@pytest.mark.usefixtures("letters")
def test_dead_letters_are_listed_newest_first_with_no_more_than_the_beginning_of_their_payload(web: WebServer) -> None:
    page = get(web, LETTERS)
    assert (seen(page), page["next"]) == ([3, 2, 1, 0], None)
    letter = page["dead_letters"][0]
    assert (letter["reason"], letter["detail"], letter["headers"]) == ("not_json", "why", {"Nats-Msg-Id": "x"})
    assert (letter["size"], letter["preview"]) == (5_002, "\ufffd\0" + "x" * 1_022)
    assert "payload" not in letter


@pytest.mark.usefixtures("letters")
def test_dead_letters_are_filtered_and_paged(web: WebServer) -> None:
    assert seen(get(web, LETTERS, replayed="1")) == [4, 3, 2, 1, 0]
    assert seen(get(web, LETTERS, reason="too_large")) == [0]
    assert seen(get(web, LETTERS, subject="workflow.agents.run-1_")) == [3, 1]
    assert seen(get(web, LETTERS, subject="workflow%")) == []
    assert seen(get(web, LETTERS, since="2026-05-04T13:00:00Z")) == [3, 2]
    assert seen(get(web, LETTERS, until="2026-05-04T13:00:00Z")) == [1, 0]
    page = get(web, LETTERS, limit=1)
    found = seen(page)
    while page["next"]:
        page = get(web, page["next"])
        found += seen(page)
    assert found == [3, 2, 1, 0]


@pytest.mark.parametrize("before", ["x", "2026-05-04T12:00:00Z,1", "2026-05-04T12:00:00Z,1,x", "x,1,x"])
def test_a_place_among_dead_letters_is_taken_from_the_list(web: WebServer, before: str) -> None:
    problem = refused(ask(web, LETTERS, before=before))
    assert (problem["status"], problem["parameter"]) == (400, "before")


def test_dead_letters_are_only_read_here(web: WebServer) -> None:
    for method in ("POST", "PUT", "DELETE"):
        response, body = ask(web, LETTERS, method, headers={"Content-Type": "application/json"})
        assert response.status == 405, body
        assert json.loads(body)["error"]
