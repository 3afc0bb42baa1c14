"""What one run comes to: who said how much, how long it took, its tokens, where its messages are from."""

from datetime import datetime
from typing import Any

from msgspec import Struct
from psycopg import Connection

import sql
from web.queries import RunRow, read_object

# Of more voices, an agent and a kind each, those that said most are named.
MOST_VOICES = 1_000
MOST_TOKENS = 10**12


class Voice(Struct, frozen=True):
    """What one agent said of one kind.

    Attributes:
        messages: how many.
        backfilled: how many of them were recovered from artifacts.
    """

    agent_id: str
    kind: str
    messages: int
    backfilled: int
    first_at: datetime
    last_at: datetime


class Sources(Struct, frozen=True):
    """How many messages arrived live, and how many were recovered from artifacts."""

    live: int
    backfilled: int


class Reconciliation(Struct, frozen=True):
    """What became of comparing the run with its artifacts.

    Attributes:
        state: `queued`, `running`, `done` or `failed`.
        report: what it found, lines and gaps among it; null until it is done.
    """

    state: str
    attempts: int
    last_error: str | None
    report: dict[str, Any] | None
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Account(Struct, frozen=True):
    """What one run comes to.

    Attributes:
        duration_seconds: from its start, or its first message, to its end, or its last message.
        voices: by agent and kind, the most first.
        tokens: the sums over its threads, by what they are called: as its artifacts tell, else its messages; null where
            neither does.
        reconciliation: null where it was never asked for.
    """

    duration_seconds: float | None
    voices: list[Voice]
    sources: Sources
    tokens: dict[str, int] | None
    reconciliation: Reconciliation | None


def account_of(connection: Connection, run: RunRow) -> Account:
    """Read what a run comes to."""
    namespace, uid = run.key
    arguments: dict[str, object] = {"namespace": namespace, "uid": uid, "limit": MOST_VOICES}
    voices = [Voice(*row) for row in connection.execute(sql.query("run_voices"), arguments)]
    usages = [read_object(text) for _, text in connection.execute(sql.query("run_usage"), arguments)]
    row = connection.execute(sql.query("run_reconciliation"), arguments).fetchone()
    backfilled = sum(voice.backfilled for voice in voices)
    return Account(
        duration_seconds=_duration(run),
        voices=voices,
        sources=Sources(sum(voice.messages for voice in voices) - backfilled, backfilled),
        tokens=_tokens_told(run) or tokens_of(usages),
        reconciliation=_reconciliation(row) if row else None,
    )


def tokens_of(usages: list[dict[str, Any]]) -> dict[str, int] | None:
    """Return the sums of what some threads used, or None where there is nothing to add up."""
    sums: dict[str, int] = {}
    for usage in usages:
        for name, number in usage.items():
            # What anybody may say is no number until it looks like one.
            if name.endswith("_tokens") and type(number) is int and 0 <= number <= MOST_TOKENS:
                sums[name] = sums.get(name, 0) + number
    return sums or None


def _tokens_told(run: RunRow) -> dict[str, int] | None:
    told = run.attrs.get("tokens")
    total = told.get("total") if isinstance(told, dict) else None
    return tokens_of([total]) if isinstance(total, dict) else None


def _duration(run: RunRow) -> float | None:
    began, ended = run.started_at or run.first_at, run.finished_at or run.last_at
    return max(0.0, (ended - began).total_seconds()) if began and ended else None


def _reconciliation(row: tuple[Any, ...]) -> Reconciliation:
    state, attempts, last_error, report, *times = row
    return Reconciliation(state, attempts, last_error, report and read_object(report), *times)
