"""A process that has loaded what our programs load, and becomes one of them in each of its forks.

`python -m tests.forkserver DESCRIPTOR MODULE… -- MODULE…`; `tests.forks` talks to it. A
program that starts here is the real one, in a process of its own, with its own
environment and its own files; only the time to load its libraries is spent once.
"""

import faulthandler
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from connectors.launch import die_with_parent
from tests.greened import greened

REQUEST_BYTES = 1 << 20
# Its standard streams, and where its id and its exit code are told.
DESCRIPTORS = 4


class Job(NamedTuple):
    """What a fork becomes: the words of its command line after Python's own, its environment, its folder.

    And whether it leads a session of its own.
    """

    words: list[str]
    environ: dict[str, str]
    folder: str
    leads: bool


def serve(channel: socket.socket) -> Job:
    """Fork for each request, and tell how each fork ends; returns in the forks alone."""
    parent = os.getpid()
    woken, wake = os.pipe()
    for end in (woken, wake):
        os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    tellers: dict[int, socket.socket] = {}
    while True:
        ready = select.select([channel.fileno(), woken], [], [])[0]
        if woken in ready:
            os.read(woken, 4096)
            _tell_ends(tellers)
        if channel.fileno() in ready:
            data, files, _, _ = socket.recv_fds(channel, REQUEST_BYTES, DESCRIPTORS)
            if not data:
                sys.exit()
            # A lock that another thread held would be held for ever in the fork.
            assert len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208  # a name a thread
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for end in (woken, wake, files[3]):
                    os.close(end)
                channel.close()
                for teller in tellers.values():
                    teller.close()
                die_with_parent(parent, signal.SIGKILL)
                _take(files[:3])
                return Job(**json.loads(data))
            for file in files[:3]:
                os.close(file)
            tellers[pid] = socket.socket(fileno=files[3])
            tellers[pid].send(b"%d" % pid)


def _tell_ends(tellers: dict[int, socket.socket]) -> None:
    while tellers:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        # Whoever asked for it may be gone.
        with tellers.pop(pid) as teller, suppress(BrokenPipeError):
            teller.send(b"%d" % os.waitstatus_to_exitcode(status), socket.MSG_NOSIGNAL)


def _take(files: list[int]) -> None:
    """Have the standard streams, as a new interpreter has them."""
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = sys.__stdin__ = _stream(0, sys.stdin)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _stream(1, sys.stdout)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2, sys.stderr)  # type: ignore[misc]


def _stream(number: int, like: Any) -> io.TextIOWrapper:
    binary: Any = open(number, "rb" if number == 0 else "wb", closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(
        binary, encoding=like.encoding, errors=like.errors, line_buffering=number == 2 or os.isatty(number)
    )


def become(job: Job) -> None:
    """Run what the words name: `-m`, a module and its arguments, or a script and its arguments."""
    # A fault of a library in a fork would end it without a word.
    faulthandler.enable()
    os.environ.clear()
    os.environ.update(job.environ)
    os.chdir(job.folder)
    if job.leads:
        os.setsid()
    if job.words[0] == "-m":
        _, module, *arguments = job.words
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = job.words
        runpy.run_path(job.words[0], run_name="__main__")


def main(descriptor: str, *words: str) -> None:
    """Load the modules, those after `--` as gevent's workers load them, and serve."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    place = words.index("--")
    for module in words[:place]:
        importlib.import_module(module)
    if green := words[place + 1 :]:
        with greened():
            for module in green:
                importlib.import_module(module)
    gc.collect()
    # What is loaded is shared for as long as nobody looks whether it is garbage.
    gc.freeze()
    become(serve(socket.socket(fileno=int(descriptor))))


if __name__ == "__main__":
    main(*sys.argv[1:])
