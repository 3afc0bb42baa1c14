"""TLS to Postgres, with a server that speaks it: the embedded one doesn't, so this needs another installation."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from connectors.authority import issue
from connectors.launch import launcher
from connectors.loopback import HOST
from connectors.server import Server
from web.failure import in_words, one_line

PASSWORD = "hunter2-of-postgres"
NO_TLS = "DATABASE_URL: there is no TLS with Postgres as it asks for: "


def found() -> Path | None:
    """Return the folder of the programs of a Postgres that speaks TLS."""
    on_path = shutil.which("postgres")
    folders = [Path(on_path).parent] if on_path else []
    for folder in [*folders, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]:
        program = folder / "pg_config"
        if (folder / "initdb").is_file() and program.is_file():
            told = subprocess.run([program, "--configure"], capture_output=True, text=True, check=False).stdout
            if re.search(r"--with-(openssl|ssl=openssl)", told):
                return folder
    return None


class TlsPostgres(Server):
    """Takes TLS and passwords, and nothing in the clear."""

    name = "postgres"
    stop_signal = signal.SIGINT

    def __init__(self, folder: Path, programs: Path) -> None:
        super().__init__(folder)
        self._programs = programs
        self.data = self.folder / "data"
        self.ca = self.folder / "tls" / "ca.crt"

    def dsn(self, host: str = HOST, ca: Path | None = None) -> str:
        trusted = f"sslmode=verify-full&sslrootcert={ca or self.ca}"
        return f"postgresql://owner:{PASSWORD}@{host}:{self.port}/postgres?{trusted}&connect_timeout=5"

    def prepare(self) -> None:
        self.data.mkdir(mode=0o700, parents=True)
        words = ["--username=owner", "--pwfile=/dev/stdin", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]
        subprocess.run(
            [*self._launcher(), self._programs / "initdb", "-N", "-D", self.data, *words],
            input=PASSWORD,
            capture_output=True,
            text=True,
            check=True,
        )
        files = issue(self.folder / "tls", [HOST])
        for file in (files.cert, files.key):
            to = self.data / file.name
            shutil.copy(file, to)
            to.chmod(0o600)
            shutil.chown(to, self.data.stat().st_uid, self.data.stat().st_gid)
        (self.data / "pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")

    def command(self) -> list[str]:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": "tls.crt",
            "ssl_key_file": "tls.key",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [*self._launcher(), str(self._programs / "postgres"), "-D", str(self.data), *options]

    def is_ready(self) -> bool:
        try:
            psycopg.connect(self.dsn()).close()
        except psycopg.OperationalError:
            return False
        return True

    def _launcher(self) -> list[str]:
        return launcher(end_with=self.stop_signal, owned=self.data)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsPostgres]:
    programs = found()
    if programs is None:
        pytest.skip("no Postgres with OpenSSL on the PATH or in /usr/lib/postgresql; Debian: apt install postgresql")
    with TlsPostgres(tmp_path_factory.mktemp("tls-postgres"), programs) as server:
        yield server


def command(*words: str, url: str) -> "subprocess.CompletedProcess[str]":
    environ = {**os.environ, "DATABASE_URL": url}
    return subprocess.run(
        [sys.executable, "-m", "web.cli", *words], env=environ, capture_output=True, text=True, check=False
    )


def test_with_the_right_authority_everything_is_over_tls(server: TlsPostgres) -> None:
    done = command("migrate", url=server.dsn())
    assert (done.returncode, done.stderr) == (0, "")
    with psycopg.connect(server.dsn()) as connection:
        kind = connection.execute("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()
    assert kind == (True, "TLSv1.3")


def told(url: str) -> str:
    """Return what a command would say of a connection that fails."""
    with pytest.raises(psycopg.OperationalError) as raised:
        psycopg.connect(url)
    failure = in_words(raised.value)
    assert failure is not None
    return one_line(str(failure), {"DATABASE_URL": url})


def test_another_authority_is_one_line_that_names_the_setting(server: TlsPostgres, tmp_path: Path) -> None:
    done = command("prune", "--dry-run", url=server.dsn(ca=issue(tmp_path, [HOST]).ca))
    assert (done.returncode, done.stdout) == (3, "")
    assert re.fullmatch(rf"agent-comms: {NO_TLS}.*certificate verify failed\n", done.stderr)
    assert PASSWORD not in done.stderr


def test_another_host_and_an_authority_that_is_missing_are_told(server: TlsPostgres, tmp_path: Path) -> None:
    for url, words in (
        (server.dsn(ca=tmp_path / "nowhere.crt"), "root certificate file"),
        (server.dsn(host="localhost"), "does not match host name"),
    ):
        line = told(url)
        assert line.startswith(NO_TLS)
        assert words in line
        assert PASSWORD not in line


def test_where_the_server_speaks_no_tls_nothing_is_sent_in_the_clear(database: str) -> None:
    line = told(f"{database}?sslmode=require")
    assert line.startswith(NO_TLS)
    assert str(urlsplit(database).password) not in line
