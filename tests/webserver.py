"""The web as it is run: gunicorn in a process of its own, on a free port."""

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from pathlib import Path

import psycopg
import pytest

from connectors.launch import launcher
from connectors.loopback import HOST
from connectors.server import Server
from tests.servers import PostgresServer, fresh_database
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

    def command(self) -> list[str]:
        config = ROOT / "web" / "gunicorn.conf.py"
        environment = {"NATS_URL": NO_NATS, **self._settings, "AGENT_COMMS_PORT": str(self.port)}
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        words = [f"{name}={value}" for name, value in {**kept, **environment}.items()]
        program = [sys.executable, "-m", "gunicorn", "-c", str(config), "web:create_app()"]
        return [*launcher(end_with=signal.SIGKILL), "/usr/bin/env", "-i", *words, *program]

    def is_ready(self) -> bool:
        with closing(HTTPConnection(HOST, self.port, timeout=2)) as connection, suppress(OSError):
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        return False

    def metric(self, name: str) -> float:
        """Return the value of a metric without labels."""
        with closing(HTTPConnection(HOST, self.port, timeout=10)) as connection:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def send(self, request: bytes) -> tuple[int, bytes]:
        """Send bytes, and no more than these, and return the status and the body of what comes back."""
        with socket.create_connection((HOST, self.port), timeout=10) as connection:
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
    """A web on an empty database, for tests that neither break nor count something."""
    with psycopg.connect(long_lived_web.database) as connection:
        connection.execute("TRUNCATE workflow_comms.agent_messages, workflow_comms.runs")
    return long_lived_web


@pytest.fixture
def writer(web: WebServer) -> Iterator[Writer]:
    """Writes what the web of the test shows."""
    with Writer(web.database) as writer:
        yield writer
