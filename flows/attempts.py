"""A run's attempts: which files were read of each, and between which times each artifact of them was written."""

from collections.abc import Sequence

from msgspec import Struct

from flows.artifact import Artifact
from flows.moment import EARLIEST_US, SECOND, Place, Window, latest_us, now_us
from flows.sheet import Sheet
from flows.turns import Turn, in_turn


class File(Struct):
    """How far a file in an artifact has come.

    Attributes:
        rows: messages so far.
        begun: when its threads began, by their ids, in microseconds since the Unix epoch.
    """

    place: Place
    rows: int = 0
    begun: list[int] = []


class _Alike(Struct):
    """The artifacts of one name: each attempt at a run leaves one.

    Attributes:
        turns: of each attempt.
        files: that were read of each.
        ordered: the turns in their order; None where something was heard since they were put in order.
    """

    turns: dict[str, Turn] = {}
    files: dict[str, list[File]] = {}
    ordered: list[Turn] | None = None


class Attempts:
    """The artifacts of a run, as far as they are read.

    Args:
        artifacts: of the run.
        told: the keys of what it is said to have left, in the order in which that was said.
        begin: when the run began, in microseconds since the Unix epoch; None where it isn't known.
        end: when it ended, likewise.
        said_ended: when a message of it said so, likewise.
    """

    def __init__(
        self,
        artifacts: Sequence[Artifact],
        told: Sequence[str],
        *,
        begin: int | None,
        end: int | None,
        said_ended: int | None,
    ) -> None:
        self.artifacts = artifacts
        self._begin, self._end, self._said_ended = begin, end, said_ended
        self._files: dict[tuple[int, int], File] = {}
        self._alike: dict[str, _Alike] = {}
        places = {key: place for place, key in reversed([*enumerate(told)])}
        # What attempts a name has is known by its first artifact of each.
        for number, artifact in reversed([*enumerate(artifacts)]):
            alike = self._alike.setdefault(artifact.name, _Alike())
            alike.turns[artifact.attempt] = Turn(artifact.attempt, self._rank(number, places))

    def _rank(self, number: int, places: dict[str, int]) -> tuple[int, ...]:
        if self._begin is None or self._end is None:
            # Where nobody knows how much time there is, each is placed behind those that were read before.
            return 0, 0, number
        # What was written while the run went on tells the order; what was copied later doesn't.
        found = self.artifacts[number].object
        return min(round(found.modified * SECOND), self._end), places.get(found.key, len(places)), number

    def forget(self) -> None:
        """Begin anew: nothing is read."""
        self._files.clear()
        for alike in self._alike.values():
            alike.files.clear()
            alike.ordered = None

    def file(self, sheet: Sheet) -> File:
        """Return how far a sheet's file has come."""
        key = sheet.part, sheet.file
        if key not in self._files:
            artifact = self.artifacts[sheet.part]
            self._files[key] = file = File(Place(), begun=[])
            self._alike[artifact.name].files.setdefault(artifact.attempt, []).append(file)
        return self._files[key]

    def note(self, sheet: Sheet) -> None:
        """Take note of when a sheet's threads began."""
        if begun := [time for time in sheet.threads.values() if time is not None]:
            self.file(sheet).begun += begun
            self._alike[self.artifacts[sheet.part].name].ordered = None

    def window(self, part: int) -> Window:
        """Return between which times an artifact was written: attempts without a thread's time one after the other."""
        whole = self._whole(part)
        turns, at = self._turns(part)
        if len(turns) == 1 or turns[at].begun is not None:
            return whole
        files = self._alike[self.artifacts[part].name].files
        lasts = [file.place.last for turn in turns[:at] for file in files.get(turn.name, ())]
        begin = max((each for each in (whole.begin, turns[at].begin, *lasts) if each is not None), default=None)
        end = next((turn.begin for turn in turns[at + 1 :] if turn.begin is not None), whole.end)
        return Window(begin, end, whole.written)

    def others(self, sheet: Sheet) -> list[int]:
        """Return when something began, or the run ended, that came after a file: other attempts of the same."""
        own = self.file(sheet)
        files = self._alike[self.artifacts[sheet.part].name].files
        times = [time for each in files.values() for file in each if file is not own for time in file.begun]
        turns, at = self._turns(sheet.part)
        times += [turn.begin for turn in turns[at + 1 :] if turn.begin is not None]
        return times if self._said_ended is None else [*times, self._said_ended]

    def _turns(self, part: int) -> tuple[list[Turn], int]:
        """Return the attempts at what an artifact is of, in their order, and which of them it is of."""
        artifact = self.artifacts[part]
        alike = self._alike[artifact.name]
        if alike.ordered is None:
            for name, turn in alike.turns.items():
                whole = self._whole(turn.rank[-1])
                begun = [time for file in alike.files.get(name, ()) for time in file.begun if whole.holds(time)]
                turn.begun = min(begun, default=None)
            alike.ordered = in_turn([*alike.turns.values()], self._whole(part))
        return alike.ordered, alike.ordered.index(alike.turns[artifact.attempt])

    def _whole(self, part: int) -> Window:
        """Return between which times the run was, and when an artifact was written."""
        latest = latest_us()
        written = round(self.artifacts[part].object.modified * SECOND)
        # Of a file whose own time can't be meant it is known that it has been written.
        return Window(self._begin, self._end, written if EARLIEST_US <= written <= latest else now_us())
