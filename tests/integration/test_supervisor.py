import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.processes import is_running, is_stopped
from tests.waiting import wait_until
from web import supervisor as module
from web.supervisor import Asked, Program, ProgramError, Supervisor

WAITS = "while :; do sleep 0.05; done"


class Notes(list[str]):
    """What the supervisor said."""


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def supervisor(notes: Notes) -> Iterator[Supervisor]:
    with Supervisor(notes.append) as supervisor:
        yield supervisor


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.3)


def shell(folder: Path, name: str, script: str, stage: int = 0) -> Program:
    """A program that notes its process id each time it starts."""
    return Program(
        name, ["/bin/sh", "-c", f'echo $$ >> "{folder}/{name}.pid"; {script}'], folder / f"{name}.log", stage=stage
    )


def pids(folder: Path, name: str) -> list[int]:
    try:
        return [int(pid) for pid in (folder / f"{name}.pid").read_text().split()]
    except FileNotFoundError:
        return []


def run_until(supervisor: Supervisor, condition: Callable[[], bool], tries: int = 99) -> None:
    supervisor.wait_for(condition, "it", tries=tries, timeout=120)


def test_a_program_that_is_killed_is_started_again_and_said_so(
    tmp_path: Path, supervisor: Supervisor, notes: Notes
) -> None:
    supervisor.start(shell(tmp_path, "flow", WAITS))
    run_until(supervisor, lambda: len(pids(tmp_path, "flow")) == 1)
    os.kill(pids(tmp_path, "flow")[0], signal.SIGKILL)
    run_until(supervisor, lambda: len(pids(tmp_path, "flow")) == 2)
    assert notes == ["flow ended (SIGKILL); it is started again now"]
    assert is_running(pids(tmp_path, "flow")[1])


def test_a_program_that_ends_again_and_again_waits_longer_and_is_quoted(
    tmp_path: Path, supervisor: Supervisor, notes: Notes
) -> None:
    supervisor.start(shell(tmp_path, "web", "echo no such setting >&2; exit 3"))
    run_until(supervisor, lambda: len(notes) == 3)
    assert notes[0] == "web ended (exit code 3); it is started again now"
    assert [note.partition(";")[2].partition(":")[0] for note in notes[1:]] == [
        " it is started again in 0.5 s",
        " it is started again in 1 s",
    ]
    assert f"no such setting (see {tmp_path}/web.log)" in notes[1]


def test_a_start_that_comes_to_nothing_is_given_up(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.start(shell(tmp_path, "web", "echo port taken; exit 1"))
    with pytest.raises(ProgramError, match="web does not start: port taken"):
        run_until(supervisor, lambda: False, tries=2)


def test_what_is_never_ready_is_given_up(supervisor: Supervisor) -> None:
    with pytest.raises(ProgramError, match="the moon is not ready"):
        supervisor.wait_for(lambda: False, "the moon", tries=9, timeout=0.1)


def test_nothing_starts_once_it_was_asked_to_end(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.ask_to_end()
    with pytest.raises(Asked):
        supervisor.start(shell(tmp_path, "flow", WAITS))
    with pytest.raises(Asked):
        run_until(supervisor, lambda: False)


def test_later_stages_end_first(tmp_path: Path, supervisor: Supervisor) -> None:
    ends = tmp_path / "ends"
    for name, stage in (("nats", 0), ("flow", 1)):
        supervisor.start(shell(tmp_path, name, f"trap 'echo {name} >> \"{ends}\"; exit 0' TERM; {WAITS}", stage))
        run_until(supervisor, lambda name=name: bool(pids(tmp_path, name)))  # type: ignore[misc]
    # Its trap is set once it sleeps for the first time.
    wait_until(lambda: all(children_of(pids(tmp_path, name)[0]) for name in ("nats", "flow")), "both to sleep")
    supervisor.end()
    assert ends.read_text().split() == ["flow", "nats"]


def children_of(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


@pytest.mark.usefixtures("impatient")
def test_a_program_that_ignores_being_asked_is_killed(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.start(shell(tmp_path, "web", f"trap '' TERM; {WAITS}"))
    run_until(supervisor, lambda: bool(pids(tmp_path, "web")) and bool(children_of(pids(tmp_path, "web")[0])))
    supervisor.end()
    assert not is_running(pids(tmp_path, "web")[0])


def test_a_program_that_has_just_ended_is_no_obstacle_to_the_end(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.start(shell(tmp_path, "web", WAITS))
    run_until(supervisor, lambda: bool(pids(tmp_path, "web")))
    os.kill(pids(tmp_path, "web")[0], signal.SIGKILL)
    wait_until(lambda: not is_running(pids(tmp_path, "web")[0]), "its end, which the supervisor hasn't seen")
    supervisor.end()
    assert len(pids(tmp_path, "web")) == 1


@pytest.mark.usefixtures("impatient")
def test_a_program_that_hangs_is_killed(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.start(shell(tmp_path, "web", WAITS))
    run_until(supervisor, lambda: bool(pids(tmp_path, "web")))
    os.kill(pids(tmp_path, "web")[0], signal.SIGSTOP)
    wait_until(lambda: is_stopped(pids(tmp_path, "web")[0]), "it to hang")
    supervisor.end()
    assert not is_running(pids(tmp_path, "web")[0])


def test_what_a_program_left_behind_ends_with_it(tmp_path: Path, supervisor: Supervisor, notes: Notes) -> None:
    daemon = f'setsid sh -c \'echo $$ >> "{tmp_path}/daemon.pid"; trap "" TERM HUP; {WAITS}\' &'
    supervisor.start(shell(tmp_path, "postgres", f"{daemon} {WAITS}"))
    run_until(supervisor, lambda: bool(pids(tmp_path, "daemon")))
    os.kill(pids(tmp_path, "postgres")[0], signal.SIGKILL)
    run_until(supervisor, lambda: len(pids(tmp_path, "daemon")) == 2)
    assert len(notes) == 1
    assert not is_running(pids(tmp_path, "daemon")[0])
    supervisor.end()
    assert not is_running(pids(tmp_path, "daemon")[1])


def test_a_large_log_is_set_aside(tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOG_BYTES", 10)
    (tmp_path / "flow.log").write_text("a long story of yesterday\n")
    supervisor.start(shell(tmp_path, "flow", f"echo today; {WAITS}"))
    run_until(supervisor, lambda: (tmp_path / "flow.log").read_text() == "today\n")
    assert (tmp_path / "flow.old.log").read_text() == "a long story of yesterday\n"
