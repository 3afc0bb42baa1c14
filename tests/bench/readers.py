"""What it costs that readers are kept apart: the same questions with Postgres' row-level security and without it.

The same addresses in turns, on one database and one machine: of a web that asks nobody, on tables without row-level
security, and of one that asks for tokens, on tables with it. So is the fan-out, to a crowd that brings a token and to
one that nobody asks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from statistics import median
from typing import Annotated, Any
from urllib.parse import urlencode

import psycopg

from tests.bench.bench import Bench
from tests.bench.fanout import fan_out
from tests.bench.figure import Figure, Results
from tests.bench.queries import Client, fill, indexed, loads, searches
from tests.readers import Readers
from tests.webserver import WebServer

MESSAGES = 60_000
RUNS = 600
ROUNDS = 6
ASKED = 10
# After each change of the tables everything is planned anew, once.
WARMING = 2
CLIENTS, RATE = 500, 50
# Of the fan-out, whose figures are noisy, the best of so many.
TRIES = 3
TABLES = ("agent_messages", "runs", "dead_letters", "reconcile_queue", "artifacts")


@dataclass(frozen=True)
class Cost:
    """One kind of reader against nobody being kept from anything."""

    bare: Annotated[float, Figure("p50 without row-level security", "ms")]
    p50: Annotated[float, Figure("p50 with it", "ms")]
    ratio: Annotated[float, Figure("the one by the other", "", "≤ 1.05")]


@dataclass(frozen=True)
class Whole:
    """Of all questions together."""

    ratio: Annotated[
        float, Figure("time with row-level security by the time without, the median of the questions", "", "≤ 1.05")
    ]
    total: Annotated[float, Figure("of the sums", "", "≤ 1.05")]


@dataclass(frozen=True)
class Watched:
    """A crowd with tokens against one that nobody asks."""

    p50: Annotated[float, Figure("write to SSE client, p50, with tokens by without", "", "≤ 1.05")]
    cpu: Annotated[float, Figure("the web's CPU, with tokens by without", "", "≤ 1.05")]
    lost: Annotated[float, Figure("messages that a client missed", "", "0")]


def measure(bench: Bench) -> Results:
    """Ask what `queries` asks, as somebody who reads everything and as a reader of one namespace."""
    results: dict[str, Any] = {}
    number = bench.messages(MESSAGES)
    runs = max(50, round(RUNS * number / MESSAGES))
    readers = Readers(bench.folder / "readers.toml")
    tokens = {"everything": readers.add("operator", "*"), "one namespace": readers.add("reader", "agents")}
    guarding = {"AGENT_COMMS_AUTH": "token", "AGENT_COMMS_READERS_FILE": str(readers.path)}
    with bench.database() as database:
        words = fill(database, number, runs)
        indexed(database, number)
        with (
            WebServer(bench.folder / "web-open", {"DATABASE_URL": database}) as open_web,
            WebServer(bench.folder / "web-guarded", {"DATABASE_URL": database, **guarding}) as guarded_web,
        ):
            asked = {**loads(Client(open_web), Random(7), runs), **searches(Random(7), words, number)}
            # Each time anew: a connection on which nobody asks for long is ended.
            took = {
                kind: _compare(database, lambda: Client(open_web), partial(Client, guarded_web, token), asked)
                for kind, token in tokens.items()
            }
    for kind, costs in took.items():
        results |= {f"{kind}: {load}": cost for load, cost in costs.items()}
        results[f"{kind}: all"] = Whole(
            median(cost.ratio for cost in costs.values()),
            sum(cost.p50 for cost in costs.values()) / sum(cost.bare for cost in costs.values()),
        )
    results[f"{CLIENTS:,} clients, {RATE} a second"] = _fan_out(
        bench, guarding, f"Authorization: {tokens['one namespace']['Authorization']}"
    )
    return results


def _compare(
    database: str, bare: Callable[[], Client], other: Callable[[], Client], asked: dict[str, Callable[[], str]]
) -> dict[str, Cost]:
    """Ask for each load the same in turns, without row-level security and with it."""
    times: dict[str, tuple[list[float], list[float]]] = {load: ([], []) for load in asked}
    for round_ in range(ROUNDS + 1):
        for load, url in asked.items():
            paths = [_path(load, url()) for _ in range(ASKED)]
            # Neither always comes first, when little of it is in memory.
            for secure in (False, True) if round_ % 2 else (True, False):
                _secure(database, secure=secure)
                client = other() if secure else bare()
                took = [client.took(path) for path in (*paths[:WARMING], *paths)][WARMING:]
                # The first round warms up.
                if round_:
                    times[load][secure].extend(took)
    _secure(database, secure=True)
    return {load: Cost(median(a), median(b), median(b) / median(a)) for load, (a, b) in times.items()}


def _path(load: str, asked: str) -> str:
    return f"/api/agents/messages?{urlencode({'q': asked, 'limit': 50})}" if load.startswith("search") else asked


def _secure(database: str, *, secure: bool) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        for table in TABLES:
            what = "ENABLE" if secure else "DISABLE"
            connection.execute(f"ALTER TABLE workflow_comms.{table} {what} ROW LEVEL SECURITY".encode())


def _fan_out(bench: Bench, guarding: dict[str, str], header: str) -> Watched:
    def watched(settings: dict[str, str], header: str) -> tuple[float, float, float]:
        found = fan_out(bench.postgres, bench.folder, CLIENTS, RATE, bench.seconds(6), settings, header)
        return found.p50, found.cpu, found.lost

    pairs = [(watched({}, ""), watched(guarding, header)) for _ in range(TRIES)]
    open_, guarded = ([pair[side] for pair in pairs] for side in (0, 1))
    return Watched(
        min(p50 for p50, _, _ in guarded) / min(p50 for p50, _, _ in open_),
        min(cpu for _, cpu, _ in guarded) / min(cpu for _, cpu, _ in open_),
        sum(lost for _, _, lost in guarded),
    )
