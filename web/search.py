"""Finds messages of any selection, across runs, in reading order.

First come the messages next to where the search begins, which hold enough of whatever
is frequent: those of a run or of the general channel, or the next blocks. Only for
what is rarer the index is asked which blocks may hold it (see `web.segment`), and no
others are read. What isn't indexed yet is looked through as it is. Blocks are looked at
in the order of time, so that a page is complete as soon as no block is left that could
hold something that comes before its end.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from msgspec import Struct
from psycopg import Connection

import sql
from web.segment import BLOCKS
from web.selection import Clause, Selection

Place = tuple[datetime, int]
# A place, or the end of all time.
Bound = tuple[datetime | str, int]

FIRST: Bound = ("-infinity", 0)
LAST: Bound = ("infinity", 2**63 - 1)

# The blocks next to where the search begins, or messages of its source: looked through without asking the index.
NEAR = 32
NEAR_PLACES = 1_000
# So many blocks that may hold something are sorted by time at once; of more, the next by time are taken.
FEW = 2_000
WINDOW = 1_024
# Blocks that are looked through at once: few at first, since they may be enough.
LEAST_GROUP = 8
MOST_GROUP = 64
# What isn't indexed yet is looked through up to so many messages, and so many bytes of them.
WAITING = 4_096
WAITING_BYTES = 16 * 1024 * 1024


class Hit(Struct, frozen=True):
    """Where a message is that was found."""

    at: datetime
    seq: int
    size: int

    @property
    def place(self) -> Place:
        """Its place in reading order."""
        return self.at, self.seq


class Found(Struct, frozen=True):
    """What was found.

    Attributes:
        hits: in the direction of the search.
        edge: where the search is to go on; None where nothing more is.
        indexed_to: the cursor up to which messages are indexed.
        unsearched_since: when the first message was stored that was neither indexed nor looked through; None where
            all were.
    """

    hits: list[Hit]
    edge: Place | None
    indexed_to: int
    unsearched_since: datetime | None


class _Block(Struct, frozen=True):
    segment: int
    block: int
    first_at: datetime
    last_at: datetime
    seqs: list[int]

    @property
    def name(self) -> tuple[int, int]:
        return self.segment, self.block


def find(
    connection: Connection,
    selection: Selection,
    between: tuple[Bound, Bound],
    limit: int,
    *,
    backwards: bool,
    patience: float,
) -> Found:
    """Find the next messages that fit.

    Args:
        connection: in autocommit mode.
        selection: which ones.
        between: two places in reading order; what lies between them is looked at, and neither end.
        limit: at most so many.
        backwards: from the later place to the earlier one.
        patience: after so many seconds what was found is enough, and the rest is for another time.
    """
    with connection.transaction():
        # One view of messages, blocks and slices.
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        return _Search(connection, selection, between, limit, backwards, patience).run()


def named(low: Bound, high: Bound) -> dict[str, object]:
    """Return two places as the queries name them."""
    return {"low_at": low[0], "low_seq": low[1], "high_at": high[0], "high_seq": high[1]}


class _Search:
    def __init__(
        self,
        connection: Connection,
        selection: Selection,
        between: tuple[Bound, Bound],
        limit: int,
        backwards: bool,
        patience: float,
    ) -> None:
        self._connection = connection
        self._selection = selection
        self._limit = limit
        self._backwards = backwards
        self._deadline = time.monotonic() + patience
        self._begin = between[1] if backwards else between[0]
        self._low, self._high = between
        self._sieve = selection.arguments()
        self._segment, self._upto = next(iter(self._rows("search_progress")), (0, 0))
        self._hits: list[Hit] = []
        self._seen: set[tuple[int, int]] = set()
        self._reached: _Block | None = None
        self._exhausted = False
        # Where everything before was looked at: set when time is up.
        self._edge: Place | None = None

    @property
    def _between(self) -> dict[str, object]:
        return named(self._low, self._high)

    def run(self) -> Found:
        places_query = self._selection.places_query("before" if self._backwards else "after")
        if places_query and self._look_at_places(places_query):
            return self._found(None)
        unsearched_since = self._look_at_waiting()
        near = () if places_query else self._window(NEAR)
        if not (self._look(near) or self._exhausted):
            self._look_at_marked()
        return self._found(unsearched_since)

    def _look_at_places(self, query: str) -> bool:
        """Look at the next messages of the index that has them in reading order; return whether that is enough."""
        arguments = {**self._sieve, **self._between, "limit": NEAR_PLACES}
        places = self._rows(query, **arguments)
        self._sift([seq for _, seq in places])
        if len(places) < NEAR_PLACES or len(self._hits) > self._limit:
            return True
        # What follows is searched for.
        if self._backwards:
            self._high = places[-1]
        else:
            self._low = places[-1]
        return False

    def _look_at_waiting(self) -> datetime | None:
        """Look at what isn't indexed yet; return when the first message was stored that this leaves out."""
        arguments = {"upto": self._upto, "limit": WAITING, "max_bytes": WAITING_BYTES}
        waiting = [seq for (seq,) in self._rows("search_waiting", **arguments)]
        self._sift(waiting)
        first = next(iter(self._rows("search_overdue", seq=self._upto)), None)
        return first[1] if first and not (waiting and waiting[0] <= first[0]) else None

    def _look_at_marked(self) -> None:
        segments, mask = self._mask()
        if mask.bit_count() <= FEW:
            self._look(self._marked(segments, mask))
            return
        size = len(segments) * BLOCKS
        bits = mask.to_bytes(size // 8)
        position = {segment: number * BLOCKS for number, segment in enumerate(segments)}

        def may_hold(block: _Block) -> bool:
            bit = position.get(block.segment, size) + block.block
            return bit < size and bool(bits[bit // 8] >> (7 - bit % 8) & 1)

        while not self._exhausted:
            blocks = self._window(WINDOW)
            if blocks and self._may_stop(self._time(blocks[0])):
                return
            if self._look(filter(may_hold, blocks)):
                return

    def _window(self, size: int) -> list[_Block]:
        """Return the next blocks in the direction of time."""
        query = "search_blocks_before" if self._backwards else "search_blocks_after"
        last = self._reached
        blocks = self._blocks(
            query,
            upto=self._segment,
            at=last and self._time(last),
            segment=last.segment if last else 0,
            block=last.block if last else 0,
            limit=size,
        )
        self._exhausted = len(blocks) < size
        self._reached = blocks[-1] if blocks else None
        return [block for block in blocks if block.name not in self._seen]

    def _marked(self, segments: Sequence[int], mask: int) -> list[_Block]:
        """Return the blocks that are marked and weren't looked at, in the direction of time."""
        names = [name for name in _marks(segments, mask) if name not in self._seen]
        blocks = self._blocks("search_blocks", segments=[s for s, _ in names], blocks=[b for _, b in names])
        return sorted(blocks, key=attrgetter("last_at" if self._backwards else "first_at"), reverse=self._backwards)

    def _mask(self) -> tuple[list[int], int]:
        """Return the indexed stretches, and a number with a bit for each of their blocks that may hold something."""
        segments = [segment for (segment,) in self._rows("search_segments", segment=self._segment, **self._between)]
        clauses = self._selection.clauses()
        slots = {slot for clause in clauses for choice in clause for slot in choice}
        if not segments:
            return [], 0
        rows = self._rows("search_slices", slots=[*slots], first=segments[0], last=segments[-1])
        slices = {slot: int.from_bytes(bits) for slot, bits in rows}
        mask = (1 << len(segments) * BLOCKS) - 1
        for clause in clauses:
            mask &= _any(clause, slices, mask)
        return segments, mask

    def _look(self, blocks: Iterable[_Block]) -> bool:
        """Look through blocks that come in the direction of time; return whether that is enough."""
        for group in _grouped(blocks):
            if self._may_stop(self._time(group[0])):
                return True
            self._seen.update(block.name for block in group)
            self._sift([seq for block in group for seq in block.seqs])
        return False

    def _sift(self, seqs: list[int]) -> None:
        if seqs:
            arguments = {**self._sieve, **self._between, "seqs": seqs}
            self._hits += [Hit(*row) for row in self._rows("sift_messages", **arguments)]
            self._hits.sort(key=attrgetter("place"), reverse=self._backwards)

    def _may_stop(self, at: datetime) -> bool:
        return self._is_enough(at) or self._is_time_up(at)

    def _is_enough(self, at: datetime) -> bool:
        """Say whether what may be found from a time on comes after all that is wanted."""
        return len(self._hits) > self._limit and self._is_before(self._hits[self._limit].at, at)

    def _is_time_up(self, at: datetime) -> bool:
        # Not without a step, or whoever goes on from here would never get further.
        if self._selection.namespaces:
            at = self._vaguely(at)
        begin = self._begin[0]
        if time.monotonic() < self._deadline or (isinstance(begin, datetime) and not self._is_before(begin, at)):
            return False
        self._edge = (at, LAST[1] if self._backwards else FIRST[1])
        # A block may reach into what was looked at already.
        looked_at = self._high if self._backwards else self._low
        if isinstance(looked_at[0], datetime) and not self._is_before(looked_at[0], at):
            self._edge = (looked_at[0], looked_at[1])
        return True

    def _vaguely(self, at: datetime) -> datetime:
        """Return a time a little behind one, in the direction of the search.

        Blocks hold what everybody says: where exactly one begins is not for who sees only a part of it.
        """
        minute = at.replace(second=0, microsecond=0)
        with suppress(OverflowError):
            return minute + timedelta(minutes=1) if self._backwards and minute != at else minute
        return at

    def _is_before(self, one: datetime, other: datetime) -> bool:
        return one > other if self._backwards else one < other

    def _time(self, block: _Block) -> datetime:
        return block.last_at if self._backwards else block.first_at

    def _found(self, unsearched_since: datetime | None) -> Found:
        hits, edge = self._hits, self._edge
        if edge is not None:
            hits = [hit for hit in hits if (hit.place >= edge if self._backwards else hit.place <= edge)]
        if len(hits) > self._limit:
            hits = hits[: self._limit]
            edge = hits[-1].place
        return Found(hits, edge, self._upto, unsearched_since)

    def _blocks(self, query: str, **arguments: object) -> list[_Block]:
        return [_Block(*row) for row in self._rows(query, **self._between, **arguments)]

    def _rows(self, query: str, **arguments: object) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql.query(query), arguments).fetchall()


def _any(clause: Clause, slices: dict[int, int], every: int) -> int:
    """Return the blocks that have all slots of at least one of a clause's lists."""
    found = 0
    for slots in clause:
        mask = every
        for slot in slots:
            mask &= slices.get(slot, 0)
        found |= mask
    return found


def _marks(segments: Sequence[int], mask: int) -> Iterator[tuple[int, int]]:
    """Yield the names of the blocks that a mask marks."""
    bits = format(mask, f"0{len(segments) * BLOCKS}b") if segments else ""
    position = bits.find("1")
    while position >= 0:
        number, block = divmod(position, BLOCKS)
        yield segments[number], block
        position = bits.find("1", position + 1)


def _grouped(blocks: Iterable[_Block]) -> Iterator[list[_Block]]:
    group: list[_Block] = []
    size = LEAST_GROUP
    for block in blocks:
        group.append(block)
        if len(group) == size:
            yield group
            group, size = [], min(2 * size, MOST_GROUP)
    if group:
        yield group
