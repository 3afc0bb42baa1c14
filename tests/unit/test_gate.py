"""How many live connections a process holds, and whose place is free."""

import socket
from contextlib import ExitStack

import pytest

from web.gate import Gate, Ticket
from web.peer import Peer
from web.problems import Problem


class Client:
    """A connection that has come in, and its other end."""

    def __init__(self, gate: Gate, stack: ExitStack) -> None:
        self.end, server = map(stack.enter_context, socket.socketpair())
        self.peer = Peer({"gunicorn.socket": server})
        self.ticket: Ticket = gate.enter()
        self.ticket.note(self._end_if_left)

    def _end_if_left(self) -> bool:
        left = self.peer.has_left
        if left:
            self.ticket()
        return left


def test_a_full_house_gives_the_places_of_those_who_have_left() -> None:
    gate = Gate(2)
    with ExitStack() as stack:
        stays, leaves = Client(gate, stack), Client(gate, stack)
        # Who has something to say has not left.
        stays.end.sendall(b"GET ")
        leaves.end.close()
        Client(gate, stack)
        with pytest.raises(Problem, match="2 live connections"):
            Client(gate, stack)
        assert not stays.peer.has_left


def test_a_place_is_given_back_once() -> None:
    gate = Gate(2)
    first = gate.enter()
    gate.enter()
    for _ in range(3):
        first()
    gate.enter()
    with pytest.raises(Problem):
        gate.enter()
