"""A NATS connection that lives on an event-loop thread of its own.

Synchronous callers (a Bytewax source, a sink, a command) talk to it through
`NatsConnection.run`; PINGs, reconnects and acks go on whatever they do.
"""

import asyncio
import logging
import random
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import wait as wait_for_futures
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from nats.aio.client import RawCredentials
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nkeys import NkeysError

from connectors.client import TolerantClient
from connectors.tls import UnusableFile, client_context

log = logging.getLogger(__name__)
T = TypeVar("T")

CONNECT_TIMEOUT_S = 2
RECONNECT_WAIT_S = 0.25
# Twice as long after each failure, up to this; each wait is drawn, lest all clients of a restarted server come at once.
RECONNECT_MOST_S = 2.0
PING_INTERVAL_S = 10
# 8 MiB of unsent publishes and acks; past it the client raises instead of growing.
PENDING_BYTES = 8 * 1024 * 1024
_TODO = "check where the client connects to and as whom, and what the server permits; it tries again"
_TODO_FILE = "put the right file in its place; it is read anew at each try"


class NatsUnavailable(ConnectionError):
    """No server answered, or none let us in; the text is what it said."""


class GivenUp(NatsUnavailable):
    """Whoever waited for a server was asked to wait no longer."""


@dataclass(frozen=True)
class NatsOptions:
    """How to reach NATS and as whom. Files are read at connect, so a rotated one is picked up.

    Attributes:
        servers: URLs, tried in turn.
        name: how this connection is called in the server's monitoring.
        creds: the content of a .creds file; `creds_file` its path.
        inbox_prefix: the only inboxes this user may subscribe to.
        js_api_prefix: where the JetStream API is, when it is imported from another account.
    """

    servers: tuple[str, ...]
    name: str = "agent-comms"
    creds_file: Path | None = None
    creds: str | None = field(default=None, repr=False)
    nkey_seed_file: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    inbox_prefix: str = "_INBOX"
    js_api_prefix: str = "$JS.API"

    def tls(self) -> ssl.SSLContext | None:
        """Return the TLS context, or None where neither an authority nor a certificate is set.

        Raises:
            UnusableFile: one of the files can't be read, or doesn't hold what it is to hold.
        """
        return client_context(self.ca_file, self.cert_file, self.key_file)

    def client_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `nats.connect` that these options stand for."""
        arguments: dict[str, Any] = {
            "servers": list(self.servers),
            "name": self.name,
            "inbox_prefix": self.inbox_prefix,
            "tls": self.tls(),
            "user": self.user,
            "password": self.password,
        }
        if self.creds_file:
            arguments["user_credentials"] = str(self.creds_file)
        elif self.creds:
            arguments["user_credentials"] = RawCredentials(self.creds)
        elif self.nkey_seed_file:
            arguments["nkeys_seed"] = str(self.nkey_seed_file)
        return {name: value for name, value in arguments.items() if value is not None}


class NatsConnection:
    """One client on its own loop thread; it reconnects for ever, quietly.

    Args:
        options: where and as whom.
        on_reconnect: called on the loop after each reconnect.
        on_error: called on the loop with each complaint of the server or the client.
    """

    def __init__(
        self,
        options: NatsOptions,
        on_reconnect: Callable[[], Awaitable[None]] | None = None,
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self.options = options
        self._on_reconnect = on_reconnect
        self._on_error = on_error
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=f"nats:{options.name}", daemon=True)
        self._client = TolerantClient()
        self._last_error = ""
        # That the server refused us says more than that it then cut the line, which may be all that a later try hears.
        self._refusal = ""
        self._unusable = ""
        self._established = False
        self._closing = False
        self._failures = 0
        self._rebuild: asyncio.Task[None] | None = None

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            # Whoever was still connecting is told that nobody waits for it.
            if tasks := asyncio.all_tasks(self._loop):
                for task in tasks:
                    task.cancel()
                self._loop.run_until_complete(asyncio.wait(tasks, timeout=CONNECT_TIMEOUT_S / 2))
            # Where there was no time for a farewell, the socket is still open.
            self._client.abandon()
            self._loop.run_until_complete(asyncio.sleep(0))
        finally:
            self._loop.close()

    @property
    def client(self) -> TolerantClient:
        """The client; touch it on the loop only."""
        return self._client

    @property
    def is_connected(self) -> bool:
        """Whether the connection is up at this moment."""
        return self._client.is_connected

    @property
    def server_certificate(self) -> bytes | None:
        """The certificate that the server has shown, DER; None where there is none."""
        return self._client.server_certificate

    @property
    def last_error(self) -> str:
        """What the client last complained of, for a person."""
        return self._last_error

    def jetstream(self) -> JetStreamContext:
        """Return the JetStream API of this connection, under the prefix of its options."""
        return self._client.jetstream(prefix=self.options.js_api_prefix)

    def connect(self, *, wait: bool = True, unless: Callable[[], bool] | None = None) -> Self:
        """Start the thread and connect.

        Args:
            wait: keep trying until a server answers; otherwise raise at the first failure.
            unless: asked meanwhile; once it says yes, nobody waits for an answer any more.

        Raises:
            GivenUp: `unless` said yes.
            NatsUnavailable: no server answered or let us in (only with `wait=False`).
        """
        self._thread.start()
        try:
            self._wait_for(self.submit(self._connect(wait=wait)), unless)
        except (GivenUp, UnusableFile):
            self.close()
            raise
        except (NatsError, OSError) as error:
            self.close()
            raise NatsUnavailable(self._refusal or self._last_error or self._in_words(error)) from error
        except BaseException:
            self.close()
            raise
        return self

    def _wait_for(self, connected: "Future[None]", unless: Callable[[], bool] | None) -> None:
        while unless is not None and not connected.done():
            if unless():
                connected.cancel()
                message = "given up before a server answered"
                raise GivenUp(message)
            wait_for_futures([connected], timeout=RECONNECT_WAIT_S)
        connected.result()

    async def _connect(self, *, wait: bool) -> None:
        while True:
            try:
                await self._connect_client(wait=wait)
                return
            except (NatsError, NkeysError, OSError, ValueError) as error:
                # A file that is rotated may be none for a moment; the client itself would not try again.
                if not wait:
                    raise
                self._failures += 1
                self._tell(error)
            self._client = TolerantClient()
            await asyncio.sleep(self._backoff())

    async def _connect_client(self, *, wait: bool) -> None:
        await self._client.connect(
            **self.options.client_arguments(),
            error_cb=self._note_error,
            disconnected_cb=self._note_disconnect,
            reconnected_cb=self._note_reconnect,
            closed_cb=self._note_closed,
            max_reconnect_attempts=-1 if wait else 1,
            reconnect_time_wait=RECONNECT_WAIT_S,  # type: ignore[arg-type]  # any number of seconds
            connect_timeout=CONNECT_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            pending_size=PENDING_BYTES,
        )
        # The limit was for the first attempt; once in, the connection is kept up for ever.
        self._client.options["max_reconnect_attempts"] = -1
        self._established = True
        self._failures = 0

    async def _note_error(self, error: Exception) -> None:
        self._tell(error)
        if not self.is_connected:
            self._failures += 1
            self._client.options["reconnect_time_wait"] = self._backoff()
            self._renew_trust()

    def _tell(self, error: Exception) -> None:
        text = self._in_words(error)
        if text != self._last_error:
            todo = _TODO_FILE if isinstance(error, UnusableFile) else _TODO
            log.warning("nats: %s", text, extra={"todo": todo, "connection": self.options.name})
        self._last_error = text
        if "authorization" in text.lower():
            self._refusal = text
        if self._on_error:
            self._on_error(error if text == str(error) else NatsUnavailable(text))

    def _in_words(self, error: Exception) -> str:
        if isinstance(error, socket.gaierror | UnicodeError):
            # It doesn't say whose address it is, which is mostly a name that is misspelled.
            hosts = ", ".join(_host(server) for server in self.options.servers)
            why = error.strerror if isinstance(error, socket.gaierror) else "that is no name of a host"
            return f"no address is known of {hosts}: {why}"
        if isinstance(error, TimeoutError) and not str(error):
            # A server that is frozen, or something else that listens there, takes the connection and says nothing.
            return f"{', '.join(map(_host, self.options.servers))} says nothing for {CONNECT_TIMEOUT_S} s"
        return str(error) or type(error).__name__

    def _renew_trust(self) -> None:
        """Read the authority anew, which may have been exchanged since; the client itself would go on with the old."""
        try:
            context = self.options.tls()
        except UnusableFile as error:
            self._tell_of_file(error)
            return
        self._unusable = ""
        if context:
            self._client.options["tls"] = context

    def _tell_of_file(self, error: UnusableFile) -> None:
        # Beside it the server's own complaints go on, so that the last of them doesn't tell whether it was said.
        if self._unusable == str(error):
            return
        self._unusable = str(error)
        log.warning(
            "nats: %s; it goes on with what it had", error, extra={"todo": _TODO_FILE, "connection": self.options.name}
        )
        if self._on_error:
            self._on_error(error)

    def _backoff(self) -> float:
        """Return how many seconds to wait before the next try."""
        longest = min(RECONNECT_WAIT_S * 2 ** min(self._failures, 8), RECONNECT_MOST_S)
        return random.uniform(longest / 2, longest)  # noqa: S311  # it is no secret

    async def _note_disconnect(self) -> None:
        if not self._closing:
            todo = "see to the server if it lasts; nothing is lost"
            log.warning("nats: disconnected; reconnecting", extra={"todo": todo, "connection": self.options.name})

    async def _note_closed(self) -> None:
        # The client gives up by itself when a server refuses its credentials on a
        # reconnect, say while they are being rotated. We don't: they are read anew.
        if self._closing or not self._established:
            return
        self._client = TolerantClient()
        self._rebuild = self._loop.create_task(self._reopen())

    async def _reopen(self) -> None:
        await asyncio.sleep(self._backoff())
        await self._connect(wait=True)
        await self._note_reconnect()

    async def _note_reconnect(self) -> None:
        self._last_error = self._unusable = ""
        self._failures = 0
        log.info("nats: reconnected", extra={"connection": self.options.name})
        if self._on_reconnect:
            await self._on_reconnect()

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the loop and return what it returns; `timeout` in seconds."""
        return self.submit(work).result(timeout)

    def submit(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Have the loop run a coroutine, without waiting for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """Flush what is unsent, close the connection and end the thread."""
        is_closing, self._closing = self._closing, True
        # Whoever was still connecting while it was closed would close it once more.
        if is_closing or not self._thread.is_alive():
            return
        # nats-py asserts that it was connected once.
        with suppress(NatsError, OSError, TimeoutError, AssertionError):
            self.run(self._client.close(), timeout=CONNECT_TIMEOUT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CONNECT_TIMEOUT_S)

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _host(server: str) -> str:
    """Return a server's name without who connects; its scheme may be left out."""
    return urlsplit(server if "://" in server else f"nats://{server}").hostname or server
