"""How far the ingest is, for whoever wonders whether what they read is all there is."""

from msgspec import Struct
from psycopg import Connection

import sql
from web import words

MOST_FLOWS = 100
# A flow that has said nothing for so long isn't at work.
SILENT_S = 12.0
# A message may be on its way for so long before anybody is told.
LATE_S = 10.0
# A flow that is so young may not have asked NATS yet.
STARTS_S = 10.0
# Where nobody knows how old the oldest is, so many that wait are a backlog.
MANY = 5_000


class Flow(Struct, frozen=True):
    """What one flow said of itself last.

    Attributes:
        started_seconds_ago: when it started.
        seconds_ago: when.
        pending: messages of the stream that are not delivered yet; null where it isn't known.
        unacked: messages that are delivered and not acked yet.
        received: delivered to this flow since it started.
        stored: stored by this flow since it started.
        duplicates: of what it received, what was stored already; null where the flow doesn't tell.
        dead_letters: of what it received, what could not become a row; null where the flow doesn't tell.
        stored_seconds_ago: when it stored something last; null where it has stored nothing yet.
        oldest_seconds: the age of the oldest message without a row, at most.
    """

    name: str
    started_seconds_ago: float
    seconds_ago: float
    pending: int | None
    unacked: int | None
    received: int
    stored: int
    duplicates: int | None
    dead_letters: int | None
    stored_seconds_ago: float | None
    oldest_seconds: float | None

    @property
    def in_hand(self) -> int | None:
        """What it received and has done nothing with yet; None where the flow doesn't tell."""
        if self.duplicates is None or self.dead_letters is None:
            return None
        return max(0, self.received - self.stored - self.duplicates - self.dead_letters)

    @property
    def waiting(self) -> int | None:
        """Messages that are not stored yet; None where that isn't known."""
        return None if self.pending is None or self.unacked is None else self.pending + self.unacked


class Freshness(Struct, frozen=True):
    """How fresh what is stored is.

    Attributes:
        state: `fresh`; `behind` where messages wait; `down` where no flow is at work; `unknown` where none ever said
            anything.
        words: the same for a person.
        stored_seconds_ago: when a flow stored something last; null where that isn't known.
        waiting: messages that are not stored yet; null where that isn't known.
        oldest_seconds: the age of the oldest of them, at most.
        silent_seconds: how long ago a flow said something last; null where none did.
    """

    state: str
    words: str
    stored_seconds_ago: float | None
    waiting: int | None
    oldest_seconds: float | None
    silent_seconds: float | None


def flows(connection: Connection) -> list[Flow]:
    """Return what the flows said last, the newest word first."""
    rows = connection.execute(sql.query("list_pulses"), {"limit": MOST_FLOWS}).fetchall()
    return [
        Flow(name, _past(started), _past(said), pending, unacked, received, stored, known, letters, _ago(last), oldest)
        for name, started, said, pending, unacked, received, stored, known, letters, last, oldest in rows
    ]


def freshness(connection: Connection) -> Freshness:
    """Return how far the ingest is."""
    return judge(flows(connection))


def judge(said: list[Flow]) -> Freshness:
    """Return what the flows' words come to.

    Args:
        said: the newest first.
    """
    times = [flow.stored_seconds_ago for flow in said if flow.stored_seconds_ago is not None]
    stored_seconds_ago = min(times, default=None)
    silent = said[0].seconds_ago if said else None
    at_work = [flow for flow in said if flow.seconds_ago < SILENT_S]
    if silent is None:
        return Freshness("unknown", "how far the ingest is, is not known", stored_seconds_ago, None, None, None)
    if not at_work:
        text = f"nothing is being stored: the ingest stopped {words.span(silent)} ago"
        return Freshness("down", text, stored_seconds_ago, None, None, silent)
    # The consumer is one for all flows: any that saw it tells of it, also where another has no connection.
    told = next((flow for flow in at_work if flow.waiting is not None), None)
    if told is None:
        starts = all(flow.started_seconds_ago < STARTS_S for flow in at_work)
        text = "the ingest is starting" if starts else "new messages don't arrive: the ingest has lost NATS"
        return Freshness("behind", text, stored_seconds_ago, None, None, silent)
    waiting, oldest = told.waiting or 0, told.oldest_seconds
    if waiting and (oldest > LATE_S if oldest is not None else waiting > MANY):
        late = "" if oldest is None else f"{words.span(oldest)} "
        text = f"{late}behind: {words.count(waiting, 'message')} to store"
        return Freshness("behind", text, stored_seconds_ago, waiting, oldest, silent)
    return Freshness("fresh", f"{waiting:,} behind", stored_seconds_ago, waiting, oldest, silent)


def _ago(seconds: float | None) -> float | None:
    return None if seconds is None else _past(seconds)


def _past(seconds: float) -> float:
    # The clocks of two machines need not agree.
    return round(max(0.0, seconds), 1)
