"""Between which times each attempt at a run was written, however many there are."""

from collections.abc import Sequence
from typing import Any

import pytest

from connectors.objects import Object
from flows import attempts
from flows.artifact import Artifact
from flows.attempts import Attempts
from flows.moment import SECOND
from flows.sheet import Sheet
from flows.turns import in_turn

BEGIN = 1_795_000_000 * SECOND
HOUR = 3_600 * SECOND


def artifact(attempt: int, name: str = "events.jsonl") -> Artifact:
    key = f"run/run-{attempt}/{name}"
    # Copied at once, after the run's end: that tells no order.
    return Artifact(Object(key, 10, "1", (BEGIN + 2 * HOUR) / SECOND), key, "codex-events", name, f"run-{attempt}")


def sheet(part: int, *begun: int) -> Sheet:
    return Sheet(0, part, 0, [], [], {}, dict(enumerate(begun)), 0, 1.0, is_last=True)


def placed(artifacts: Sequence[Artifact], *, end: int | None = BEGIN + HOUR) -> Attempts:
    return Attempts(artifacts, [], begin=BEGIN, end=end, said_ended=None)


def test_one_attempt_has_all_of_the_runs_time() -> None:
    window = placed([artifact(0), artifact(0, "runtime.log")]).window(0)
    assert (window.begin, window.end) == (BEGIN, BEGIN + HOUR)


def test_attempts_without_a_thread_share_the_runs_time_in_their_order() -> None:
    run = placed([artifact(number) for number in range(4)])
    windows = [run.window(part) for part in range(4)]
    assert [(window.begin, window.end) for window in windows] == [
        (BEGIN + number * HOUR // 4, BEGIN + (number + 1) * HOUR // 4) for number in range(4)
    ]


def test_what_was_placed_of_one_attempt_comes_before_the_next() -> None:
    run = placed([artifact(number) for number in range(2)])
    late = BEGIN + HOUR * 3 // 4
    run.file(sheet(0)).place.last = late
    assert run.window(1).begin == late


def test_a_thread_that_tells_when_it_began_parts_the_attempts_around_it() -> None:
    run = placed([artifact(number) for number in range(3)])
    told = BEGIN + HOUR // 2
    run.note(sheet(1, told))
    assert (run.window(0).begin, run.window(0).end) == (BEGIN, told)
    assert run.window(2).begin == told + HOUR // 4
    assert told in run.others(sheet(0))
    assert told not in run.others(sheet(1))
    run.forget()
    assert run.window(0).end == BEGIN + HOUR // 3


def test_when_a_run_said_that_it_has_ended_nothing_before_came_after() -> None:
    ended = BEGIN + HOUR
    assert Attempts([artifact(0)], [], begin=None, end=None, said_ended=ended).others(sheet(0)) == [ended]


def test_many_attempts_are_put_in_order_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time anew for each of them, a thousand took half a minute."""
    ordered: list[int] = []

    def note(turns: Any, window: Any) -> Any:
        ordered.append(len(turns))
        return in_turn(turns, window)

    monkeypatch.setattr(attempts, "in_turn", note)
    run = placed([artifact(number) for number in range(200)])
    sheets = [sheet(part, BEGIN + part * SECOND) for part in range(200)]
    for each in sheets:
        run.note(each)
    for each in sheets:
        run.window(each.part)
        assert len(run.others(each)) == 199 + 199 - each.part
    assert ordered == [200]
