from pathlib import Path

import pytest

from web.state import State


@pytest.mark.parametrize("remembered", ['{"nats": 99999999}', '{"nats": -1}', '{"nats": true}', "[1]", "7", "no"])
def test_a_port_that_cannot_be_is_another_one(tmp_path: Path, remembered: str) -> None:
    (tmp_path / "ports.json").write_text(remembered)
    port = State(tmp_path).port("nats")
    assert 0 < port < 65536
    assert State(tmp_path).port("nats") == port
