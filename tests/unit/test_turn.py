"""Long work in turns."""

import time

from flows.text import storable_json
from web.turn import TURN_S, Turn


def test_others_get_as_long_a_turn_as_it_has_worked() -> None:
    rests: list[float] = []
    began = time.monotonic()
    turn = Turn(rests.append)
    while not rests:
        turn.breathe()
    assert TURN_S < rests[0] <= time.monotonic() - began


def test_making_a_large_value_storable_stops_between_its_parts() -> None:
    breaths: list[int] = []
    value = [{"name": f"part-{number}\0"} for number in range(1_000)]
    kept = storable_json(value, breathe=lambda: breaths.append(0))
    assert kept[-1] == {"name": "part-999\ufffd"}
    assert len(breaths) >= len(value)
