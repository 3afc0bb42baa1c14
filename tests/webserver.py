"""The web as it is run: gunicorn in a process of its own, on a free port."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import IO, cast

import psycopg
import pytest

from connectors.launch import launcher
from connectors.loopback import HOST
from connectors.server import Server
from tests.forks import WEB, Fork
from tests.servers import PostgresServer, fresh_database
from tests.waiting import PATIENCE_S, wait_until
from tests.writers import Writer

ROOT = Path(__file__).parent.parent
# Nobody listens there, so a web that isn't told of a NATS finds none.
NO_NATS = "nats://127.0.0.1:1"


class WebServer(Server):
    """One gunicorn.

    Args:
        folder: where its log is kept.
        settings: variables of its environment.
    """

    # Whoever measures it has it start from nothing.
    is_forked = True
    name = "web"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        super().__init__(folder)
        self._settings = settings

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def database(self) -> str:
        return self._settings["DATABASE_URL"]

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def _program(self) -> list[str]:
        return [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "web" / "gunicorn.conf.py"), "web:create_app()"]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        return {**kept, "NATS_URL": NO_NATS, **self._settings, "AGENT_COMMS_PORT": str(self.port)}

    def command(self) -> list[str]:
        words = [f"{name}={value}" for name, value in self._environment().items()]
        return [*launcher(end_with=signal.SIGKILL), "/usr/bin/env", "-i", *words, *self._program()]

    def spawn(self, log: IO[bytes]) -> "subprocess.Popen[bytes]":
        if not self.is_forked:
            return super().spawn(log)
        with Path(os.devnull).open("rb") as nothing:
            fork = Fork(
                self._program(),
                modules=WEB,
                env=self._environment(),
                stdin=nothing.fileno(),
                stdout=log.fileno(),
                stderr=log.fileno(),
                leads=True,
            )
        # As much of one as is used of a server.
        return cast("subprocess.Popen[bytes]", fork)

    def is_ready(self) -> bool:
        with closing(HTTPConnection(HOST, self.port, timeout=2)) as connection, suppress(OSError):
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        return False

    def is_linked(self) -> bool:
        """Whether it is connected to NATS."""
        with closing(HTTPConnection(HOST, self.port, timeout=PATIENCE_S)) as connection:
            connection.request("GET", "/readyz")
            return bool(json.loads(connection.getresponse().read())["checks"]["nats"]["state"] == "ok")

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels; NaN, which equals nothing, while there is none."""
        with closing(HTTPConnection(HOST, self.port, timeout=PATIENCE_S)) as connection:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        return next((float(line.split()[1]) for line in lines if line.startswith(f"{name} ")), float("nan"))

    def send(self, request: bytes) -> tuple[int, bytes]:
        """Send bytes, and no more than these, and return the status and the body of what comes back."""
        with socket.create_connection((HOST, self.port), timeout=PATIENCE_S) as connection:
            # It may be refused before it was read to its end.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
            answer = b""
            with suppress(ConnectionResetError):
                while data := connection.recv(65_536):
                    answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")


StartWeb = Callable[..., WebServer]


@pytest.fixture(scope="session")
def long_lived_web(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[WebServer]:
    folder = tmp_path_factory.mktemp("web")
    with fresh_database(postgres_server) as dsn, WebServer(folder, {"DATABASE_URL": dsn}) as web:
        yield web


@pytest.fixture
def start_web(tmp_path: Path) -> Iterator[StartWeb]:
    """Start webs: `start_web(DATABASE_URL=dsn, …)`."""
    with ExitStack() as webs:

        def start(**settings: str) -> WebServer:
            web = WebServer(tmp_path / f"web-{len(list(tmp_path.iterdir()))}", settings)
            return webs.enter_context(web)

        yield start


@pytest.fixture
def web(start_web: StartWeb, database: str) -> WebServer:
    """A web of the test's own on a fresh database."""
    return start_web(DATABASE_URL=database)


@pytest.fixture
def shared_web(long_lived_web: WebServer) -> WebServer:
    """A web on an empty database, for tests that count nothing, and start again what they stop."""
    wait_until(lambda: is_emptied(long_lived_web.database), "an empty database")
    # A test that failed may have left it stopped.
    if not long_lived_web.is_ready():
        long_lived_web.restart()
    return long_lived_web


def is_emptied(database: str) -> bool:
    """Empty the tables; False where the web, which reads them all the while, and this have waited for each other."""
    try:
        with psycopg.connect(database) as connection:
            connection.execute(
                "TRUNCATE workflow_comms.agent_messages, workflow_comms.runs, workflow_comms.dead_letters,"
                " workflow_comms.pulses, workflow_comms.reconcile_queue"
            )
    except psycopg.errors.DeadlockDetected:
        return False
    return True


@pytest.fixture
def writer(web: WebServer) -> Iterator[Writer]:
    """Writes what the web of the test shows."""
    with Writer(web.database) as writer:
        yield writer
