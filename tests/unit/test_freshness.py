"""What a reader is told of the ingest."""

import pytest

from web.freshness import Flow, judge


def flow(
    ago: float, pending: int | None = 0, unacked: int | None = 0, oldest: float | None = 0.0, started: float = 3600
) -> Flow:
    return Flow("host/1", started, ago, pending, unacked, 10, 10, 0, 0, 2.0, oldest)


@pytest.mark.parametrize(
    ("said", "state", "words"),
    [
        ([], "unknown", "how far the ingest is, is not known"),
        ([flow(1)], "fresh", "0 behind"),
        ([flow(1, 3, 2, 0.4)], "fresh", "5 behind"),
        ([flow(1, 12_000, 410, 240)], "behind", "4 min behind: 12,410 messages to store"),
        ([flow(1, 12_000, 410, None)], "behind", "behind: 12,410 messages to store"),
        ([flow(1, 3, 2, None)], "fresh", "5 behind"),
        ([flow(1, None, None, None)], "behind", "new messages don't arrive: the ingest has lost NATS"),
        ([flow(0, None, None, None), flow(1, 3, 2, 0.4)], "fresh", "5 behind"),
        ([flow(1, None, None, None, started=3)], "behind", "the ingest is starting"),
        ([flow(95), flow(400)], "down", "nothing is being stored: the ingest stopped 1 min 35 s ago"),
        ([flow(1), flow(400)], "fresh", "0 behind"),
    ],
)
def test_the_ingest_is_as_fresh_as_its_flows_say(said: list[Flow], state: str, words: str) -> None:
    told = judge(said)
    assert (told.state, told.words) == (state, words)
    assert told.stored_seconds_ago == (2.0 if said else None)


@pytest.mark.parametrize(
    ("duplicates", "dead_letters", "in_hand"), [(60, 11, 0), (50, 11, 10), (70, 11, 0), (None, None, None)]
)
def test_what_a_flow_has_received_is_somewhere(
    duplicates: int | None, dead_letters: int | None, in_hand: int | None
) -> None:
    assert Flow("host/1", 60, 1, 0, 0, 484, 413, duplicates, dead_letters, 2.0, None).in_hand == in_hand
