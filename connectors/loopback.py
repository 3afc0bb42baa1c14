"""Ports of this machine that nobody else can reach."""

import socket
from collections import deque
from random import SystemRandom

HOST = "127.0.0.1"
# Below the ports that systems hand to outgoing connections: those could take ours while
# a server restarts, and a client that retries such a port may connect to itself.
PORTS = range(20000, 30000)
# Between being found free and being listened on a port is nobody's yet, and must not be found once more.
_lately: deque[int] = deque(maxlen=500)


class NoFreePortError(RuntimeError):
    """Every port is taken."""


def refusal(port: int) -> OSError | None:
    """Return why no server could listen on a loopback port; None where one could."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error
        return None


def is_free(port: int) -> bool:
    """Say whether a server could listen on a loopback port."""
    return refusal(port) is None


def free_port() -> int:
    """Return a loopback port that nobody listens on, another one each time.

    Raises:
        NoFreePortError: there is none.
    """
    for port in SystemRandom().sample(PORTS, 200):
        if port not in _lately and is_free(port):
            _lately.append(port)
            return port
    message = f"no port from {PORTS.start} to {PORTS.stop - 1} is free"
    raise NoFreePortError(message)
