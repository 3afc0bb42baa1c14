"""A client of the socket, by a library of its own; and one that sends bytes as they come."""

import base64
import json
import os
import socket
from types import TracebackType
from typing import Any, Protocol, Self

from simple_websocket import Client, ConnectionClosed

from connectors.loopback import HOST

WS = "/api/agents/ws"
PATIENCE_S = 60.0


class Listening(Protocol):
    """Whatever listens on this machine."""

    port: int


class SocketClient:
    """A client that speaks in objects.

    Args:
        web: whom to.
        headers: of the handshake.
    """

    def __init__(self, web: Listening, **headers: str) -> None:
        self._client = Client(f"ws://{HOST}:{web.port}{WS}", headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        try:
            self._client.close()
        except (ConnectionClosed, OSError):
            self._client.sock.close()
        self._client.thread.join(PATIENCE_S)

    def send(self, op: str, **fields: Any) -> None:
        self._client.send(json.dumps({"op": op, **fields}))

    def send_text(self, text: str | bytes) -> None:
        self._client.send(text)

    def take(self) -> dict[str, Any]:
        """Return the next object."""
        text = self._client.receive(PATIENCE_S)
        assert text is not None, "nothing came"
        found: dict[str, Any] = json.loads(text)
        return found

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send an operation and return the next object."""
        self.send(op, **fields)
        return self.take()

    def hear(self, last: str) -> list[str]:
        """Return what is said up to some last words; what is no message is passed over."""
        heard: list[str] = []
        while heard[-1:] != [last]:
            found = self.take()
            if "content" in found:
                heard.append(found["content"])
        return heard

    def end(self) -> int:
        """Wait for the server's farewell and return its code; what comes before is passed over."""
        try:
            while self._client.receive(PATIENCE_S) is not None:
                pass
        except ConnectionClosed as closed:
            return int(closed.reason)
        raise AssertionError("the server stays")


def handshake(web: Listening, *lines: str) -> socket.socket:
    """Open a connection and send a handshake, its own lines beside the needed ones."""
    key = base64.b64encode(os.urandom(16)).decode()
    head = [
        f"GET {WS} HTTP/1.1",
        f"Host: {HOST}:{web.port}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]
    # Of two lines with one name the given one counts.
    names = {line.partition(":")[0].lower() for line in lines}
    kept = [line for line in head if line.partition(":")[0].lower() not in names]
    connection = socket.create_connection((HOST, web.port), timeout=PATIENCE_S)
    connection.sendall(
        "".join(f"{line}\r\n" for line in [*kept, *(line for line in lines if line[-1] != ":")]).encode() + b"\r\n"
    )
    return connection


def frame(opcode: int, data: bytes, *, final: bool = True, masked: bool = True, size: int | None = None) -> bytes:
    """Return a client's frame; `size` is what it says to hold."""
    size = len(data) if size is None else size
    mask = os.urandom(4)
    flag = 0x80 if masked else 0
    if size < 126:
        length = bytes([flag | size])
    elif size < 1 << 16:
        length = bytes([flag | 126]) + size.to_bytes(2)
    else:
        length = bytes([flag | 127]) + size.to_bytes(8)
    body = _masked(data, mask) if masked else data
    return bytes([(0x80 if final else 0) | opcode]) + length + (mask if masked else b"") + body


def _masked(data: bytes, mask: bytes) -> bytes:
    """Mask byte by byte, as one number: there are megabytes among them."""
    whole = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data) ^ int.from_bytes(whole)).to_bytes(len(data))
