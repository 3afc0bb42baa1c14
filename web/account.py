"""What one run comes to: who said how much, how long it took, its tokens, where its messages are from."""

from datetime import datetime
from typing import Any

from msgspec import Struct
from psycopg import Connection

import sql
from flows.message import PERSON
from web.queries import RunRow, read_object
from web.usage import usage_of

# Of more voices, an agent and a kind each, those that said most are named.
MOST_VOICES = 1_000
# What an agent does that takes tokens.
_DEEDS = ("message", "tool_call", "tool_result")


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
        tokens: the sums over its threads, by what they are called: as its artifacts and its messages tell; null where
            neither do.
        tokens_partial: whether it may have taken more: it goes on, an artifact is missing, or a turn didn't tell.
        reconciliation: null where it was never asked for.
    """

    duration_seconds: float | None
    voices: list[Voice]
    sources: Sources
    tokens: dict[str, int] | None
    tokens_partial: bool
    reconciliation: Reconciliation | None


def account_of(connection: Connection, run: RunRow) -> Account:
    """Read what a run comes to."""
    namespace, uid = run.key
    arguments: dict[str, object] = {"namespace": namespace, "uid": uid, "limit": MOST_VOICES}
    voices = [Voice(*row) for row in connection.execute(sql.query("run_voices"), arguments)]
    usage = usage_of(connection, run, _spoke_at(voices))
    backfilled = sum(voice.backfilled for voice in voices)
    return Account(
        duration_seconds=_duration(run),
        voices=voices,
        sources=Sources(sum(voice.messages for voice in voices) - backfilled, backfilled),
        tokens=usage.tokens,
        tokens_partial=usage.partial,
        reconciliation=reconciliation_of(connection, run),
    )


def reconciliation_of(connection: Connection, run: RunRow) -> Reconciliation | None:
    """Read what became of comparing a run with its artifacts; None where it was never asked for."""
    namespace, uid = run.key
    row = connection.execute(sql.query("run_reconciliation"), {"namespace": namespace, "uid": uid}).fetchone()
    return _reconciliation(row) if row else None


def _spoke_at(voices: list[Voice]) -> dict[str, datetime]:
    """Return when each agent said or did something last."""
    spoke_at: dict[str, datetime] = {}
    for voice in voices:
        if voice.kind in _DEEDS and voice.agent_id != PERSON:
            spoke_at[voice.agent_id] = max(voice.last_at, spoke_at.get(voice.agent_id, voice.last_at))
    return spoke_at


def _duration(run: RunRow) -> float | None:
    began, ended = run.started_at or run.first_at, run.finished_at or run.last_at
    return max(0.0, (ended - began).total_seconds()) if began and ended else None


def _reconciliation(row: tuple[Any, ...]) -> Reconciliation:
    state, attempts, last_error, report, *times = row
    return Reconciliation(state, attempts, last_error, report and read_object(report), *times)
