"""Finds messages of any selection, across runs, in reading order.

First come the messages next to where the search begins, which hold enough of whatever
is frequent: those of a run or of the general channel, or the next blocks. Only for
what is rarer the index is asked which blocks may hold it (see `web.segment`), of those
nearby and then of all, and no others are read. What isn't indexed yet is looked through as it is. Blocks are looked at
in the order of time, so that a page is complete as soon as no block is left that could
hold something that comes before its end.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any

from msgspec import Struct
from psycopg import Connection, IsolationLevel, OperationalError

import sql
from web.queries import array_of
from web.segment import BLOCKS
from web.selection import Clause, Selection

Place = tuple[datetime, int]
# A place, or the end of all time.
Bound = tuple[datetime | str, int]

FIRST: Bound = ("-infinity", 0)
LAST: Bound = ("infinity", 2**63 - 1)

# The blocks next to where the search begins, or messages of its source: looked through without asking the index.
NEXT = 9
NEAR_PLACES = 1_000
# Of so many blocks behind them the index is asked before it is of all, unless they are of so many stretches.
NEAR = 256
NEAR_SEGMENTS = 32
# So many blocks that may hold something are sorted by time at once; of more, the next by time are taken.
FEW = 2_000
WINDOW = 1_024
# Where so many blocks are left that hold nothing, to look through them costs less than to read what would spare them.
SPARED = 0.2
# Of more blocks than these the index is asked more, as long as that leaves no more than such a part of them.
MANY = 128
MOST_LEFT = 0.8
# Blocks that are looked through at once: few at first, since they may be enough.
LEAST_GROUP = 32
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


class Places(Struct, frozen=True):
    """Some places that stand together.

    Attributes:
        number: how many.
        seqs: their cursors, separated by commas; None where there are none.
        at: when the last of them was said.
        seq: its cursor.
    """

    number: int
    seqs: str | None
    at: datetime | None
    seq: int | None

    @property
    def last(self) -> Place | None:
        """The last of them, in the direction in which they were read."""
        return None if self.at is None or self.seq is None else (self.at, self.seq)


class _Block(Struct, frozen=True):
    segment: int
    block: int
    first_at: datetime
    last_at: datetime
    # Separated by commas: they are not looked at here.
    seqs: str

    @property
    def name(self) -> tuple[int, int]:
        return self.segment, self.block


class _Marks:
    """Blocks that may hold something.

    Args:
        segments: indexed stretches, in order.
        mask: a number with a bit for each of their blocks, the first one's the highest.
    """

    def __init__(self, segments: Sequence[int], mask: int) -> None:
        self._segments = segments
        self._size = len(segments) * BLOCKS
        self.number = mask.bit_count()
        self._bits = format(mask, f"0{self._size}b") if segments else ""
        self._first = {segment: number * BLOCKS for number, segment in enumerate(segments)}

    def has(self, block: _Block) -> bool:
        """Say whether one is among them."""
        bit = self._first.get(block.segment, self._size) + block.block
        return bit < self._size and self._bits[bit] == "1"

    def names(self) -> Iterator[tuple[int, int]]:
        """Yield their names."""
        position = self._bits.find("1")
        while position >= 0:
            number, block = divmod(position, BLOCKS)
            yield self._segments[number], block
            position = self._bits.find("1", position + 1)


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
    with _one_view(connection):
        return _Search(connection, selection, between, limit, backwards, patience).run()


def read_places(connection: Connection, query: str, arguments: dict[str, object]) -> Places:
    """Run a query of places that an index has in reading order."""
    row = connection.execute(sql.query(query), arguments).fetchone()
    return Places(*row) if row else Places(0, None, None, None)


@contextmanager
def _one_view(connection: Connection) -> Iterator[None]:
    """Have messages, blocks and slices be those of one moment."""
    connection.isolation_level = IsolationLevel.REPEATABLE_READ
    try:
        with connection.transaction():
            yield
    finally:
        # Its next borrower isn't asked about it; one that is broken has none.
        with suppress(OperationalError):
            connection.isolation_level = None


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
        self._sieve = {**selection.arguments(), "backwards": backwards, "limit": limit + 1}
        # Of the index: its newest stretch, and the cursor up to which it goes.
        self._segment = self._upto = 0
        self._hits: list[Hit] = []
        self._seen: set[tuple[int, int]] = set()
        # Which part of the blocks nearby has a slot.
        self._common: dict[int, float] = {}
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
            ((_, self._upto),) = self._rows("search_progress") or [(0, 0)]
            return self._found(None)
        waiting, unsearched_since = self._waiting()
        next_blocks = [] if places_query else self._window(NEXT)
        self._sift([*waiting, *(block.seqs for block in next_blocks)])
        self._seen.update(block.name for block in next_blocks)
        if not (self._exhausted or (next_blocks and self._may_stop(self._time(next_blocks[-1])))):
            near = [] if places_query else self._window(NEAR)
            if not (self._look(self._promising(near)) or self._exhausted):
                self._look_at_marked()
        return self._found(unsearched_since)

    def _look_at_places(self, query: str) -> bool:
        """Look at the next messages of the index that has them in reading order; return whether that is enough."""
        arguments = {**self._sieve, **self._between, "kinds": None, "errors": False, "limit": NEAR_PLACES}
        places = read_places(self._connection, query, arguments)
        self._sift([places.seqs] if places.seqs else [])
        if places.number < NEAR_PLACES or places.last is None or len(self._hits) > self._limit:
            return True
        # What follows is searched for.
        if self._backwards:
            self._high = places.last
        else:
            self._low = places.last
        return False

    def _waiting(self) -> tuple[list[str], datetime | None]:
        """Return what isn't indexed yet, and when the first message was stored that this leaves out."""
        ((self._segment, self._upto, waiting, least, first, stored_at),) = self._rows(
            "search_waiting", limit=WAITING, max_bytes=WAITING_BYTES
        )
        return ([waiting] if waiting else []), None if waiting and least <= first else stored_at

    def _promising(self, blocks: list[_Block]) -> list[_Block]:
        """Return those of some blocks that may hold something."""
        if not blocks:
            return []
        first, last = min(block.segment for block in blocks), max(block.segment for block in blocks)
        if last - first >= NEAR_SEGMENTS:
            return blocks
        return [*filter(self._marks(range(first, last + 1)).has, blocks)]

    def _look_at_marked(self) -> None:
        segments = [segment for (segment,) in self._rows("search_segments", segment=self._segment, **self._between)]
        marks = self._marks(segments)
        if marks.number <= FEW:
            self._look(self._marked(marks))
            return
        while not self._exhausted:
            blocks = self._window(WINDOW)
            if blocks and self._may_stop(self._time(blocks[0])):
                return
            if self._look(filter(marks.has, blocks)):
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

    def _marked(self, marks: _Marks) -> list[_Block]:
        """Return the blocks that are marked and weren't looked at, in the direction of time."""
        names = [name for name in marks.names() if name not in self._seen]
        blocks = self._blocks(
            "search_blocks", segments=array_of(s for s, _ in names), blocks=array_of(b for _, b in names)
        )
        return sorted(blocks, key=attrgetter("last_at" if self._backwards else "first_at"), reverse=self._backwards)

    def _marks(self, segments: Sequence[int]) -> _Marks:
        """Return which blocks of some indexed stretches that follow each other may hold something."""
        if not segments:
            return _Marks([], 0)
        size = len(segments) * BLOCKS
        clauses = self._selection.clauses()
        several = {slot for clause in clauses if len(clause) > 1 for choice in clause for slot in choice}
        alone = {slot for clause in clauses if len(clause) == 1 for slot in clause[0]}
        telling = sorted(alone, key=lambda slot: self._common.get(slot, 0.0))
        number = _enough([self._common[slot] for slot in telling], size) if self._common else len(telling)
        slices = self._slices([*several, *telling[:number]], segments)
        if not self._common:
            # None is so rare that it could be relied upon.
            self._common = {slot: (mask.bit_count() + 1) / (size + 1) for slot, mask in slices.items()}
        mask = _mask(clauses, slices, size)
        while number < len(telling) and (marked := mask.bit_count()) > MANY:
            # What was said elsewhere is not as nearby; or it is there so often.
            slices |= self._slices(telling[number : 2 * number], segments)
            number *= 2
            mask = _mask(clauses, slices, size)
            if mask.bit_count() > MOST_LEFT * marked:
                break
        return _Marks(segments, mask)

    def _slices(self, slots: list[int], segments: Sequence[int]) -> dict[int, int]:
        """Return for each slot a number with a bit for each block of some stretches."""
        rows = self._rows("search_slices", slots=array_of(slots), first=segments[0], last=segments[-1])
        return {slot: int.from_bytes(bits) for slot, bits in rows}

    def _look(self, blocks: Iterable[_Block]) -> bool:
        """Look through blocks that come in the direction of time; return whether that is enough."""
        for group in _grouped(blocks):
            if self._may_stop(self._time(group[0])):
                return True
            self._seen.update(block.name for block in group)
            self._sift([block.seqs for block in group])
        return False

    def _sift(self, seqs: Sequence[str]) -> None:
        """Look through some messages; their cursors are separated by commas."""
        if seqs:
            arguments = {**self._sieve, **self._between, "seqs": f"{{{','.join(seqs)}}}"}
            self._hits += [Hit(*row) for row in self._rows("sift_messages", **arguments)]
            self._hits.sort(key=attrgetter("place"), reverse=self._backwards)
            # One more than are wanted tells that there are more.
            del self._hits[self._limit + 1 :]

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


def _enough(common: list[float], blocks: int) -> int:
    """Return how many of some slots tell enough; what has those and not the others is looked through, and that is all.

    Args:
        common: which part of some blocks has each of them, the rarest first.
        blocks: how many there are.
    """
    left = float(blocks)
    for number, part in enumerate(common):
        if left < SPARED:
            return number
        left *= part
    return len(common)


def _mask(clauses: list[Clause], slices: dict[int, int], size: int) -> int:
    """Return the blocks that have all slots of at least one list of each clause, as far as is known."""
    every = (1 << size) - 1
    mask = every
    for clause in clauses:
        found = 0
        for slots in clause:
            having = mask
            for slot in slots:
                having &= slices.get(slot, every)
            found |= having
        mask = found
    return mask


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
