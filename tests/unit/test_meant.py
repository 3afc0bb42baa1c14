"""What a search may have meant that names a filter."""

import pytest

from web.meant import meant


@pytest.mark.parametrize(
    ("words", "filters"),
    [
        ("kind:error timeout", {"kind": "error", "q": "timeout"}),
        ('lost agent:"the planner" order', {"agentId": "the planner", "q": "lost order"}),
        ("namespace:team-a", {"workflowNamespace": "team-a", "q": ""}),
        ("http://host agents:4 unkind:word kind:", {}),
        ("", {}),
        (None, {}),
    ],
)
def test_words_that_name_a_filter_are_told_from_others(words: str | None, filters: dict[str, str]) -> None:
    assert meant(words) == filters
