"""The list of runs as a person wants it: what failed first, then what went silent, what runs, and the rest."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import Struct
from psycopg import Connection

import sql
from web.queries import Key, Reader, RunRow

# What failed or went silent longer ago waits for nobody any more.
RECENT = timedelta(hours=24)
SLICES = 16
SPAN = timedelta(minutes=30)
# Of a run no more of its newest messages are counted for its rate.
MOST_COUNTED = 600
MOST_NAMESPACES = 100
_BATCH = 200

RunPlace = tuple[datetime, str, str]


class Shelf(Struct, frozen=True):
    """A part of the list.

    Attributes:
        name: as the page and its scripts call it.
        title: for a person.
        state: of its runs; None for whatever is on no other shelf.
        recent: whether only what was active in the last day is on it.
    """

    name: str
    title: str
    state: str | None = None
    recent: bool = False


SHELVES = (
    Shelf("failed", "Failed in the last 24 hours", "failed", recent=True),
    Shelf("stale", "Silent, though not finished", "stale", recent=True),
    Shelf("running", "Running", "running"),
    Shelf("rest", "Earlier"),
)
ALL = Shelf("all", "Runs, newest activity first")
NAMES = tuple(shelf.name for shelf in (*SHELVES, ALL))


class Filled(Struct):
    """A shelf, and runs that are on it."""

    shelf: Shelf
    runs: list[RunRow]


class Page(Struct, frozen=True):
    """Some runs, by shelf, and where the next ones begin: on which shelf, after which run; None at the end."""

    shelves: list[Filled]
    next: tuple[str, RunRow] | None

    @property
    def runs(self) -> list[RunRow]:
        """All of them, in order."""
        return [run for filled in self.shelves for run in filled.runs]


def shelf_of(run: RunRow, now: datetime) -> str:
    """Return the name of the shelf that a run is on."""
    if run.state == "running":
        return "running"
    is_recent = run.last_at is not None and run.last_at >= now - RECENT
    return run.state if run.state in ("failed", "stale") and is_recent else "rest"


def page(
    reader: Reader,
    filters: dict[str, str | None],
    limit: int,
    now: datetime,
    start: tuple[str, RunPlace] | None = None,
) -> Page:
    """Return the next runs.

    Args:
        reader: reads them.
        filters: `q`, `state` and `namespace`; with a state there is one shelf, by time.
        limit: how many.
        now: what is recent goes by it.
        start: the shelf and the place after which they are.
    """
    shelves = (ALL,) if filters.get("state") else SHELVES
    names = [shelf.name for shelf in shelves]
    first = names.index(start[0]) if start and start[0] in names else 0
    filled: list[Filled] = []
    left = limit
    for number, shelf in enumerate(shelves[first:]):
        place = start[1] if start and number == 0 and start[0] == shelf.name else None
        runs: list[RunRow] = []
        for run in _on(reader, shelf, filters, now, place):
            if left == 0:
                filled += [Filled(shelf, runs)] if runs else []
                last = filled[-1]
                return Page(filled, (last.shelf.name, last.runs[-1]))
            runs.append(run)
            left -= 1
        if runs:
            filled.append(Filled(shelf, runs))
    return Page(filled, None)


def _on(
    reader: Reader, shelf: Shelf, filters: dict[str, str | None], now: datetime, place: RunPlace | None
) -> Iterator[RunRow]:
    while True:
        batch = reader.runs(
            namespace=filters.get("namespace"),
            state=filters.get("state") or shelf.state,
            q=filters.get("q"),
            since=now - RECENT if shelf.recent else None,
            before=place,
            limit=_BATCH,
        )
        for run in batch:
            if shelf.name != "rest" or shelf_of(run, now) == "rest":
                yield run
        if len(batch) < _BATCH or batch[-1].last_at is None:
            return
        place = (batch[-1].last_at, *batch[-1].key)


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
    rows = connection.execute(sql.query("list_namespaces"), {"limit": MOST_NAMESPACES}).fetchall()
    return [name for (name,) in rows]
