"""Processes that read for this one, and what becomes of their tasks when one of them, or this one, dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.crew import NICENESS, WORTH_BYTES, Alone, Crew, Workers
from tests.processes import descendants, is_running
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
AHEAD_BYTES = 32 << 20


def ahead() -> int:
    return AHEAD_BYTES


def spell(task: str) -> Iterator[bytes]:
    """Hand on each letter, and who has found it."""
    for letter in task:
        yield f"{task}:{letter}:{os.getpid()}".encode()


def spell_or_die(task: str) -> Iterator[bytes]:
    """As before, but a capital kills who reads it."""
    for found in spell(task):
        if task[0].isupper():
            os.kill(os.getpid(), signal.SIGKILL)
        yield found


def pour(task: int) -> Iterator[bytes]:
    for _ in range(task):
        yield bytes(1 << 20)


def drip(task: int) -> Iterator[bytes]:
    for _ in range(task):
        yield bytes(1 << 10)


def lost(task: str) -> list[bytes]:
    return [f"{task}:lost:0".encode()]


def take_all(workers: Workers[str]) -> list[tuple[str, str, int]]:
    found: list[tuple[str, str, int]] = []
    while not workers.is_done:
        for each in workers.take(1 << 20):
            task, letter, pid = each.decode().split(":")
            found.append((task, letter, int(pid)))
    workers.close()
    return found


def test_alone_it_is_all_done_here_and_in_order() -> None:
    found = take_all(Alone(spell, ["ab", "c"]))
    assert found == [("ab", "a", os.getpid()), ("ab", "b", os.getpid()), ("c", "c", os.getpid())]


def test_a_crew_finds_all_of_it_and_keeps_the_order_within_a_task() -> None:
    words = ["alpha", "beta", "gamma", "delta"]
    found = take_all(Crew(spell, [[word] for word in words], 2, lost, ahead))
    assert sorted({task for task, _, _ in found}) == sorted(words)
    for word in words:
        assert "".join(letter for task, letter, _ in found if task == word) == word
    pids = {pid for _, _, pid in found}
    assert os.getpid() not in pids
    assert not any(is_running(pid) for pid in pids)


def test_without_a_folder_for_temporary_files_it_is_done_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    assert sorted(task for task, _, _ in take_all(Crew(spell, [["a"], ["b"]], 2, lost, ahead))) == ["a", "b"]


def test_a_task_that_kills_its_process_is_lost_and_no_other() -> None:
    found = take_all(Crew(spell_or_die, [["one", "Two", "three"], ["four"]], 1, lost, ahead))
    assert {task for task, _, _ in found} == {"one", "Two", "three", "four"}
    assert [letter for task, letter, _ in found if task == "Two"] == ["lost"]
    assert "".join(letter for task, letter, _ in found if task == "three") == "three"


def test_what_nobody_takes_is_not_piled_up() -> None:
    crew = Crew(pour, [[100]], 1, lambda _: [], ahead)
    wait_until(lambda: crew._waiting_bytes > AHEAD_BYTES, "a full heap")
    taken = 0
    while not crew.is_done:
        assert crew._waiting_bytes <= AHEAD_BYTES + (1 << 20)
        taken += len(crew.take(1))
    assert taken == 100
    crew.close()


def test_how_much_is_found_ahead_may_change_at_any_time() -> None:
    most = [1 << 20]
    crew = Crew(pour, [[60]], 1, lambda _: [], lambda: most[0])
    wait_until(lambda: crew._waiting_bytes > most[0], "a small heap")
    taken = 0
    for _ in range(20):
        assert crew._waiting_bytes <= 2 << 20
        taken += len(crew.take(1))
    most[0] = 8 << 20
    taken += len(crew.take(1))
    wait_until(lambda: crew._waiting_bytes > most[0], "a larger one")
    while not crew.is_done:
        taken += len(crew.take(1))
    assert taken == 60
    crew.close()


def weigh(task: str) -> Iterator[bytes]:
    yield f"{task}:{os.getpriority(os.PRIO_PROCESS, 0)}:0".encode()


def test_whoever_uses_what_is_found_comes_before_those_who_find_it() -> None:
    assert os.getpriority(os.PRIO_PROCESS, 0) < NICENESS
    assert take_all(Crew(weigh, [["a"]], 1, lost, ahead))[0][1] == str(NICENESS)


def test_a_little_is_waited_for_until_it_is_worth_taking() -> None:
    crew = Crew(drip, [[4 * WORTH_BYTES >> 10]], 1, lambda _: [], ahead)
    taken = [crew.take(1 << 30)]
    while not crew.is_done:
        taken.append(crew.take(1 << 30))
    crew.close()
    assert sum(map(len, taken)) == 4 * WORTH_BYTES >> 10
    # Far fewer than there are pieces, each of a KiB; a machine that is busy makes some waits end early.
    assert len(taken) < sum(map(len, taken)) / 8


def test_it_can_be_closed_at_any_moment() -> None:
    crew = Crew(pour, [[500], [500], [500]], 2, lambda _: [], ahead)
    crew.take(1)
    wait_until(lambda: len(crew._processes) == 2, "two processes")
    pids = [process._process.pid for process in crew._processes]
    crew.close()
    assert not any(is_running(pid) for pid in pids if pid)


def sleep(task: int) -> Iterator[bytes]:
    time.sleep(task)
    yield b"woke"


def test_closed_while_a_process_starts_it_waits_for_nothing_that_that_one_finds() -> None:
    began = time.monotonic()
    crew = Crew(sleep, [[600]], 1, lambda _: [], ahead)
    crew.close()
    assert time.monotonic() - began < 300


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_crew_ends_with_whoever_has_it(number: signal.Signals) -> None:
    program = (
        "from connectors.crew import Crew; from tests.integration.test_crew import ahead, pour; import time\n"
        "if __name__ == '__main__':\n"
        "    crew = Crew(pour, [[500], [500]], 2, lambda _: [], ahead)\n"
        "    time.sleep(100)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    crew: set[int] = set()

    def is_there() -> bool:
        crew.update(pid for pid, command in descendants(owner.pid).items() if "forkserver" in command)
        return len(crew) == 3

    wait_until(is_there, "two processes, and the one that they are forks of")
    owner.send_signal(number)
    owner.wait()
    wait_until(lambda: not any(map(is_running, crew)), "their end")
