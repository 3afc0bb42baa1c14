"""What readers are told of a run: its state, stale ones included, and what of it is gone."""

import json
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection

import psycopg
import pytest

from connectors.loopback import HOST
from flows.completion import Completion, complete
from flows.retention import prune
from tests.waiting import PATIENCE_S
from tests.webserver import StartWeb, WebServer
from tests.writers import Writer

MINUTES = 30


@pytest.fixture
def web(start_web: StartWeb, database: str) -> WebServer:
    return start_web(DATABASE_URL=database, AGENT_COMMS_STALE_MINUTES=str(MINUTES))


def read(web: WebServer, path: str) -> str:
    with closing(HTTPConnection(HOST, web.port, timeout=PATIENCE_S)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read().decode()


def states(web: WebServer, query: str = "") -> dict[str, str]:
    runs = json.loads(read(web, f"/api/agents/runs{query}"))["runs"]
    return {run["workflow_uid"]: run["state"] for run in runs}


def test_a_running_run_that_is_silent_for_too_long_is_stale_wherever_it_is_shown(
    web: WebServer, writer: Writer
) -> None:
    now = datetime.now(UTC)
    writer.say("started", run="silent", kind="status", timestamp=now - timedelta(minutes=MINUTES + 1))
    writer.say("started", run="slow", kind="status", timestamp=now - timedelta(minutes=MINUTES - 5))
    writer.say("done", run="over", kind="status", timestamp=now - timedelta(days=1))
    assert states(web) == {"silent": "stale", "slow": "running", "over": "succeeded"}
    assert states(web, "?state=stale") == {"silent": "stale"}
    assert states(web, "?state=running") == {"slow": "running"}
    assert json.loads(read(web, "/api/agents/runs/silent"))["state"] == "stale"
    assert "Silent for" in read(web, "/agents/silent")
    assert 'data-state="stale"' in read(web, "/agents")
    # Nothing was written for it: what speaks again runs again.
    writer.say("still here", run="silent")
    assert states(web) == {"silent": "running", "slow": "running", "over": "succeeded"}


def test_the_controllers_word_on_a_run_is_shown(web: WebServer, writer: Writer, database: str) -> None:
    now = datetime.now(UTC)
    writer.say("started", run="run-1", kind="status", timestamp=now - timedelta(minutes=2))
    with psycopg.connect(database) as connection:
        complete(connection, Completion("agents", "run-1", "run-1", None, "Error", None, now, now))
        complete(connection, Completion("agents", "mute", "mute", None, "", None, now, now))
    assert states(web, "?state=failed") == {"run-1": "failed"}
    assert "Failed after 2 min" in read(web, "/agents/run-1")
    mute = json.loads(read(web, "/api/agents/runs/mute"))
    assert (mute["state"], mute["messages"], mute["pruned"]) == ("unknown", 0, 0)
    assert "Nothing that this run said has been stored." in read(web, "/agents/mute")


def test_a_run_that_is_over_and_nobody_knows_how_is_shown_as_that(web: WebServer, writer: Writer) -> None:
    now = datetime.now(UTC)
    writer.say("started", run="run-1", kind="status", timestamp=now - timedelta(minutes=90))
    attrs = {"status": "unknown"}
    writer.say(
        "ended; how is not known", run="run-1", kind="status", timestamp=now - timedelta(minutes=80), attrs=attrs
    )
    assert states(web, "?state=unknown") == {"run-1": "unknown"}
    assert "Ended after 10 min, outcome unknown" in read(web, "/agents/run-1")
    assert json.loads(read(web, "/api/agents/runs/run-1"))["finished_at"]


def test_a_run_says_how_much_of_it_is_gone(web: WebServer, writer: Writer, database: str) -> None:
    writer.say("first", "second", "third", run="run-1")
    assert "gone" not in read(web, "/agents/run-1")
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "UPDATE workflow_comms.agent_messages SET created_at = now() - interval '9 days' WHERE content <> 'third'"
        )
    prune(database, datetime.now(UTC) - timedelta(days=2))
    (run,) = json.loads(read(web, "/api/agents/runs"))["runs"]
    assert (run["messages"], run["pruned"]) == (3, 2)
    page = read(web, "/agents/run-1")
    assert "What this run said before is gone: 2 messages older than what is kept." in page
    assert "third" in page
    prune(database, datetime.now(UTC) + timedelta(days=2))
    page = read(web, "/agents/run-1")
    assert "This run's messages are gone: they were older than what is kept." in page
    assert json.loads(read(web, "/api/agents/runs/run-1"))["pruned"] == 3


def test_files_that_were_changed_are_counted_once_and_by_what_git_prints_of_them(
    web: WebServer, writer: Writer
) -> None:
    def answer(name: str, asked: object, output: str = "") -> None:
        tool = {"name": name, "input": asked, "output": output, "exit_code": 0}
        writer.say("done", kind="tool_result", role="tool", attrs={"tool": tool})

    def diff(path: str, added: int) -> str:
        return "\n".join(
            [f"diff --git a/{path} b/{path}", f"--- a/{path}", f"+++ b/{path}", "@@ -1 +1 @@", "-a", *["+b"] * added]
        )

    answer("file_change", {"changes": [{"path": "/workspace/repo/src/app.py", "kind": "update"}]})
    for added in (7, 2):
        answer("shell", {"command": "bash -lc 'git diff'"}, diff("src/app.py", added))
    answer("shell", {"command": "cat tests/fixtures/x.patch"}, diff("src/other.py", 4))
    page = read(web, "/agents/run-1/changes")
    assert '<span class="fact">1 file</span>' in page
    sums = '<span class="sum"><span class="plus">+2</span> <span class="minus">\N{MINUS SIGN}1</span>'
    assert f'<span class="fact">{sums}' in page
    assert page.count('<pre class="diff">') == page.count("as it was printed") == 1
    answer("file_change", {"changes": [{"path": "/workspace/repo/src/more.py", "kind": "add"}]})
    assert 'at least <span class="sum"><span class="plus">+2</span>' in read(web, "/agents/run-1/changes")
    account = read(web, "/agents/run-1/account")
    assert account.count("/workspace/repo/src/") == 4
    assert "≥" not in account
