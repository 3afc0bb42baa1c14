"""When something was said that nobody saw being said: between what is known, in the order of its file.

Times are whole microseconds since the Unix epoch.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from time import time as clock

from msgspec import Struct

from flows.normalize import EARLIEST, MAX_AHEAD_S

SECOND = 1_000_000
# Whole seconds are told of a run's window, cut off, and clocks differ.
LENIENCE = 2 * SECOND
# Between two messages, where nobody knows how long it took.
STEP = 1_000
# Before it nobody has spoken.
EARLIEST_US = round(EARLIEST.timestamp()) * SECOND
# The last time that can be written down.
LAST_US = round(datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp()) * SECOND

# `attrs.timestamp_source` of what says its time itself, and of what is placed by the thread's id, by the run's
# window, by the messages around it that were seen live, or by the artifact's own time.
EVENT = "event"
THREAD = "thread"
RUN = "run"
NEIGHBOURS = "neighbours"
ARTIFACT = "artifact"


def now_us() -> int:
    """Return this moment, by this clock."""
    return round(clock() * SECOND)


def latest_us() -> int:
    """Return the latest time that somebody can have spoken at, by this clock."""
    return int(clock() + MAX_AHEAD_S) * SECOND


class Window(Struct, frozen=True):
    """Between which times something was said; None where it isn't known.

    Attributes:
        begin: not earlier.
        end: not later.
        written: when its file was written last, at the latest.
    """

    begin: int | None
    end: int | None
    written: int

    @property
    def is_bounded(self) -> bool:
        """Whether both are known."""
        return self.begin is not None and self.end is not None

    def holds(self, time: int) -> bool:
        """Say whether a thread that began then can be of this run, and not one that it has taken up again."""
        if time < EARLIEST_US or (self.begin is not None and time < self.begin - LENIENCE):
            return False
        return time <= (self.written + 24 * 3_600 * SECOND if self.end is None else self.end + LENIENCE)


class Place(Struct):
    """How far a file has been placed.

    Attributes:
        last: the time of the message before; None at the beginning.
        source: what it was placed by.
    """

    last: int | None = None
    source: str = RUN


def place(
    known: Sequence[int | None],
    told: Mapping[int, int],
    threads: Mapping[int, int | None],
    window: Window,
    so_far: Place,
    *,
    next_known: int | None = None,
    others: Sequence[int] = (),
    to_come: int = 0,
) -> list[tuple[int, str]]:
    """Return the time of each message of a sheet, and what it was taken from.

    What is known stays. The others lie between their neighbours, evenly and each later than the one before,
    as far as there is room between two that are known: where there isn't, several have the time of the one
    before, and come after it since they are stored later. Whatever is known, none lies beyond what can be written down.

    Args:
        known: of each message, the time that it is stored under; None where it isn't stored.
        told: of some, the time that their line says itself; those that go back in the file are not believed.
        threads: where threads begin, and when by their id.
        window: of the run.
        so_far: of the sheets before; changed to be of this one too.
        next_known: the time of the next stored message of the file, beyond the sheet.
        others: when something began that came after this file, such as the next attempt.
        to_come: about how many messages follow in the file.
    """
    settled = _settled(known, told, threads, window, so_far.last, next_known)
    times: list[tuple[int, str]] = []
    while len(times) < len(settled):
        first = len(times)
        each = settled[first]
        if each is not None:
            times.append(each)
        else:
            end = next((at for at in range(first, len(settled)) if settled[at] is not None), len(settled))
            upto = settled[end] if end < len(settled) else (next_known, NEIGHBOURS) if next_known is not None else None
            following = 0 if end < len(settled) else to_come
            gap = _gap(end - first, following, so_far, upto, window, others)
            times += [(min(max(EARLIEST_US, time), LAST_US), source) for time, source in gap]
        so_far.last, so_far.source = times[-1]
    return times


def _settled(
    known: Sequence[int | None],
    told: Mapping[int, int],
    threads: Mapping[int, int | None],
    window: Window,
    last: int | None,
    next_known: int | None,
) -> list[tuple[int, str] | None]:
    """Return the times that follow from nothing else: what is known, and when a thread began."""
    settled: list[tuple[int, str] | None] = [(time, NEIGHBOURS) if time is not None else None for time in known]
    before_known = _following(known, next_known)
    believed = _in_order(told, known, before_known, last) if told else {}
    before_any = _following([believed.get(at, time) for at, time in enumerate(known)], next_known)
    for at, each in enumerate(settled):
        said, begun = believed.get(at), threads.get(at)
        if each is not None:
            last = each[0]
        elif said is not None:
            # Of lines that say the same time each comes after the one before.
            time = said if last is None else max(said, last + 1)
            following = before_known[at]
            time = time if following is None else min(time, following - 1)
            if last is None or time > last:
                settled[at] = (time, EVENT)
                last = time
        elif begun is not None and window.holds(begun) and (last is None or begun > last):
            # A thread that is taken up again has its old id.
            following = before_any[at]
            if following is None or begun < following:
                settled[at] = (begun, THREAD)
                last = begun
    return settled


def _following(times: Sequence[int | None], beyond: int | None) -> list[int | None]:
    """Return of each place the next time that is known, its own included."""
    following: list[int | None] = []
    for time in reversed(times):
        beyond = beyond if time is None else time
        following.append(beyond)
    return following[::-1]


def _in_order(
    told: Mapping[int, int], known: Sequence[int | None], following: Sequence[int | None], last: int | None
) -> dict[int, int]:
    """Return those of the times that lines say themselves, as many as possible, of which none goes back.

    A clock that was set tells some that do, and one line that is wrong must not cost all the others theirs.
    """
    # Of so many in order, the one that ends earliest, and which is before each.
    ends: list[int] = []
    places: list[int] = []
    before: dict[int, int | None] = {}
    for at, time in enumerate(known):
        last = last if time is None else time
        said, upto = told.get(at), following[at]
        if said is None or time is not None or (last is not None and said < last) or (upto is not None and said > upto):
            continue
        number = bisect_right(ends, said)
        before[at] = places[number - 1] if number else None
        ends[number : number + 1], places[number : number + 1] = [said], [at]
    believed: dict[int, int] = {}
    place = places[-1] if places else None
    while place is not None:
        believed[place] = told[place]
        place = before[place]
    return believed


def _gap(
    number: int,
    following: int,
    so_far: Place,
    upto: tuple[int, str] | None,
    window: Window,
    others: Sequence[int],
) -> list[tuple[int, str]]:
    """Return times between the last one and the next."""
    source = NEIGHBOURS if upto is not None and upto[1] in (NEIGHBOURS, EVENT) else so_far.source
    last, steps = so_far.last, number + following + 1
    end = upto[0] if upto is not None else _end(last, window, others)
    if last is None:
        last = window.begin
        if last is None or (end is not None and last >= end):
            last = (window.written if end is None else end) - steps * STEP
            source = ARTIFACT if end is None else source
    if end is None or (end <= last and upto is None):
        return [(last + STEP * at, source) for at in range(1, number + 1)]
    if end - last >= steps:
        return [(last + (end - last) * at // steps, source) for at in range(1, number + 1)]
    if upto is None:
        return [(last + at, source) for at in range(1, number + 1)]
    return [(max(last, min(last + at, end - 1)), source) for at in range(1, number + 1)]


def _end(last: int | None, window: Window, others: Sequence[int]) -> int | None:
    """Return the time that the rest of a file was said before, as far as it is known."""
    begin = window.begin if last is None else last
    limits = [each for each in others if begin is None or each > begin]
    if window.end is not None:
        limits.append(window.end)
    if begin is not None and begin < window.written <= begin + 24 * 3_600 * SECOND:
        limits.append(window.written)
    return min(limits, default=None)
