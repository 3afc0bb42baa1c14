"""A network that a test can cut, stall and slow down: a TCP proxy before a server."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Self

from connectors.loopback import HOST

CHUNK = 64 * 1024


@dataclass
class Cut:
    """Cuts a connection on which certain bytes are on their way.

    Attributes:
        pattern: what is looked for.
        from_client: in what the client sends; otherwise in what the server answers.
        after: how many bytes behind the pattern still pass; with None it doesn't arrive itself.
        left: how many connections are still to be cut so.
        done: how many were.
    """

    pattern: bytes
    from_client: bool
    after: int | None = None
    left: int = 1
    done: int = 0


class Proxy:
    """Hands on what a client and a server of this machine say to each other, until told otherwise."""

    def __init__(self, port: int) -> None:
        self._server = (HOST, port)
        self._listener = socket.create_server((HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._cuts: list[Cut] = []
        self._open = threading.Event()
        self._open.set()
        self.bytes_a_second: float | None = None
        self._refusing = False
        self._closing = False
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def instead(self, url: str) -> str:
        """Return a URL of the server as one that leads through here."""
        return url.replace(f"{HOST}:{self._server[1]}", f"{HOST}:{self.port}")

    @property
    def connections(self) -> int:
        """How many there are at this moment."""
        with self._lock:
            return len(self._links)

    def cut(self) -> None:
        """Cut every connection there is."""
        with self._lock:
            links = [*self._links]
        for link in links:
            link.close()

    def cut_at(self, pattern: bytes, *, from_client: bool, after: int | None = None, times: int = 1) -> Cut:
        """Cut the next connections on which the pattern comes by; what follows it doesn't arrive."""
        cut = Cut(pattern, from_client, after, left=times)
        with self._lock:
            self._cuts.append(cut)
        return cut

    def forsake(self) -> None:
        """Hand on nothing more on the connections there are, and tell nobody; new ones are as ever."""
        with self._lock:
            links = [*self._links]
        for link in links:
            link.is_forsaken = True

    @contextmanager
    def away(self) -> Iterator[None]:
        """Cut every connection, and let nobody in."""
        self._refusing = True
        self.cut()
        try:
            yield
        finally:
            self._refusing = False

    @contextmanager
    def stalled(self) -> Iterator[None]:
        """Hand on nothing, and tell nobody."""
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    @contextmanager
    def slow(self, bytes_a_second: float) -> Iterator[None]:
        """Let each connection's bytes trickle."""
        self.bytes_a_second = bytes_a_second
        try:
            yield
        finally:
            self.bytes_a_second = None

    def close(self) -> None:
        self._closing = True
        self._open.set()
        # A thread that sleeps in accept() wakes for a caller only.
        with suppress(OSError):
            socket.create_connection((HOST, self.port)).close()
        self._accepting.join()
        self._listener.close()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._closing:
                client.close()
                return
            try:
                server = None if self._refusing else socket.create_connection(self._server)
            except OSError:
                server = None
            if server is None:
                client.close()
            else:
                self._link(client, server)

    def _link(self, client: socket.socket, server: socket.socket) -> None:
        link = _Link(self, client, server)
        with self._lock:
            self._links.add(link)
        link.start()
        # It may have been let in just before it was decided that nobody is.
        if self._refusing:
            link.close()

    def forget(self, link: "_Link") -> None:
        with self._lock:
            self._links.discard(link)

    def claim(self, cut: Cut) -> bool:
        """Say whether it is this connection that is to be cut."""
        with self._lock:
            if not cut.left:
                return False
            cut.left -= 1
            return True

    def cuts(self, *, from_client: bool) -> list[Cut]:
        with self._lock:
            return [cut for cut in self._cuts if cut.left and cut.from_client is from_client]

    def wait_until_open(self) -> None:
        self._open.wait()


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._sockets = (client, server)
        for one in self._sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ends_left = 2
        self.is_forsaken = False
        self._lock = threading.Lock()

    def start(self) -> None:
        client, server = self._sockets
        for source, target, from_client in ((client, server, True), (server, client, False)):
            threading.Thread(target=self._pump, args=(source, target, from_client), daemon=True).start()

    def close(self) -> None:
        self._proxy.forget(self)
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _pump(self, source: socket.socket, target: socket.socket, from_client: bool) -> None:
        try:
            self._hand_on(source, target, from_client=from_client)
        except OSError:
            pass
        finally:
            self.close()
            self._let_go()

    def _let_go(self) -> None:
        with self._lock:
            self._ends_left -= 1
            last = not self._ends_left
        if last:
            for one in self._sockets:
                one.close()

    def _hand_on(self, source: socket.socket, target: socket.socket, *, from_client: bool) -> None:
        tail = b""
        while data := source.recv(CHUNK):
            self._proxy.wait_until_open()
            if self.is_forsaken:
                continue
            for cut in self._proxy.cuts(from_client=from_client):
                at = (tail + data).find(cut.pattern)
                if at >= 0 and self._proxy.claim(cut):
                    end = max(0, at - len(tail)) if cut.after is None else at - len(tail) + len(cut.pattern)
                    self._pass_only(cut.after or 0, data[:end], data[end:], source, target)
                    cut.done += 1
                    return
            self._send(target, data)
            tail = (tail + data)[-64:]

    def _pass_only(self, more: int, first: bytes, rest: bytes, source: socket.socket, target: socket.socket) -> None:
        """Hand on the first bytes and so many of those behind them."""
        self._send(target, first)
        while more > 0 and rest:
            self._send(target, rest[:more])
            more -= len(rest)
            rest = source.recv(CHUNK) if more > 0 else b""

    def _send(self, target: socket.socket, data: bytes) -> None:
        rate = self._proxy.bytes_a_second
        if rate is None:
            target.sendall(data)
            return
        step = max(1, int(rate / 20))
        for begin in range(0, len(data), step):
            target.sendall(data[begin : begin + step])
            if self._proxy.bytes_a_second is not None:
                time.sleep(step / rate)
