"""How far a backfill is."""

from collections.abc import Mapping

from msgspec import Struct

from flows.recovery import Recovery
from flows.sheet import Found, Read, Sheet, Skimmed


class Progress(Struct):
    """How far a backfill is.

    Attributes:
        runs: that there is anything to do about.
        bytes: of their artifacts that are to be read, as they are stored.
        unchanged: runs of which nothing has changed.
        read: of each artifact that is being read or has been, how many bytes; by its run's number and its place there.
    """

    runs: int = 0
    bytes: int = 0
    unchanged: int = 0
    done_runs: int = 0
    done_bytes: int = 0
    lines: int = 0
    rows: int = 0
    read: dict[tuple[int, int], int] = {}

    def expect(self, run: Recovery) -> None:
        """Count a run that there is anything to do about."""
        self.runs += 1
        self.bytes += run.task.size

    def note(self, found: Found, runs: Mapping[int, Recovery]) -> None:
        """Count what was found in an artifact of one of these runs."""
        if isinstance(found, Sheet | Skimmed):
            self.rows += found.rows
            self.lines += found.lines
            self._note_bytes(found, found.share, runs)
        elif isinstance(found, Read):
            self._note_bytes(found, 1.0, runs)

    def _note_bytes(self, found: Sheet | Skimmed | Read, share: float, runs: Mapping[int, Recovery]) -> None:
        size = runs[found.run].parts[found.part].artifact.object.size
        place, done = (found.run, found.part), round(size * share)
        self.done_bytes += max(0, done - self.read.get(place, 0))
        self.read[place] = done
