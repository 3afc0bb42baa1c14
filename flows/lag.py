"""How old the oldest message is that is not settled, from what a reader of the stream gets to see."""

import threading
from bisect import bisect_left, bisect_right

MOST_MARKS = 2_048


class Arrivals:
    """Knows of a few messages when the stream stored them, and so of all others after when.

    A consumer's state tells which message is the first without an ack, and not when it came; the
    messages that are delivered tell when they came. Both grow together, so the nearest known message
    before the one that is asked for gives the bound.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seqs: list[int] = []
        self._times: list[float] = []

    def note(self, seq: int, at: float) -> None:
        """Note that a message was stored at this time or later, seconds since the Unix epoch, and so were all after."""
        with self._lock:
            place = bisect_left(self._seqs, seq)
            if place < len(self._seqs) and self._seqs[place] == seq and self._times[place] >= at:
                return
            # Later messages that are said to be older are of a stream that was there before this one.
            end = bisect_left(self._times, at, lo=place)
            self._seqs[place:end], self._times[place:end] = [seq], [at]
            if place > 0 and self._times[place - 1] > at:
                # What was noted before by another clock bounds it better.
                del self._seqs[place], self._times[place]
            if len(self._seqs) > MOST_MARKS:
                # The first bounds what is asked for now, and the last what comes.
                del self._seqs[1:-1:2], self._times[1:-1:2]

    def since(self, seq: int) -> float | None:
        """Return the time at or after which a message was stored; None where nothing is known.

        Of a message before all known ones the earliest known time, which is later than the message's own.
        """
        with self._lock:
            place = bisect_right(self._seqs, seq)
            if place:
                # Nobody asks for what is settled.
                del self._seqs[: place - 1], self._times[: place - 1]
            return self._times[0] if self._times else None
