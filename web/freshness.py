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
# Where nobody knows how old the oldest is, so many that wait are a backlog.
MANY = 5_000


class Flow(Struct, frozen=True):
    """What one flow said of itself last.

    Attributes:
        seconds_ago: when.
        pending: messages of the stream that are not delivered yet; null where it isn't known.
        unacked: messages that are delivered and not acked yet.
        received: delivered to this flow since it started.
        stored: stored by this flow since it started.
        stored_seconds_ago: when it stored something last; null where it has stored nothing yet.
        oldest_seconds: the age of the oldest message without a row, at most.
    """

    name: str
    seconds_ago: float
    pending: int | None
    unacked: int | None
    received: int
    stored: int
    stored_seconds_ago: float | None
    oldest_seconds: float | None


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
        Flow(name, _past(said), pending, unacked, received, stored, None if last is None else _past(last), oldest)
        for name, said, pending, unacked, received, stored, last, oldest in rows
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
    # The consumer is one for all flows; each tells what it saw of it.
    told = at_work[0]
    waiting = None if told.pending is None or told.unacked is None else told.pending + told.unacked
    oldest = told.oldest_seconds
    if waiting is None:
        text = "new messages don't arrive: the ingest has lost NATS"
        return Freshness("behind", text, stored_seconds_ago, None, None, silent)
    if waiting and (oldest > LATE_S if oldest is not None else waiting > MANY):
        late = "" if oldest is None else f"{words.span(oldest)} "
        text = f"{late}behind: {words.count(waiting, 'message')} to store"
        return Freshness("behind", text, stored_seconds_ago, waiting, oldest, silent)
    return Freshness("fresh", f"{waiting:,} behind", stored_seconds_ago, waiting, oldest, silent)


def _past(seconds: float) -> float:
    # The clocks of two machines need not agree.
    return round(max(0.0, seconds), 1)
