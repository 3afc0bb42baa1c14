"""A crowd of clients of one live stream in one loop, cheap enough that a thousand measure the web, not themselves."""

import re
import resource
import selectors
import socket
import time
from array import array
from collections.abc import Callable
from typing import Self
from urllib.parse import urlencode, urlsplit

from tests.waiting import PATIENCE_S
from tests.watcher import EVENTS

_EVENT = re.compile(rb'id: (\d+)\ndata: [^\n]*?"content":"(\d*)')
_RECEIVE_BYTES = 256 * 1024
# As many connections are opened before the crowd looks at what came.
_STRIDE = 100


class Member:
    """One client: the cursors that it has seen, and how long each message took, in ms where its words are a time."""

    __slots__ = ("buffer", "ended", "heard", "seqs", "socket", "took")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.buffer = b""
        self.seqs = array("q")
        self.took = array("d")
        self.heard = 0
        self.ended = False

    def receive(self) -> None:
        """Take what came; note the end."""
        try:
            data = self.socket.recv(_RECEIVE_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            self.ended = True
            return
        self.heard += len(data)
        now = time.time_ns()
        text = self.buffer + data
        whole = text.rfind(b"\n\n") + 2
        if whole < 2:
            self.buffer = text
            return
        self.buffer = text[whole:]
        for seq, said in _EVENT.findall(text, 0, whole):
            self.seqs.append(int(seq))
            if said:
                self.took.append((now - int(said)) / 1e6)


class Crowd:
    """Clients that read whenever something comes.

    Args:
        url: the web's.
        number: how many.
        window: how many bytes the kernel takes for one that doesn't read; by default many.
        header: a line of each request.
        parameters: of the query.
    """

    def __init__(
        self, url: str, number: int, *, window: int | None = None, header: str = "", **parameters: object
    ) -> None:
        _allow_many_files()
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._address = (parts.hostname, parts.port)
        head = [
            f"GET {EVENTS}?{urlencode(parameters)} HTTP/1.1",
            f"Host: {parts.netloc}",
            *([header] if header else []),
        ]
        self._request = ("\r\n".join(head) + "\r\n\r\n").encode()
        self._selector = selectors.EpollSelector()
        self.members: list[Member] = []
        for _ in range(number):
            self._join(window)
            if len(self.members) % _STRIDE == 0:
                self.read(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _join(self, window: int | None) -> None:
        connection = socket.socket()
        if window is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        connection.settimeout(30)
        connection.connect(self._address)
        connection.sendall(self._request)
        connection.setblocking(False)
        member = Member(connection)
        self._selector.register(connection, selectors.EVENT_READ, member)
        self.members.append(member)

    def read(self, timeout: float) -> None:
        """Take what came, waiting for the first of it for so many seconds."""
        for key, _ in self._selector.select(timeout):
            member: Member = key.data
            member.receive()
            if member.ended:
                self._selector.unregister(member.socket)

    def read_until(self, condition: Callable[[], bool], patience: float = PATIENCE_S) -> bool:
        """Read until a condition holds; return whether it came to hold within so many seconds."""
        end = time.monotonic() + patience
        while not condition():
            if time.monotonic() > end:
                return False
            self.read(0.05)
        return True

    def all_have(self, count: int) -> bool:
        """Whether everybody has seen so many messages."""
        return all(len(member.seqs) >= count for member in self.members)

    def vanish(self) -> None:
        """Leave by a reset instead of a farewell."""
        for member in self.members:
            member.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def close(self) -> None:
        """Leave."""
        self._selector.close()
        for member in self.members:
            member.socket.close()


def _allow_many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
