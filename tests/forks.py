"""Our programs, started by forks of processes that have loaded their libraries: see `tests.forkserver`.

To load them takes most of the time of a command, and it is the same each time.
Tests of a start itself, `up` with all that it runs, and whatever is followed while
it goes on are started as users start them, from nothing.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[1]
# Without polars, and so without what needs it: it starts threads as soon as it is loaded.
LOADED = (
    "bytewax.dataflow",
    "bytewax.recovery",
    "click",
    "connectors.archive",
    "connectors.bootstrap",
    "connectors.connection",
    "connectors.migrations",
    "flows.bundle",
    "flows.catalog",
    "flows.gauges",
    "flows.ingest",
    "flows.letters",
    "flows.nats",
    "flows.progress",
    "flows.publisher",
    "flows.reading",
    "flows.rebuild",
    "flows.retention",
    "flows.roles",
    "flows.summary",
    "web.child",
    "web.doctor_nats",
    "web.doctor_postgres",
    "web.doctor_processes",
    "web.doctor_settings",
    "web.follow",
    "web.gauge",
)
# What gunicorn's own process loads, and what neither waits nor locks; then what its worker loads once gevent has
# replaced what waits and locks. All but what counts: the metrics' library looks at its first import where to keep them.
WEB = (
    "gevent",
    "gunicorn.app.wsgiapp",
    "gunicorn.glogging",
    "gunicorn.workers.ggevent",
    "flows.logs",
    "flows.settings",
    "flows.tracing",
    "web.access",
    "email.message",
    "flows.sheet",
    "html.parser",
    "jinja2.ext",
    "pygments.formatters.html",
    "pygments.lexers",
    "web.markdown",
    "wsproto",
    "timeit",
    "urllib.request",
    "wsgiref.simple_server",
    "--",
    "bytewax.inputs",
    "bytewax.outputs",
    "connectors.certificate",
    "connectors.migrations",
    "flask_sock",
    "flows.backlog",
    "flows.database",
    "flows.letters",
    "flows.nats",
    "flows.storage",
    "isal.igzip",
    "psycopg_pool",
    "web.completions",
    "web.conversation",
    "web.door",
    "web.gate",
    "web.headers",
    "web.hosts",
    "web.indexer",
    "web.intake",
    "web.link",
    "web.ops",
    "web.pages",
    "web.reading",
    "web.replays",
    "web.signin",
    "web.speech",
    "web.squeeze",
    "web.wire",
    "web.writing",
)
START_S = 120


class Server:
    """A process that forks.

    Args:
        modules: what it loads at first; those after `--` as a worker of gevent's loads them.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        program = [sys.executable, "-m", "tests.forkserver", str(theirs.fileno()), *modules]
        program += [] if "--" in modules else ["--"]
        with theirs:
            self._process = subprocess.Popen(program, cwd=ROOT, env=kept, pass_fds=[theirs.fileno()])
        atexit.register(self._end)

    def _end(self) -> None:
        self._channel.close()
        self._process.wait()

    def ask(self, request: bytes, files: Sequence[int]) -> None:
        with self._lock:
            socket.send_fds(self._channel, [request], files)


@cache
def _server(modules: tuple[str, ...]) -> Server:
    return Server(modules)


class Fork:
    """A program in a process of its own, with as much of `subprocess.Popen` as tests of programs need.

    Args:
        words: its command line: Python, `-m`, a module and arguments; or a script in Python and arguments.
        modules: what the process that forks has loaded.
        env: its whole environment.
        cwd: its folder.
        stdin: its input's descriptor; likewise `stdout` and `stderr`.
        leads: whether it has a session of its own.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        modules: tuple[str, ...] = LOADED,
        env: Mapping[str, str],
        cwd: Path = ROOT,
        stdin: int,
        stdout: int,
        stderr: int,
        leads: bool = False,
    ) -> None:
        self.returncode: int | None = None
        self._told, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        job = {
            "words": [*words[words[0] == sys.executable :]],
            "environ": dict(env),
            "folder": str(cwd),
            "leads": leads,
        }
        with theirs:
            _server(modules).ask(json.dumps(job).encode(), [stdin, stdout, stderr, theirs.fileno()])
        self._told.settimeout(START_S)
        self.pid = int(self._told.recv(64))

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        if self.returncode is None:
            self._told.setblocking(False)
            with suppress(BlockingIOError):
                self._hear()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return its exit code: minus the number of the signal that ended it."""
        if self.returncode is None:
            self._told.settimeout(timeout)
            try:
                self._hear()
            except TimeoutError as error:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from error
        assert self.returncode is not None
        return self.returncode

    def _hear(self) -> None:
        self.returncode = int(self._told.recv(64))
        self._told.close()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def run(
    words: Sequence[str],
    *,
    env: Mapping[str, str],
    input: bytes = b"",  # noqa: A002  # as subprocess calls it
    cwd: Path = ROOT,
    check: bool = False,
    timeout: float = 300,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program to its end, as `subprocess.run` does, and return what it said."""
    said: list[bytes] = [b"", b""]

    def hear(place: int, source: IO[bytes]) -> None:
        with source:
            said[place] = source.read()

    def say(sink: IO[bytes]) -> None:
        # It may not care for all of it.
        with suppress(BrokenPipeError), sink:
            sink.write(input)

    ends = [os.pipe() for _ in range(3)]
    try:
        fork = Fork(words, env=env, cwd=cwd, stdin=ends[0][0], stdout=ends[1][1], stderr=ends[2][1])
    finally:
        for end in (ends[0][0], ends[1][1], ends[2][1]):
            os.close(end)
    threads = [
        threading.Thread(target=say, args=[open(ends[0][1], "wb")]),  # noqa: SIM115, PTH123
        threading.Thread(target=hear, args=[0, open(ends[1][0], "rb")]),  # noqa: SIM115, PTH123
        threading.Thread(target=hear, args=[1, open(ends[2][0], "rb")]),  # noqa: SIM115, PTH123
    ]
    for thread in threads:
        thread.start()
    try:
        fork.wait(timeout)
    finally:
        fork.kill()
        fork.wait()
        for thread in threads:
            thread.join()
    done = subprocess.CompletedProcess([*words], fork.wait(), *said)
    if check:
        done.check_returncode()
    return done


def run_text(
    words: Sequence[str],
    *,
    env: Mapping[str, str],
    input: str = "",  # noqa: A002  # as subprocess calls it
    cwd: Path = ROOT,
    check: bool = False,
    timeout: float = 300,
) -> subprocess.CompletedProcess[str]:
    """Do as `run`, with text."""
    done = run(words, env=env, input=input.encode(), cwd=cwd, check=check, timeout=timeout)
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())
