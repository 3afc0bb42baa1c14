"""A server program of our own: it is started, waited for, stopped and killed."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from connectors.loopback import free_port

START_S = 30.0
STOP_S = 15.0
POLL_S = 0.01

# The kernel ties a child to the thread that started it, so that thread must last as long as we do.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawn")


class ServerError(RuntimeError):
    """A server can't be had or doesn't start; the text is one line."""


class Server(ABC):
    """A server of our own: its folder, its port, and its life.

    Args:
        folder: where its data and its log are kept; made where it is missing.
        port: by default a free one is chosen. It stays the same over restarts.
    """

    name: str
    stop_signal: signal.Signals

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder.absolute()
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log_file(self) -> Path:
        """Where what the server says is appended."""
        return self.folder / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """The running server's process id; raises `ServerError` where it isn't running."""
        if self._process is None:
            message = f"{self.name} is not running"
            raise ServerError(message)
        return self._process.pid

    @abstractmethod
    def prepare(self) -> None:
        """Write what the server needs before its first start; later it does nothing."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the words that start the server in the foreground."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Say whether a client gets in."""

    def start(self) -> Self:
        """Start and wait until a client gets in.

        Raises:
            ServerError: it ended, or took too long.
        """
        self.prepare()
        deadline = time.monotonic() + START_S
        while not self._try_to_start(deadline):
            time.sleep(POLL_S)
        return self

    def _try_to_start(self, deadline: float) -> bool:
        with self.log_file.open("ab") as log:
            begin = log.tell()
            self._process = process = self.spawn(log)
        while process.poll() is None:
            if self.is_ready():
                return True
            if time.monotonic() > deadline:
                self.kill()
                message = f"{self.name} was not ready within {START_S:.0f} s; see {self.log_file}"
                raise ServerError(message)
            time.sleep(POLL_S)
        self._process = None
        words = self._last_words(begin)
        if self.is_passing(words) and time.monotonic() < deadline:
            return False
        message = f"{self.name} did not start: {words or f'exit code {process.returncode}'}"
        raise ServerError(message)

    def environment(self) -> dict[str, str]:
        """Return what the program's environment has beside ours."""
        return {}

    def spawn(self, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        """Start the program; what it says goes to the log."""
        return _spawner.submit(
            subprocess.Popen,
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | self.environment(),
            # A Ctrl-C on the terminal is ours to handle.
            start_new_session=True,
        ).result()

    def is_passing(self, words: str) -> bool:
        """Say whether a refusal to start goes away by itself."""
        del words
        return False

    def _last_words(self, begin: int) -> str:
        with self.log_file.open("rb") as log:
            log.seek(begin)
            lines = log.read().decode(errors="replace").splitlines()
        telling = [line for line in lines if any(word in line for word in ("FATAL", "[FTL]", "error"))]
        return (telling or lines or [""])[-1].strip()

    def stop(self) -> None:
        """End it in order; kill it where it doesn't within a while."""
        if self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop it, and start it on the same data and port."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
