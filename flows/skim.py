"""Turns the lines of a file into sheets of nothing but keys: enough to find out whether any message is missing."""

from collections.abc import Callable, Iterator

from connectors.archive import Member
from flows.codex import Skimmer
from flows.page import Lines
from flows.sheet import Read, Sheet

# So many messages are on a sheet, and a line more.
SHEET_ROWS = 16_000


class Skim:
    """Makes the sheets of one file.

    Args:
        place: of the run, the artifact and the file.
        read: the account of the artifact, which is kept up to date.
    """

    def __init__(self, place: tuple[int, int, int], read: Read) -> None:
        self._place = place
        self._read = read
        self._keys: list[str] = []
        self._lines = 0

    def of(self, member: Member, skimmer: Skimmer, key_of_id: Callable[[str], str]) -> Iterator[Sheet]:
        """Yield the sheets; of a file that is damaged, too, what comes before the damage."""
        read, ids_of = self._read, skimmer.read
        lines = Lines(member)
        for some in lines.some():
            for line in some:
                data = line.data
                if line.lost:
                    read.skip("too long")
                    continue
                try:
                    ids = ids_of(line.number, data)
                except Exception:  # whatever a line holds, the others are read
                    read.skip("unreadable")
                    continue
                if ids:
                    for each in ids:
                        self._keys.append(key_of_id(each))
                elif not data.strip():
                    read.skip("blank")
            self._lines += len(some)
            if len(self._keys) >= SHEET_ROWS:
                yield self._turned(is_last=False)
        if not lines.damage:
            self._keys += map(key_of_id, skimmer.end())
            read.is_open = read.is_open or skimmer.state.outcome == "running"
        read.rows += skimmer.rows
        read.messages += skimmer.spoken
        for reason, number in skimmer.state.skipped.items():
            read.skipped[reason] = read.skipped.get(reason, 0) + number
        yield self._turned(is_last=True)
        if lines.damage:
            raise lines.damage

    def _turned(self, *, is_last: bool) -> Sheet:
        keys, lines, self._keys, self._lines = self._keys, self._lines, [], 0
        self._read.lines += lines
        return Sheet(*self._place, keys, [], [], {}, {}, lines, 1.0, is_last=is_last)
