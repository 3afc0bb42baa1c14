"""Ports that are found free."""

import pytest

from connectors import loopback


def test_a_port_that_was_found_is_not_found_again_before_anybody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    # Where nobody else looks.
    monkeypatch.setattr(loopback, "PORTS", range(30_000, 30_250))
    ports = [loopback.free_port() for _ in range(100)]
    assert len(set(ports)) == 100
