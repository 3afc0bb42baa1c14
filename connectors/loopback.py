"""Ports of this machine that nobody else can reach."""

import socket
from random import SystemRandom

HOST = "127.0.0.1"
# Below the ports that systems hand to outgoing connections: those could take ours while
# a server restarts, and a client that retries such a port may connect to itself.
PORTS = range(20000, 30000)


class NoFreePortError(RuntimeError):
    """Every port is taken."""


def is_free(port: int) -> bool:
    """Say whether a server could listen on a loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """Return a loopback port that nobody listens on.

    Raises:
        NoFreePortError: there is none.
    """
    for port in SystemRandom().sample(PORTS, 200):
        if is_free(port):
            return port
    message = f"no port from {PORTS.start} to {PORTS.stop - 1} is free"
    raise NoFreePortError(message)
