"""What the threads of a run took: tokens, as its artifacts tell and as its messages do."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from psycopg import Connection

import sql
from web.queries import RunRow, read_object

MOST_TOKENS = 10**12
ENDED = ("succeeded", "failed")

Tokens = dict[str, int]


class Thread(Struct, frozen=True):
    """What messages tell of a thread, one of an agent.

    Attributes:
        thread: its id; None where they name none: an agent has one of these.
        tokens: what it had used when it told so last.
        told_at: when that was; None where it never did.
        begun_at: when its last turn began, where that was said.
    """

    agent_id: str
    thread: str | None
    tokens: Tokens
    told_at: datetime | None
    begun_at: datetime | None

    @property
    def name(self) -> tuple[str, str]:
        """What tells it from other threads, whoever speaks in it."""
        return (self.thread, "") if self.thread is not None else ("", self.agent_id)

    @property
    def is_told(self) -> bool:
        """Whether its last turn told what it took."""
        return self.told_at is not None and (self.begun_at is None or self.begun_at <= self.told_at)


class Usage(Struct, frozen=True):
    """What a run took.

    Attributes:
        tokens: the sums over its threads, by what they are called; None where nothing tells.
        partial: whether it may have taken more than that.
    """

    tokens: Tokens | None
    partial: bool


def usage_of(connection: Connection, run: RunRow, spoke_at: dict[str, datetime]) -> Usage:
    """Read what a run took.

    Args:
        connection: what is asked.
        run: of which.
        spoke_at: when each agent said or did something last.
    """
    namespace, uid = run.key
    rows = connection.execute(sql.query("run_usage"), {"namespace": namespace, "uid": uid})
    threads = [
        Thread(agent, thread, counts(read_object(usage)) if usage else {}, told_at, begun_at)
        for agent, thread, usage, told_at, begun_at in rows
    ]
    return usage(run, threads, spoke_at)


def usage(run: RunRow, threads: list[Thread], spoke_at: dict[str, datetime]) -> Usage:
    """Return what a run took, which is never less than its messages tell."""
    told = _told(run)
    by_artifacts = counts(told.get("total"))
    tokens = _together(by_artifacts, _by_thread(told), _by_messages(threads))
    has_all = _has_all_artifacts(run) and tokens == by_artifacts
    is_whole = run.state in ENDED and (has_all or (not run.pruned and _is_told(threads, spoke_at)))
    return Usage(tokens or None, bool(tokens) and not is_whole)


def counts(said: Any) -> Tokens:
    """Return the counts of tokens among what was said, by what they are called."""
    # What anybody may say is no number until it looks like one.
    return {
        name: number
        for name, number in (said.items() if isinstance(said, dict) else ())
        if name.endswith("_tokens") and type(number) is int and 0 <= number <= MOST_TOKENS
    }


def without_sum(run: RunRow) -> RunRow:
    """Return a run without the sum of what its artifacts told, which a list would show as if it were all."""
    told = _told(run)
    if "total" not in told:
        return run
    turns = {name: value for name, value in told.items() if name != "total"}
    return replace(run, attrs={**run.attrs, "tokens": turns})


def _told(run: RunRow) -> dict[str, Any]:
    """Return what its artifacts told."""
    told = run.attrs.get("tokens")
    return told if isinstance(told, dict) else {}


def _has_all_artifacts(run: RunRow) -> bool:
    report = run.attrs.get("backfill")
    return isinstance(report, dict) and report.get("complete") is True


def _is_told(threads: list[Thread], spoke_at: dict[str, datetime]) -> bool:
    """Whether each thread told what it took once nothing more was said or done."""
    told_at: dict[str, datetime] = {}
    for thread in threads:
        if thread.told_at is not None:
            told_at[thread.agent_id] = max(thread.told_at, told_at.get(thread.agent_id, thread.told_at))
    spoken = all(agent in told_at and at <= told_at[agent] for agent, at in spoke_at.items())
    return spoken and all(thread.is_told for thread in threads)


def _by_messages(threads: list[Thread]) -> dict[tuple[str, str], Tokens]:
    """Return what each thread had used when it told so last, whoever said it."""
    told = [(thread.told_at, thread) for thread in threads if thread.told_at is not None]
    return {thread.name: thread.tokens for _, thread in sorted(told, key=lambda each: each[0])}


def _by_thread(told: dict[str, Any]) -> dict[tuple[str, str], Tokens] | None:
    """Return what artifacts told of each thread; None where some of it isn't known: turns are left out or nameless."""
    turns = told.get("turns")
    found: dict[tuple[str, str], Tokens] = {}
    for turn in turns if isinstance(turns, list) else ():
        if isinstance(turn, dict) and isinstance(thread := turn.get("thread"), str):
            found[thread, ""] = _sum((found.get((thread, ""), {}), counts(turn.get("tokens"))))
    is_known = _sum(found.values()) == counts(told.get("total")) and ("", "") not in found
    return found if is_known else None


def _together(
    total: Tokens, by_artifacts: dict[tuple[str, str], Tokens] | None, by_messages: dict[tuple[str, str], Tokens]
) -> Tokens:
    if by_artifacts is None:
        # Which threads are in it isn't known any more.
        return _most(total, _sum(by_messages.values()))
    names = {**by_artifacts, **by_messages}
    return _sum(_most(by_artifacts.get(name, {}), by_messages.get(name, {})) for name in names)


def _sum(some: Iterable[Tokens]) -> Tokens:
    sums: Tokens = {}
    for tokens in some:
        for name, number in tokens.items():
            sums[name] = sums.get(name, 0) + number
    return sums


def _most(one: Tokens, other: Tokens) -> Tokens:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}
