"""What a run took: never less than its messages tell, and partial unless it is known to be whole."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit.events import run
from web.usage import Thread, Usage, usage

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


def at(minutes: int) -> datetime:
    return NOON + timedelta(minutes=minutes)


def thread(name: str | None, used: int, *, agent: str = "executor", begun: int = 0, told: int = 9) -> Thread:
    return Thread(agent, name, {"input_tokens": used}, at(told), at(begun))


def told(complete: bool, *turns: tuple[str, int], more: int = 0) -> dict[str, Any]:
    said = [
        {"thread": name, "turn": number, "tokens": {"input_tokens": used}} for number, (name, used) in enumerate(turns)
    ]
    total = {"input_tokens": more + sum(used for _, used in turns)}
    return {"tokens": {"total": total, "turns": said}, "backfill": {"complete": complete}}


def found(attrs: dict[str, Any], *threads: Thread, state: str = "succeeded", spoke: int = 8, pruned: int = 0) -> Usage:
    spoke_at = {thread.agent_id: at(spoke) for thread in threads}
    return usage(run(state=state, attrs=attrs, pruned=pruned), [*threads], spoke_at)


def test_of_each_thread_the_most_that_was_told_counts() -> None:
    # The thread's count began anew in the middle, which its last one doesn't tell.
    attrs = told(True, ("one", 900), ("one", 100))
    assert found(attrs, thread("one", 100), thread("two", 2_000, agent="planner")).tokens == {"input_tokens": 3_000}


def test_where_turns_are_left_out_the_most_of_both_sums_counts() -> None:
    assert found(told(True, ("one", 10), more=500), thread("one", 510), thread("two", 90)).tokens == {
        "input_tokens": 600
    }


def test_a_thread_is_counted_once_though_two_speak_in_it() -> None:
    first, last = thread("one", 10, agent="a", told=1), thread("one", 30, agent="b", told=2)
    assert found({}, last, first).tokens == {"input_tokens": 30}


def test_threads_without_a_name_are_their_agents() -> None:
    assert found({}, thread(None, 10, agent="a"), thread(None, 30, agent="b")).tokens == {"input_tokens": 40}


@pytest.mark.parametrize(
    ("usage", "partial"),
    [
        (found(told(True, ("one", 5)), thread("one", 5, told=9)), False),
        # What its artifacts don't tell is told by messages, to the end.
        (found(told(True, ("one", 5)), thread("one", 5), thread("two", 5)), False),
        (found(told(True, ("one", 5)), thread("one", 5), thread("two", 5), spoke=10), True),
        (found(told(True, ("one", 5)), thread("one", 5), spoke=10), False),
        (found(told(False, ("one", 5)), thread("one", 5), spoke=10), True),
        (found(told(True, ("one", 5)), thread("one", 5), state="running"), True),
        (found({}, thread("one", 5)), False),
        (found({}, thread("one", 5), state="running"), True),
        (found({}, thread("one", 5), state="unknown"), True),
        (found({}, thread("one", 5), pruned=1), True),
        (found({}, thread("one", 5, begun=10)), True),
        (found({}, thread("one", 5), Thread("executor", "two", {}, None, at(1))), True),
        (usage(run(state="succeeded"), [thread("one", 5)], {"executor": at(8), "silent": at(1)}), True),
        (found({}), False),
    ],
)
def test_it_is_partial_unless_it_is_known_to_be_whole(usage: Usage, partial: bool) -> None:
    assert usage.partial is partial
