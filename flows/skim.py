"""Turns the lines of a file into nothing but keys: enough to find out whether any message is missing."""

from collections.abc import Iterator

from connectors.archive import Member
from flows.codex import Skimmer
from flows.page import Lines
from flows.sheet import Read, Skimmed

# So many keys are handed on at once, and those of some lines more.
MOST_KEYS = 16_000


class Skim:
    """Makes lists of keys of one file.

    Args:
        run: the number of its run.
        part: the artifact's place in its task.
        read: the account of the artifact, which is kept up to date.
        closes: whether calls that have no result at the end never get one.
    """

    def __init__(self, run: int, part: int, read: Read, *, closes: bool) -> None:
        self._run = run
        self._part = part
        self._read = read
        self._closes = closes

    def of(self, member: Member, skimmer: Skimmer) -> Iterator[Skimmed]:
        """Yield the keys; of a file that is damaged, too, what comes before the damage."""
        read, state = self._read, skimmer.state
        keys: list[str] = []
        number = 0
        lines = Lines(member)
        for some in lines.some():
            keys += skimmer.keys(some)
            number += len(some)
            if len(keys) >= MOST_KEYS:
                yield self._skimmed(keys, number)
                keys, number = [], 0
        if not lines.damage:
            keys += skimmer.end() if self._closes else []
            read.unanswered += len(state.calls)
            read.is_open = read.is_open or state.outcome == "running"
        read.rows += skimmer.rows
        read.messages += skimmer.spoken
        for reason, times in state.skipped.items():
            read.skipped[reason] = read.skipped.get(reason, 0) + times
        yield self._skimmed(keys, number)
        if lines.damage:
            raise lines.damage

    def _skimmed(self, keys: list[str], lines: int) -> Skimmed:
        self._read.lines += lines
        return Skimmed.of(self._run, self._part, keys, lines)
