"""What readers wait for at a million messages of ten thousand runs, asked over HTTP one after the other."""

import json
import re
import sysconfig
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Annotated, Any
from urllib.parse import urlencode

import psycopg

from connectors.loopback import HOST
from tests.bench.bench import Bench
from tests.bench.figure import Figure, Results
from tests.webserver import WebServer
from web.indexer import SESSION, index_next, take_turn

MESSAGES = 1_000_000
RUNS = 10_000
# One of them is a giant, and must be read as quickly as the others.
GIANT = 49_000
ASKED = 300
API = "/api/agents"
COLUMNS = (
    "id, workflow_uid, workflow_name, workflow_namespace, run_id, agent_id, role, kind, timestamp, channel, content,"
    " attrs, dedupe_key"
)
ROLL_UP = """
    INSERT INTO workflow_comms.runs (workflow_namespace, workflow_uid, workflow_name, run_id, messages, agents,
        first_at, last_at, words_at, last_agent, last_content)
    SELECT workflow_namespace, workflow_uid, min(workflow_name), min(run_id), count(*), array_agg(DISTINCT agent_id),
        min("timestamp"), max("timestamp"), max("timestamp"), min(agent_id), max(left(content, 400))
    FROM workflow_comms.agent_messages WHERE channel = 'run' GROUP BY 1, 2
"""
SIZES = """
    SELECT sum(pg_total_relation_size(oid)) FROM pg_class
    WHERE relnamespace = 'workflow_comms'::regnamespace AND relkind = 'r' AND relname LIKE 'search\\_%'
"""
FOREIGN = ("数据库连接错误", "テストが失敗しました", "ошибка соединения", "권한이 없습니다")


@dataclass(frozen=True)
class Indexed:
    """What finding words costs."""

    rate: Annotated[float, Figure("indexed by one process", "messages/s")]
    size: Annotated[float, Figure("the index", "bytes/message")]


@dataclass(frozen=True)
class Asked:
    """How long an answer takes, from the request to its last byte."""

    p50: Annotated[float, Figure("p50", "ms")]
    p99: Annotated[float, Figure("p99", "ms", "≤ 20")]


@dataclass(frozen=True)
class Searched:
    """The same of a search."""

    p50: Annotated[float, Figure("p50", "ms")]
    p99: Annotated[float, Figure("p99", "ms", "≤ 200")]
    whole: Annotated[float, Figure("pages that were complete in their time", "%")]


def measure(bench: Bench) -> Results:
    """Fill a database, index it, and ask."""
    number = bench.messages(MESSAGES)
    runs = max(50, round(RUNS * number / MESSAGES))
    with bench.database() as database:
        words = fill(database, number, runs)
        results: dict[str, Any] = {"search": indexed(database, number)}
        with WebServer(bench.folder / "web-queries", {"DATABASE_URL": database}) as web:
            client = Client(web)
            dice = Random(7)
            for load, url in loads(client, dice, runs).items():
                results[load] = Asked(*percentiles([client.took(url()) for _ in range(ASKED)]))
            for load, draw in searches(dice, words, number).items():
                asked = [client.searched(draw()) for _ in range(ASKED)]
                whole = 100 * sum(complete for _, complete in asked) / ASKED
                results[load] = Searched(*percentiles([took for took, _ in asked]), whole)
    return results


def percentiles(took: list[float]) -> tuple[float, float]:
    cuts = quantiles(took, n=100)
    return cuts[49], cuts[98]


class Client:
    """One client of a web, whose connection stays open.

    Args:
        web: whom it asks.
        headers: what says who it is.
    """

    def __init__(self, web: WebServer, headers: dict[str, str] | None = None) -> None:
        self._connection = HTTPConnection(HOST, web.port, timeout=60)
        self._headers = headers or {}

    def get(self, path: str) -> Any:
        self._connection.request("GET", path, headers=self._headers)
        response = self._connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        return json.loads(body)

    def took(self, path: str) -> float:
        """Return milliseconds."""
        began = time.perf_counter()
        self._connection.request("GET", path, headers=self._headers)
        with closing(self._connection.getresponse()) as response:
            body = response.read()
        took = time.perf_counter() - began
        assert response.status == 200, body
        return took * 1_000

    def searched(self, words: str) -> tuple[float, bool]:
        """Return milliseconds, and whether the page was complete."""
        path = f"{API}/messages?{urlencode({'q': words, 'limit': 50})}"
        took = self.took(path)
        page = self.get(path)
        return took, len(page["messages"]) == 50 or page["search"]["searched_to"] is None


def loads(client: Client, dice: Random, runs: int) -> dict[str, Callable[[], str]]:
    """Return what is asked for, under its name."""

    def messages(run: int, **more: object) -> str:
        return f"{API}/messages?{urlencode({'runId': f'id-{run}', **more})}"

    first = client.get(messages(0))["messages"]
    at = datetime.fromisoformat(first[0]["timestamp"])
    span = timedelta(days=2)

    def deep(run: int, direction: str) -> str:
        moment = at - dice.random() * span
        return messages(run, **{direction: f"{moment.isoformat()},1"})

    def moment() -> str:
        return (datetime.now(UTC) - dice.random() * timedelta(days=20)).isoformat()

    def active() -> str:
        return f"{moment()},agents,x"

    return {
        "a run's first page": lambda: messages(dice.randrange(1, runs)),
        "the giant's first page": lambda: messages(0),
        "a later page of the giant": lambda: deep(0, "before"),
        "a page of the giant forwards": lambda: deep(0, "after"),
        "a run with what is claimed of it": lambda: messages(dice.randrange(runs), include="general"),
        "errors of the giant": lambda: messages(0, kind="error"),
        "the general channel": lambda: f"{API}/messages?channel=general",
        "a namespace": lambda: f"{API}/messages?workflowNamespace=agents",
        "the list of runs": lambda: f"{API}/runs",
        "a later page of the list": lambda: f"{API}/runs?{urlencode({'before': active()})}",
        "the list up to a time": lambda: f"{API}/runs?{urlencode({'until': moment()})}",
        "the list by state and namespace": lambda: f"{API}/runs?state=stale&workflowNamespace=agents",
        "the list by a word that is nowhere": lambda: f"{API}/runs?q=nowhere{dice.randrange(99)}",
        "one run": lambda: f"{API}/runs/id-{dice.randrange(1, runs)}",
    }


def searches(dice: Random, words: list[str], number: int) -> dict[str, Callable[[], str]]:
    """Return what is looked for, under its name."""
    often, seldom = words[:500], words[5_000:]
    return {
        "search: a frequent word": lambda: dice.choice(often),
        "search: a rare word": lambda: dice.choice(seldom),
        "search: a part of a word": lambda: dice.choice(words)[1:-1],
        "search: two words": lambda: f"{dice.choice(often)} {dice.choice(seldom)}",
        "search: no word": lambda: f"{dice.choice(seldom)}{dice.choice('qxz')}{dice.randrange(99)}",
        "search: Chinese, Japanese, Korean, Russian": lambda: dice.choice(FOREIGN)[:2],
        "search: what is there once": lambda: f"req-{dice.randrange(number):08x}",
    }


def library() -> str:
    """Return what is said: the text of Python's own library, which is code and prose."""
    folder = Path(sysconfig.get_path("stdlib"))
    files = sorted(path for name in ("*.py", "*/*.py") for path in folder.glob(name) if "test" not in str(path))
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").replace("\0", "") for path in files)


def fill(database: str, number: int, runs: int) -> list[str]:
    """Store messages of 20 days, in the order of their time; return their words, the frequent ones first."""
    text = library()
    with psycopg.connect(database) as connection:
        query = f"COPY workflow_comms.agent_messages ({COLUMNS}) FROM STDIN"
        with connection.cursor() as cursor, cursor.copy(query.encode()) as copy:
            for row in rows(Random(5), number, runs, text):
                copy.write_row(row)
        connection.execute(ROLL_UP)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")
    return [word for word, _ in Counter(re.findall(r"[A-Za-z]\w{3,30}", text)).most_common()]


def rows(dice: Random, number: int, runs: int, text: str) -> Iterator[tuple[Any, ...]]:
    start = datetime.now(UTC) - timedelta(days=20)
    giant = min(0.05, GIANT / number)
    for index in range(number):
        run = 0 if dice.random() < giant else 1 + int(runs * index / number + dice.expovariate(0.05)) % (runs - 1)
        # About 400 characters.
        place = dice.randrange(len(text) - 10_000)
        said = text[place : place + 40 + int(min(9_000, dice.expovariate(1 / 360)))]
        if index % 500 == 0:
            said += " " + FOREIGN[index // 500 % len(FOREIGN)]
        kind = "error" if dice.random() < 0.003 else ("message", "tool_call", "tool_result", "message")[index % 4]
        yield (
            f"{index:032x}", f"uid-{run}", f"run-{run}", "agents", f"id-{run}", ("planner", "executor")[index % 2],
            "assistant", kind, start + index / number * timedelta(days=20), "general" if index % 50 == 0 else "run",
            f"req-{index:08x} {said}", "{}", f"{index:032x}",
        )  # fmt: skip


def indexed(database: str, number: int) -> Indexed:
    """Index all of it in this process, and measure that."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(SESSION)
        assert take_turn(connection)
        began = time.perf_counter()
        while index_next(connection):
            pass
        took = time.perf_counter() - began
        row = connection.execute(SIZES).fetchone()
        connection.execute("VACUUM ANALYZE")
    return Indexed(number / took, int(row[0]) / number if row else 0)
