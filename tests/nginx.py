"""A real nginx in front of one web or several."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from pathlib import Path

import pytest

from connectors.launch import launcher
from connectors.loopback import HOST
from connectors.server import Server
from tests.webserver import WebServer

# As little as one can write, so that what the web sends has to do the rest.
PLAIN = "proxy_set_header Host $http_host;"
# What sockets need beside.
UPGRADING = """
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $connection_upgrade;
"""


class Nginx(Server):
    """One nginx.

    Args:
        folder: where its configuration, its log and all it writes are.
        webs: where it leads to, in turns.
        directives: of the location.
    """

    name = "nginx"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path, webs: list[WebServer], directives: str) -> None:
        super().__init__(folder)
        self._webs = webs
        self._directives = directives

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = "\n".join(
            f"{kind}_temp_path {self.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        servers = "\n".join(f"server {HOST}:{web.port} max_fails=0;" for web in self._webs)
        (self.folder / "nginx.conf").write_text(
            f"""
            daemon off;
            pid {self.folder}/nginx.pid;
            error_log stderr;
            events {{ worker_connections 4096; }}
            http {{
                access_log off;
                {temporary}
                map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
                upstream web {{ {servers} }}
                server {{
                    listen {HOST}:{self.port};
                    location / {{ proxy_pass http://web; {self._directives} }}
                }}
            }}
            """,
            encoding="utf-8",
        )

    def command(self) -> list[str]:
        program = nginx_program()
        assert program is not None
        configuration = str(self.folder / "nginx.conf")
        return [
            *launcher(end_with=signal.SIGKILL, owned=self.folder),
            program,
            "-p",
            str(self.folder),
            "-c",
            configuration,
        ]

    def is_ready(self) -> bool:
        with closing(HTTPConnection(HOST, self.port, timeout=2)) as connection, suppress(OSError):
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        return False


def nginx_program() -> str | None:
    """Return nginx's path, None where there is none."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


StartNginx = Callable[..., Nginx]


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[StartNginx]:
    """Start an nginx: `start_nginx(web, …, directives=PLAIN)`."""
    if nginx_program() is None:
        if os.environ.get("AGENT_COMMS_REQUIRE_NGINX"):
            pytest.fail("nginx is not installed, and AGENT_COMMS_REQUIRE_NGINX is set")
        pytest.skip("nginx is not installed; on Debian: apt install nginx-light")
    with ExitStack() as servers:

        def start(*webs: WebServer, directives: str = PLAIN) -> Nginx:
            folder = tmp_path / f"nginx-{len(list(tmp_path.iterdir()))}"
            return servers.enter_context(Nginx(folder, list(webs), directives))

        yield start
