"""The list of runs as a person wants it: what failed first, then what went silent, what runs, and the rest."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice

from msgspec import Struct
from psycopg import Connection

import sql
from web.queries import Key, Reader, RunPlace, RunRow
from web.sight import current

# What failed or went silent longer ago waits for nobody any more.
RECENT = timedelta(hours=24)
SLICES = 16
SPAN = timedelta(minutes=30)
# Of a run no more of its newest messages are counted for its rate.
MOST_COUNTED = 600
MOST_NAMESPACES = 100
# Of a shelf no more runs are counted; there are "1,000+".
MOST_ON_SHELF = 1_000
_BATCH = 200
# So long some words are looked for in one go.
_PATIENCE_S = 2.0


class Shelf(Struct, frozen=True):
    """A part of the list.

    Attributes:
        name: as the page and its scripts call it.
        title: for a person.
        state: of its runs; None for whatever is on no other shelf.
        word: what its runs are, beside their number.
        few: so many of its runs are shown where all shelves are; the others are a click away.
        recent: whether only what was active in the last day is on it.
    """

    name: str
    title: str
    state: str | None = None
    word: str = ""
    few: int = 0
    recent: bool = False

    def since(self, filters: "Filters", now: datetime) -> datetime | None:
        """Return since when its runs said something, as they are filtered."""
        if not self.recent:
            return filters.since
        return max(now - RECENT, filters.since or now - RECENT)


SHELVES = (
    Shelf("failed", "Failed in the last 24 hours", "failed", "failed", 5, recent=True),
    Shelf("stale", "Went silent in the last 24 hours", "stale", "silent", 5, recent=True),
    Shelf("running", "Running", "running", "running", 10),
    Shelf("rest", "Earlier"),
)
REST = SHELVES[-1]
ALL = Shelf("all", "Runs, newest activity first")
NAMES = tuple(shelf.name for shelf in (*SHELVES, ALL))


class Group(Struct, frozen=True):
    """The runs of a shelf that are of one namespace; of all of them, where the namespace is empty."""

    namespace: str
    runs: list[RunRow]


class Filled(Struct):
    """A shelf, and runs that are on it.

    Attributes:
        is_cut: whether more are on it, which no further page has.
    """

    shelf: Shelf
    runs: list[RunRow]
    is_cut: bool = False

    def groups(self, *, apart: bool) -> list[Group]:
        """Return its runs, perhaps by namespace: that of the newest activity first."""
        if not apart:
            return [Group("", self.runs)]
        found: dict[str, list[RunRow]] = {}
        for run in self.runs:
            found.setdefault(run.workflow_namespace, []).append(run)
        return [Group(namespace, runs) for namespace, runs in found.items()]


class Total(Struct, frozen=True):
    """How many runs are on a shelf, up to one more than `MOST_ON_SHELF`."""

    shelf: Shelf
    number: int

    @property
    def words(self) -> str:
        """The number as it is shown."""
        return f"{MOST_ON_SHELF:,}+" if self.number > MOST_ON_SHELF else f"{self.number:,}"


class Filters(Struct, frozen=True):
    """Which runs are listed.

    Attributes:
        q: words in a name, an agent or what was said last.
        state: with one there is one shelf, by time.
        namespace: only its runs.
        since: only those that said something then or later.
        until: only those that began before then.
    """

    q: str | None = None
    state: str | None = None
    namespace: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Page(Struct, frozen=True):
    """Some runs, by shelf, and where the next ones begin: on which shelf, after which run; None at the end."""

    shelves: list[Filled]
    next: tuple[str, RunPlace] | None

    @property
    def runs(self) -> list[RunRow]:
        """All of them, in order."""
        return [run for filled in self.shelves for run in filled.runs]


def shelf_of(run: RunRow, now: datetime) -> str:
    """Return the name of the shelf that a run is on."""
    if run.state == "running":
        return "running"
    is_recent = run.active_at is not None and run.active_at >= now - RECENT
    return run.state if run.state in ("failed", "stale") and is_recent else "rest"


def page(
    reader: Reader,
    filters: Filters,
    limit: int,
    now: datetime,
    start: tuple[str, RunPlace] | None = None,
) -> Page:
    """Return the next runs; at the start a few of each shelf that asks for attention, and the first of the rest.

    Args:
        reader: reads them.
        filters: which of them.
        limit: how many, save for those few.
        now: what is recent goes by it.
        start: the shelf and the place after which they are.
    """
    shelves = (ALL,) if filters.state else SHELVES
    names = [shelf.name for shelf in shelves]
    first = names.index(start[0]) if start and start[0] in names else 0
    if start is None and not filters.state:
        few = [_few(reader, shelf, filters, now) for shelf in SHELVES if shelf is not REST]
        rest = _fill(reader, (REST,), filters, limit, now, None)
        return Page([filled for filled in few if filled.runs] + rest.shelves, rest.next)
    place = start[1] if start and start[0] == shelves[first].name else None
    return _fill(reader, shelves[first:], filters, limit, now, place)


def _few(reader: Reader, shelf: Shelf, filters: Filters, now: datetime) -> Filled:
    runs = [*islice(_on(reader, shelf, filters, now, None, shelf.few + 1), shelf.few + 1)]
    return Filled(shelf, runs[: shelf.few], len(runs) > shelf.few)


def _fill(
    reader: Reader, shelves: tuple[Shelf, ...], filters: Filters, limit: int, now: datetime, place: RunPlace | None
) -> Page:
    filled: list[Filled] = []
    left = limit
    for shelf in shelves:
        runs: list[RunRow] = []
        for run in _on(reader, shelf, filters, now, place):
            if left == 0:
                filled += [Filled(shelf, runs)] if runs else []
                last = filled[-1]
                return Page(filled, (last.shelf.name, last.runs[-1].place))
            runs.append(run)
            left -= 1
        place = None
        if runs:
            filled.append(Filled(shelf, runs))
    return Page(filled, None)


def _on(
    reader: Reader, shelf: Shelf, filters: Filters, now: datetime, place: RunPlace | None, batch: int = _BATCH
) -> Iterator[RunRow]:
    while True:
        listing = reader.runs(
            namespace=filters.namespace,
            state=filters.state or shelf.state,
            q=filters.q,
            since=shelf.since(filters, now),
            until=filters.until,
            before=place,
            limit=batch,
            patience=_PATIENCE_S,
        )
        for run in listing.runs:
            if shelf is not REST or shelf_of(run, now) == REST.name:
                yield run
        if listing.next is None:
            return
        place = listing.next


def totals(reader: Reader, filters: Filters, now: datetime) -> list[Total]:
    """Return how many runs are on each shelf that asks for attention; none where words are looked for."""
    if filters.q or filters.state:
        return []
    counted = reader.count_shelves(
        namespace=filters.namespace,
        since=filters.since,
        until=filters.until,
        recent_since=SHELVES[0].since(filters, now) or now - RECENT,
        most=MOST_ON_SHELF + 1,
    )
    return [Total(shelf, number) for shelf, number in zip(SHELVES, counted, strict=False)]


def rates(connection: Connection, runs: list[RunRow]) -> dict[Key, list[int]]:
    """Return how much each run said in each slice of the half hour before its last message, the oldest slice first."""
    told = [run for run in runs if run.last_at is not None]
    found = {run.key: [0] * SLICES for run in told}
    arguments = {
        "namespaces": [run.workflow_namespace for run in told],
        "uids": [run.workflow_uid for run in told],
        "ends": [run.last_at for run in told],
        "slices": SLICES,
        "span": SPAN,
        "limit": MOST_COUNTED,
    }
    for namespace, uid, number, count in connection.execute(sql.query("run_rates"), arguments):
        if 0 <= number < SLICES:
            found[namespace, uid][number] = count
    return found


def namespaces(connection: Connection) -> list[str]:
    """Return the namespaces that have runs."""
    arguments: dict[str, object] = {"limit": MOST_NAMESPACES}
    query = "list_namespaces"
    if not current().is_everything:
        # Postgres shows no others; told so, it finds them sooner.
        query, arguments["namespaces"] = "list_namespaces_in", [*current().namespaces]
    rows = connection.execute(sql.query(query), arguments).fetchall()
    return [name for (name,) in rows]
