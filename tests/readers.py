"""Readers with tokens, and the file that knows them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import NatsServer
from tests.webserver import StartWeb, WebServer

Headers = dict[str, str]


class Readers:
    """A readers' file that a web reads.

    Args:
        path: the file's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._blocks: dict[str, str] = {}
        self._write()

    def add(
        self, name: str, *namespaces: str, rights: tuple[str, ...] = ("read",), token: str | None = None
    ) -> Headers:
        """Let somebody in; return the header of a request of theirs."""
        token = token or f"token-of-{name}"
        digest = hashlib.sha256(token.encode()).hexdigest()
        self._blocks[name] = (
            f'[[reader]]\nname = {json.dumps(name)}\ntoken_sha256 = "{digest}"\n'
            f"namespaces = {json.dumps(namespaces)}\nrights = {json.dumps(rights)}\n"
        )
        self._write()
        return {"Authorization": f"Bearer {token}"}

    def add_group(self, name: str, *namespaces: str, rights: tuple[str, ...] = ("read",)) -> None:
        """Let the members of a proxy's group in."""
        self._blocks[name] = (
            f"[[group]]\nname = {json.dumps(name)}\nnamespaces = {json.dumps(namespaces)}\n"
            f"rights = {json.dumps(rights)}\n"
        )
        self._write()

    def remove(self, name: str) -> None:
        del self._blocks[name]
        self._write()

    def _write(self) -> None:
        aside = self.path.with_suffix(".new")
        aside.write_text("# Readers.\n" + "".join(self._blocks.values()), encoding="utf-8")
        aside.rename(self.path)


StartGuarded = Callable[..., WebServer]


def _settings(database: str, readers: Readers) -> dict[str, str]:
    return {
        "AGENT_COMMS_AUTH": "token",
        "AGENT_COMMS_READERS_FILE": str(readers.path),
        "AGENT_COMMS_HEARTBEAT_SECONDS": "1",
        "DATABASE_URL": database,
    }


def guarded_settings(database: str, readers: Readers, nats: NatsServer) -> dict[str, str]:
    """Return what a web needs to be told that asks for tokens."""
    return {**_settings(database, readers), "NATS_URL": nats.url}


@pytest.fixture
def readers(tmp_path: Path) -> Readers:
    return Readers(tmp_path / "readers.toml")


@pytest.fixture
def start_guarded(start_web: StartWeb, database: str, readers: Readers) -> StartGuarded:
    """Start webs that ask who comes: `start_guarded(AGENT_COMMS_AUTH="proxy", …)`."""

    def start(**settings: str) -> WebServer:
        return start_web(**{**_settings(database, readers), **settings})

    return start


@pytest.fixture
def guarded(start_guarded: StartGuarded, nats_server: NatsServer) -> WebServer:
    """A web that asks for tokens."""
    return start_guarded(NATS_URL=nats_server.url)
