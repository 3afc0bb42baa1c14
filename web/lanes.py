"""A run over time, a lane an agent: how much was said, calls as bars, failures marked; the general channel too."""

from datetime import datetime, timedelta

from msgspec import Struct
from psycopg import Connection

import sql
from flows.message import CHANNEL_GENERAL
from web.queries import RunRow

SLICES = 120
# Of more agents those that said most have a lane each, the others one together.
MOST_LANES = 8
OTHERS = "others"

# A slice of an agent's: its number, its messages, calls and failures, and when the first failure was.
Row = tuple[int, int, int, int, datetime | None]


class Mark(Struct, frozen=True):
    """Where something went wrong: the slice, and when first in it."""

    slice: int
    at: datetime
    count: int


class Lane(Struct, frozen=True):
    """What one agent did.

    Attributes:
        agent: empty for the general channel.
        said: of each slice with messages, its number and how many there are.
        calls: the same of tool calls.
        marks: where something went wrong.
    """

    agent: str
    messages: int
    failures: int
    said: list[tuple[int, int]]
    calls: list[tuple[int, int]]
    marks: list[Mark]

    @property
    def level(self) -> int:
        """The most messages of a slice."""
        return max((count for _, count in self.said), default=1)

    @property
    def bars(self) -> str:
        """The messages as an SVG path, 10 high."""
        return _bars(self.said, self.level)

    @property
    def call_bars(self) -> str:
        """The tool calls as an SVG path in the same measure."""
        return _bars(self.calls, self.level)

    @property
    def ticks(self) -> str:
        """Where something went wrong, as an SVG path: a tick above the bars."""
        return "".join(f"M{mark.slice} 0h1v3h-1z" for mark in self.marks)


class Lanes(Struct, frozen=True):
    """A run over time."""

    first_at: datetime
    seconds: float
    lanes: list[Lane]

    @property
    def last_at(self) -> datetime:
        """The end of the lanes."""
        return self.first_at + timedelta(seconds=self.seconds)


def read_lanes(connection: Connection, run: RunRow) -> Lanes | None:
    """Read the lanes of a run; None where it has said nothing."""
    if run.first_at is None or run.last_at is None:
        return None
    first_at, seconds = run.first_at, max(1.0, (run.last_at - run.first_at).total_seconds())
    namespace, uid = run.key
    arguments = {"namespace": namespace, "uid": uid, "first_at": first_at, "seconds": seconds, "slices": SLICES}
    by_agent: dict[str, list[Row]] = {}
    for agent, channel, *numbers in connection.execute(sql.query("run_lanes"), arguments):
        by_agent.setdefault("" if channel == CHANNEL_GENERAL else agent, []).append(tuple(numbers))
    return Lanes(first_at, seconds, lanes_of(by_agent))


def lanes_of(by_agent: dict[str, list[Row]]) -> list[Lane]:
    """Return lanes, the fullest first, that of the general channel last.

    Args:
        by_agent: by agent, empty for the general channel: of each slice its number, its messages, calls and failures,
            and when the first failure was.
    """
    general = by_agent.pop("", None)
    lanes = sorted((_lane(agent, rows) for agent, rows in by_agent.items()), key=lambda lane: -lane.messages)
    if len(lanes) > MOST_LANES:
        rest = [row for lane in lanes[MOST_LANES - 1 :] for row in by_agent[lane.agent]]
        lanes = [*lanes[: MOST_LANES - 1], _lane(OTHERS, rest)]
    return [*lanes, *([_lane("", general)] if general else [])]


def _lane(agent: str, rows: list[Row]) -> Lane:
    said: dict[int, int] = {}
    calls: dict[int, int] = {}
    marks: dict[int, Mark] = {}
    for number, count, called, wrong, wrong_at in rows:
        said[number] = said.get(number, 0) + count
        if called:
            calls[number] = calls.get(number, 0) + called
        if wrong_at is not None:
            before = marks.get(number)
            first = wrong_at if before is None else min(before.at, wrong_at)
            marks[number] = Mark(number, first, wrong + (before.count if before else 0))
    failures = sum(mark.count for mark in marks.values())
    shown = [marks[number] for number in sorted(marks)]
    return Lane(agent, sum(said.values()), failures, sorted(said.items()), sorted(calls.items()), shown)


def _bars(counts: list[tuple[int, int]], level: int) -> str:
    # Little is seen too: a slice with one message of a hundred has a bar.
    return "".join(f"M{number} 10v-{1.5 + 8.5 * count / level:.1f}h1V10z" for number, count in counts)
