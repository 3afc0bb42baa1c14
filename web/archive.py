"""Reads what is stored in reading order, a page or a batch at a time.

What has an index of its own, a run or the general channel, is read straight from it;
anything else is searched for (see `web.search`). Nothing is held between two batches:
no connection, no snapshot, no more than one batch.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from psycopg import Connection

import sql
from flows.message import CHANNEL_RUN, Event
from web.queries import PAGE_BYTES, Place, Reader, array_of, make_event, read_events
from web.search import FIRST, LAST, Bound, Found, find, named, read_places
from web.selection import Direction, Selection
from web.sight import current
from web.terms import Match, matches

# A page that isn't complete in so many seconds is given as far as it is.
PATIENCE_S = 0.12
# Whoever takes everything waits longer, up to what one statement may take.
BATCH_PATIENCE_S = 2.0
BATCH = 1_000


class Quote(Event, frozen=True):
    """A message that was looked for.

    Attributes:
        matches: the first places in it that match.
    """

    matches: list[Match]


class Sight(Struct, frozen=True):
    """How much a search has seen.

    Attributes:
        indexed_to_seq: the cursor up to which messages are indexed; later ones are looked through as they are.
        behind_seconds: the age of the oldest message that was neither, 0 where all was seen.
        searched_to: where the search is in time; null at its end. Its page may be short, and leads on.
    """

    indexed_to_seq: int
    behind_seconds: float
    searched_to: datetime | None


class Excerpt(Struct, frozen=True):
    """Some messages in reading order, oldest first.

    Attributes:
        events: the messages; those that hold terms are quotes.
        edge: the place behind which more may be, in the direction that was read; None where nothing is.
        sight: how much was seen, where it was searched.
    """

    events: list[Event]
    edge: Place | None
    sight: Sight | None = None

    @property
    def first(self) -> Place | None:
        """The place of the first message."""
        return _place(self.events[0]) if self.events else None

    @property
    def last(self) -> Place | None:
        """The place of the last message."""
        return _place(self.events[-1]) if self.events else None


NOTHING = Excerpt([], None)


class Archive:
    """Reads messages.

    Args:
        reader: asks Postgres.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def resolve(self, selection: Selection, run: str | None) -> Selection | None:
        """Return the selection with its workflow named in full; None where no such run is known (yet)."""
        scope = selection.scope
        if scope.workflow_namespace is not None and scope.workflow_namespace not in current():
            # As for the reader: see `Reader.resolve`.
            return None
        if run is None and scope.workflow_uid is None and (scope.workflow_name is None or scope.channel != CHANNEL_RUN):
            return selection
        found = self._reader.resolve(msgspec.structs.replace(scope, general=selection.general), run)
        return None if found is None else selection.in_place(msgspec.structs.replace(found, general=False))

    def before(self, selection: Selection, place: Place | None, limit: int, patience: float = PATIENCE_S) -> Excerpt:
        """Return the last messages before a place; before the end of all time, where there is none."""
        low, high = _bounds(selection)
        return self._read("before", selection, (low, _least(high, place)), limit, patience)

    def after(self, selection: Selection, place: Place | None, limit: int, patience: float = PATIENCE_S) -> Excerpt:
        """Return the first messages after a place; from the first of all, where there is none."""
        low, high = _bounds(selection)
        return self._read("after", selection, (_greatest(low, place), high), limit, patience)

    def is_empty(self, direction: Direction, selection: Selection, place: Place, patience: float = PATIENCE_S) -> bool:
        """Say whether nothing is before, or after, a place; what isn't known in time may be there."""
        read = self.before if direction == "before" else self.after
        excerpt = read(selection, place, 1, patience)
        return not excerpt.events and excerpt.edge is None

    def batches(
        self, selection: Selection, after: Place | None = None, before: Place | None = None
    ) -> Iterator[list[Event]]:
        """Yield all messages between two places, up to what is the last one now."""
        newest = self.before(selection, before, 1, BATCH_PATIENCE_S)
        end = newest.last or newest.edge
        while end is not None:
            excerpt = self.after(selection, after, BATCH, BATCH_PATIENCE_S)
            yield [event for event in excerpt.events if _place(event) <= end]
            after = excerpt.edge
            if after is None or after >= end:
                return

    def start_of_last(self, selection: Selection, number: int, before: Place | None = None) -> Place | None:
        """Return the place after which come the last so many messages; None where there are no more than these."""
        place = before
        while number > 0:
            low, high = _bounds(selection)
            step = min(number, BATCH)
            places, place = self._places(selection, (low, _least(high, place)), step)
            number -= places
            if place is None:
                return None
        return place and (place[0], place[1] - 1)

    def _places(self, selection: Selection, between: tuple[Bound, Bound], limit: int) -> tuple[int, Place | None]:
        """Return how many of the last so many messages there are, and the place of the first of them."""
        selection = selection.within(current())
        query = selection.places_query("before")
        if query is None or selection.is_sifted or selection.general:
            found = self._reader.ask(
                lambda connection: find(
                    connection, selection, between, limit, backwards=True, patience=BATCH_PATIENCE_S
                )
            )
            return len(found.hits), found.edge
        arguments = {**selection.arguments(), **named(*between), "limit": limit}
        places = self._reader.ask(lambda connection: read_places(connection, query, arguments))
        return places.number, places.last if places.number == limit else None

    def _read(
        self, direction: Direction, selection: Selection, between: tuple[Bound, Bound], limit: int, patience: float
    ) -> Excerpt:
        selection = selection.within(current())
        query = None if selection.is_sifted else selection.messages_query(direction)
        if query:
            return self._reader.ask(
                lambda connection: _straight(connection, query, direction, selection, between, limit)
            )
        return self._reader.ask(
            lambda connection: _searched(connection, direction, selection, between, limit, patience)
        )


def _straight(
    connection: Connection,
    query: str,
    direction: Direction,
    selection: Selection,
    between: tuple[Bound, Bound],
    limit: int,
) -> Excerpt:
    arguments = {**selection.arguments(), **named(*between)}
    events, bounded = read_events(connection, query, limit + 1, arguments)
    if len(events) > limit:
        events = events[-limit:] if direction == "before" else events[:limit]
    elif bounded:
        # It ended at a bound of bytes, behind which nothing may be.
        low, high = between
        rest = (low, _outer(events, direction)) if direction == "before" else (_outer(events, direction), high)
        arguments |= named(*rest)
        bounded = bool(read_events(connection, query, 1, arguments)[0])
    return Excerpt(events, _outer(events, direction) if bounded else None)


def _searched(
    connection: Connection,
    direction: Direction,
    selection: Selection,
    between: tuple[Bound, Bound],
    limit: int,
    patience: float,
) -> Excerpt:
    backwards = direction == "before"
    found = find(connection, selection, between, limit, backwards=backwards, patience=patience)
    hits, edge = found.hits, found.edge
    total = 0
    for number, hit in enumerate(hits):
        total += hit.size
        if total > PAGE_BYTES and number > 0:
            hits = hits[:number]
            edge = hits[-1].place
            break
    rows = connection.execute(sql.query("messages_by_seq"), {"seqs": array_of(hit.seq for hit in hits)}).fetchall()
    events = [make_event(row) for row in rows]
    if selection.terms:
        events = [quote for event in events if (quote := _quote(event, selection.terms))]
    return Excerpt(events, edge, _sight(found, edge))


def _quote(event: Event, terms: tuple[str, ...]) -> Quote | None:
    found = matches(event, terms)
    return None if found is None else Quote(**msgspec.structs.asdict(event), matches=found)


def _sight(found: Found, edge: Place | None) -> Sight:
    since = found.unsearched_since
    behind = 0.0 if since is None else max(0.0, (datetime.now(UTC) - since).total_seconds())
    return Sight(found.indexed_to, round(behind, 3), edge and edge[0])


def _outer(events: list[Event], direction: Direction) -> Place:
    return _place(events[0] if direction == "before" else events[-1])


def _place(event: Event) -> Place:
    return event.timestamp, event.seq


def _bounds(selection: Selection) -> tuple[Bound, Bound]:
    """Return the places between which a selection's messages were said."""
    low = FIRST if selection.since is None else (selection.since, 0)
    high = LAST if selection.until is None else (selection.until, 0)
    return low, high


def _least(bound: Bound, place: Place | None) -> Bound:
    return place if place is not None and (bound is LAST or place < bound) else bound


def _greatest(bound: Bound, place: Place | None) -> Bound:
    return place if place is not None and (bound is FIRST or place > bound) else bound
