"""Whose turn it was when: the attempts at one thing, one after the other, in the time that their run took."""

from collections.abc import Sequence

from msgspec import Struct

from flows.moment import Window


class Turn(Struct):
    """An attempt; times in microseconds since the Unix epoch.

    Attributes:
        name: of the attempt.
        rank: by which attempts are known to have followed each other; the last of it is its artifact's number.
        begun: when it began by its thread's id; None where that tells nothing.
        begin: when it began, as far as anything tells.
    """

    name: str
    rank: tuple[int, ...]
    begun: int | None = None
    begin: int | None = None


def in_turn(turns: Sequence[Turn], window: Window) -> list[Turn]:
    """Return attempts in their order, each with its begin: what no thread tells lies evenly between what one does.

    Args:
        turns: changed.
        window: of the run; where it isn't known from when till when it ran, nothing is told that no thread tells.
    """
    ordered = sorted(turns, key=lambda turn: turn.rank)
    # Threads know better than ranks which of two came first.
    by_thread = iter(sorted((turn for turn in ordered if turn.begun is not None), key=lambda turn: turn.begun or 0))
    ordered = [turn if turn.begun is None else next(by_thread) for turn in ordered]
    for turn in ordered:
        turn.begin = turn.begun
    if window.begin is None or window.end is None:
        return ordered
    first = 0
    while first < len(ordered):
        if ordered[first].begin is not None:
            first += 1
            continue
        end = next((at for at in range(first, len(ordered)) if ordered[at].begin is not None), len(ordered))
        before = ordered[first - 1].begin if first else window.begin
        after = ordered[end].begin if end < len(ordered) else window.end
        _spread(ordered[first:end], before or window.begin, after or window.end, is_first=not first)
        first = end
    return ordered


def _spread(turns: Sequence[Turn], before: int, after: int, *, is_first: bool) -> None:
    """Have attempts begin evenly between two times; the one before them has a share, too, if there is any."""
    own = 0 if is_first else 1
    for at, turn in enumerate(turns, start=own):
        turn.begin = before + max(0, after - before) * at // (len(turns) + own)
