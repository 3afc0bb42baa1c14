"""Everything on this machine: NATS, Postgres, the flow, the pages and a sample, from one command."""

import errno
import http.client
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from nats.errors import Error as NatsError
from psycopg import sql as psql
from rich.console import Console

import sql
import web
from connectors.bootstrap import bootstrap
from connectors.connection import NatsConnection, NatsOptions
from connectors.embedded import EmbeddedNats, EmbeddedPostgres
from connectors.launch import launcher
from connectors.loopback import HOST, is_free, refusal
from connectors.migrations import Migrator, NewerError
from connectors.nkey import NkeyError
from connectors.server import Server, ServerError
from flows import topology, users
from flows.exposition import LASTING_PORT
from flows.nats import nats_options
from flows.redact import redactor_of
from flows.settings import Settings
from flows.users import User
from web.access import check_access
from web.banner import show_addresses, show_end, show_note
from web.credentials import Credentials
from web.failure import Failure
from web.logins import make_logins
from web.state import State
from web.supervisor import Asked, Program, ProgramError, Supervisor

DATABASE = "agent_comms"
# How often a program may end, and how long it may take, before the start is given up.
TRIES = 4
START_S = 60.0
# The servers are ended last.
SERVERS, PROGRAMS = 0, 1
# What other servers are reached by, and as whom; none of it may reach ours.
FOREIGN = ("NATS_", "PG")


def up(*, state: Path, port: int | None, sample: bool, secure: bool) -> int:
    """Run everything until somebody ends it.

    Args:
        state: where data, logs and addresses are kept.
        port: of the pages; by default AGENT_COMMS_PORT, and 0 is any that is free.
        sample: whether sample agents talk.
        secure: with accounts, permissions and TLS.

    Raises:
        Failure: it can't start; the text is one line.
        SettingError: a setting would have a program of it end at once, again and again.
    """
    _forget_other_servers()
    settings = Settings.from_env()
    if settings.agent_comms_host != HOST:
        text = f"AGENT_COMMS_HOST: what is started here listens on {HOST} alone"
        raise Failure(text)
    check_access(settings)
    redactor_of(settings)
    port = settings.agent_comms_port if port is None else port
    console = Console(highlight=False, soft_wrap=True)
    supervisor = Supervisor(note=lambda line: show_note(console, line))
    with State(state) as place, supervisor.asked_by_signals():
        _require_free(port, "--port")
        metrics = settings.agent_comms_metrics_port
        _require_free(metrics, "AGENT_COMMS_METRICS_PORT")
        try:
            credentials = _credentials(place.folder / "credentials") if secure else None
            if metrics is None:
                metrics = LASTING_PORT if is_free(LASTING_PORT) else place.port("metrics")
            set_up = _SetUp(place, port or place.port("web"), metrics, supervisor, console, credentials)
            with supervisor, suppress(Asked):
                set_up.start(sample=sample)
                supervisor.run()
        except (ServerError, ProgramError) as error:
            raise Failure(str(error)) from error
        finally:
            place.forget_addresses()
        show_end(console)
    return 0


def _require_free(port: int | None, chosen_with: str) -> None:
    if port and (refused := refusal(port)):
        why = "is taken" if refused.errno == errno.EADDRINUSE else f"can't be had: {refused.strerror}"
        text = f"port {port} {why}; choose another with {chosen_with}"
        raise Failure(text)


def _forget_other_servers() -> None:
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        del os.environ[name]


def _credentials(folder: Path) -> Credentials:
    try:
        return Credentials(folder)
    except NkeyError as error:
        text = f"{error}; without the file, a new one is made"
        raise Failure(text) from error
    except OSError as error:
        text = f"{error.filename or folder}: {error.strerror}"
        raise Failure(text) from error


class _SetUp:
    """The programs of one local set-up, and the order in which they start."""

    def __init__(
        self,
        state: State,
        port: int,
        metrics: int,
        supervisor: Supervisor,
        console: Console,
        credentials: Credentials | None,
    ) -> None:
        self._state = state
        self._port = port
        self._metrics = metrics
        self._supervisor = supervisor
        self._console = console
        self._credentials = credentials
        # By program; where there is none, it is everybody's.
        self._databases: dict[str, str] = {}
        security = credentials.server() if credentials else None
        self._nats = EmbeddedNats(state.folder / "nats", state.port("nats"), security=security)
        self._postgres = EmbeddedPostgres(state.folder / "postgres", state.port("postgres"))

    def start(self, *, sample: bool) -> None:
        """Start one after the other, each as soon as what it needs is ready, and say where they are."""
        if self._credentials:
            self._credentials.tell(self._nats.url, self._web)
        with self._console.status("Starting NATS and Postgres"):
            self._start_server(self._nats)
            self._start_server(self._postgres)
            self._wait_for(self._nats.is_ready, "NATS")
            self._wait_for(self._postgres.is_ready, "Postgres")
            self._make_schema()
            if self._credentials:
                self._databases = make_logins(self._postgres.dsn(DATABASE))
        with (
            self._console.status("Starting the flow and the pages"),
            NatsConnection(self._options(users.SYSTEM)) as connection,
        ):
            connection.run(bootstrap(connection.jetstream(), topology.manifests(), update=True))
            self._start_program("web", users.WEB, _gunicorn(self._port))
            self._start_program("flow", users.JANGAR, ["-m", "bytewax.run", "flows.ingest"], metrics=self._metrics)
            if sample:
                memory = self._state.folder / "sample.json"
                self._start_program("sample", users.AGENTS, ["-m", "web.cli", "sample", "--memory", str(memory)])
            self._wait_for(self._is_web_ready, "the web server")
            self._wait_for(lambda: _is_flow_ready(connection), "the flow")
        self._state.tell_addresses(self._addresses())
        speaker = self._credentials.env_file(users.AGENTS) if self._credentials else None
        show_addresses(
            self._console, self._addresses(), self._state, sample=sample, speaker=speaker, metrics=self._metrics
        )

    def _as_user(self, user: User) -> dict[str, str]:
        """Return the settings by which a user reaches NATS."""
        url = self._nats.url
        return self._credentials.settings(user, url) if self._credentials else {"NATS_URL": url}

    def _database_of(self, program: str) -> dict[str, str]:
        """Return by which setting a program reaches Postgres, where that is not as its owner."""
        return {"DATABASE_URL": self._databases.get(program, "")} if self._credentials else {}

    def _options(self, user: User) -> NatsOptions:
        return nats_options(Settings.from_env(self._as_user(user)), "agent-comms-up")

    @property
    def _web(self) -> str:
        return f"http://{HOST}:{self._port}"

    def _addresses(self) -> dict[str, str]:
        return {
            "AGENT_COMMS_URL": self._web,
            "NATS_URL": self._nats.url,
            "DATABASE_URL": self._postgres.dsn(DATABASE),
        }

    def _start_server(self, server: Server) -> None:
        server.prepare()
        self._supervisor.start(
            Program(
                server.name,
                server.command(),
                self._state.logs / f"{server.name}.log",
                stop_signal=server.stop_signal,
                stage=SERVERS,
                keeps_open=(self._state.lock,),
            )
        )

    def _start_program(self, name: str, user: User, arguments: list[str], *, metrics: int = 0) -> None:
        environ = {
            **os.environ,
            **self._addresses(),
            **self._as_user(user),
            **self._database_of(name),
            "AGENT_COMMS_HOST": HOST,
            "AGENT_COMMS_PORT": str(self._port),
            "PYTHONUNBUFFERED": "1",
            "AGENT_COMMS_METRICS_PORT": str(metrics),
        }
        command = [*launcher(end_with=signal.SIGTERM), sys.executable, *arguments]
        log_file = self._state.logs / f"{name}.log"
        keeps_open = (self._state.lock,)
        self._supervisor.start(Program(name, command, log_file, environ, stage=PROGRAMS, keeps_open=keeps_open))

    def _wait_for(self, ready: Callable[[], bool], what: str) -> None:
        self._supervisor.wait_for(ready, what, tries=TRIES, timeout=START_S)

    def _make_schema(self) -> None:
        with psycopg.connect(self._postgres.dsn(), autocommit=True) as connection:
            known = connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if known is None:
                connection.execute(psql.SQL("CREATE DATABASE {}").format(psql.Identifier(DATABASE)))
        try:
            Migrator(sql.MIGRATIONS, sql.SCHEMA).migrate(self._postgres.dsn(DATABASE), tell=self._note)
        except NewerError as error:
            # As of `agent-comms migrate`: what this version needs is there.
            self._note(f"nothing to migrate: {error}")

    def _note(self, line: str) -> None:
        show_note(self._console, line)

    def _is_web_ready(self) -> bool:
        url = urlsplit(self._web)
        connection = http.client.HTTPConnection(url.netloc, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _is_flow_ready(connection: NatsConnection) -> bool:
    """Say whether somebody asks the stream for messages."""
    consumer = topology.consumer()
    with suppress(NatsError, OSError):
        info = connection.run(connection.jetstream().consumer_info(consumer.stream_name, consumer.name))
        return bool(info.num_waiting)
    return False


def _gunicorn(port: int) -> list[str]:
    settings = Path(web.__file__).with_name("gunicorn.conf.py")
    return ["-m", "gunicorn", "-c", str(settings), "--bind", f"{HOST}:{port}", "web:create_app()"]
