"""A program that is forked is like one that is started: what the other tests rely on."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests import forks
from tests.waiting import wait_until

SAYS = """
import atexit, os, sys
atexit.register(lambda: print("over", file=sys.stderr))
print(sorted(os.environ), os.getcwd(), sys.argv[1:], __name__)
print(sys.stdin.read().upper())
sys.exit(7)
"""
WAITS = """
import sys, time
from pathlib import Path
Path(sys.argv[1]).touch()
time.sleep(100)
"""


def script(folder: Path, text: str) -> str:
    path = folder / "script.py"
    path.write_text(text)
    return str(path)


def test_it_has_words_environment_folder_and_streams_of_its_own(tmp_path: Path) -> None:
    done = forks.run_text([script(tmp_path, SAYS), "a", "b"], env={"ONE": "1"}, input="said", cwd=tmp_path)
    assert done.stdout == f"['ONE'] {tmp_path} ['a', 'b'] __main__\nSAID\n"
    assert (done.returncode, done.stderr) == (7, "over\n")


def test_an_exception_is_told_as_python_tells_it(tmp_path: Path) -> None:
    done = forks.run_text([script(tmp_path, "raise KeyError(3)")], env={})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("Traceback ")
    assert done.stderr.endswith("KeyError: 3\n")
    with pytest.raises(subprocess.CalledProcessError):
        forks.run([script(tmp_path, "raise KeyError(3)")], env={}, check=True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, -15), (signal.SIGINT, -2)])
def test_a_signal_ends_it_and_is_its_exit_code(tmp_path: Path, number: signal.Signals, code: int) -> None:
    begun = tmp_path / "begun"
    nothing = os.open(os.devnull, os.O_RDWR)
    fork = forks.Fork(
        [script(tmp_path, WAITS), str(begun)], env={}, cwd=tmp_path, stdin=nothing, stdout=nothing, stderr=nothing
    )
    os.close(nothing)
    wait_until(begun.exists, "the script to begin")
    assert fork.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        fork.wait(0.01)
    fork.send_signal(number)
    assert fork.wait(60) == code
    assert fork.poll() == code
    fork.kill()


def test_what_takes_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        forks.run([script(tmp_path, WAITS), str(tmp_path / "begun")], env={}, timeout=0.5)
