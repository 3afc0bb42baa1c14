"""What a backfill came to, of a run and of all of them."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from flows.account import Contents
from flows.codex import TOO_LONG, UNREADABLE
from flows.folders import shared_in_words
from flows.listed import Absent
from flows.sheet import EVENTLESS, FOREIGN, Turn

# Of more turns, and of more artifacts, the last ones are kept with a run.
MAX_TURNS = 200
MAX_NAMED = 50
MAX_FOREIGN = 3
NO_ARTIFACTS = "artifacts missing"


class Tokens(Struct):
    """What a run's threads took.

    Attributes:
        total: of all turns, by the tokens' names.
        turns: each turn by itself.
    """

    total: dict[str, int]
    turns: list[Turn]


class RunReport(Struct):
    """What a run's artifacts came to.

    Attributes:
        lines: of all that were read.
        rows: messages that they are.
        stored: of these, the ones that were there before.
        inserted: of these, the ones that were not.
        recovered: messages that were ever inserted from artifacts.
        live_percent: which part of the messages came by way of NATS; None where there are none.
        refused: messages that the table doesn't take.
        skipped: lines that are no message, by the reason.
        interrupted: calls that were never answered.
        absent: artifacts that can't be had, and why.
        damaged: artifacts that can't be read to their end, and why.
        eventless: artifacts that should hold events, and hold something else; some of them.
        gone: messages past the retention, for which the run was left alone.
        waiting: whether something may be otherwise later.
        complete: whether everything that the run said is there, and how it ended is known.
        why: why not; and what else is to be known of it.
    """

    at: datetime
    artifacts: int = 0
    lines: int = 0
    rows: int = 0
    stored: int = 0
    inserted: int = 0
    recovered: int = 0
    live_percent: float | None = None
    refused: int = 0
    skipped: dict[str, int] = {}
    interrupted: int = 0
    absent: dict[str, str] = {}
    damaged: dict[str, str] = {}
    eventless: list[str] = []
    gone: int = 0
    waiting: bool = False
    complete: bool = False
    why: list[str] = []

    @property
    def has_no_artifacts(self) -> bool:
        """Whether there was nothing to read, nor a word of anything that the run has left."""
        return not (self.artifacts or self.absent or self.gone)

    @property
    def lost(self) -> int:
        """How many lines say something that is not stored."""
        return self.skipped.get(TOO_LONG, 0) + self.skipped.get(UNREADABLE, 0)


class Treated(Struct, frozen=True):
    """An artifact that was read, now or earlier.

    Attributes:
        recovered: messages that were ever inserted from it.
        waiting: whether it is to be read again.
    """

    location: str
    contents: Contents
    recovered: int
    waiting: bool


def report(
    treated: Sequence[Treated],
    absent: Sequence[Absent],
    at: datetime,
    *,
    has_ended: bool,
    shared: Sequence[str] = (),
) -> RunReport:
    """Return what a run's artifacts came to.

    Args:
        treated: the run's artifacts.
        absent: those that can't be had.
        at: now.
        has_ended: whether somebody has said how the run ended.
        shared: folders that were left alone, since other runs are called by their names, too.
    """
    made = RunReport(at, artifacts=len(treated))
    skipped: Counter[str] = Counter()
    live = 0
    for each in treated:
        contents = each.contents
        made.lines += contents.lines
        made.rows += contents.rows
        made.stored += contents.stored
        made.inserted += contents.inserted
        made.recovered += each.recovered
        made.refused += contents.refused
        made.interrupted += contents.interrupted
        live += contents.live
        skipped.update(contents.skipped)
        if contents.trouble:
            made.damaged[each.location] = f"{contents.trouble}: {contents.text}"
    made.skipped = dict(sorted(skipped.items()))
    made.live_percent = round(100 * live / made.rows, 1) if made.rows else None
    made.absent = {each.location: f"{each.trouble.value}: {each.text}" for each in absent[-MAX_NAMED:]}
    made.damaged = dict([*made.damaged.items()][-MAX_NAMED:])
    made.eventless = [each.location for each in treated if EVENTLESS in each.contents.skipped][-MAX_NAMED:]
    made.waiting = any(each.waiting for each in treated) or any(each.may_pass for each in absent)
    is_open = any(each.contents.is_open for each in treated)
    unanswered = sum(each.contents.unanswered for each in treated)
    foreign = [each.location for each in treated if FOREIGN in each.contents.skipped]
    is_foreign = 0 < len(foreign) == len(treated)
    wrong = _wrong(made, len(absent), unanswered, has_ended=has_ended, is_open=is_open, is_foreign=is_foreign)
    made.complete = not wrong
    made.why = [
        *wrong,
        *([_count(made.rows - live, "message", "never seen live")] if made.rows > live else []),
        *(f"{location} is an {FOREIGN}" for location in foreign[:MAX_FOREIGN]),
        *map(shared_in_words, shared),
    ]
    return made


def _wrong(
    made: RunReport, absent: int, unanswered: int, *, has_ended: bool, is_open: bool, is_foreign: bool
) -> list[str]:
    """Return why a run is not complete."""
    too_long, unreadable = (made.skipped.get(reason, 0) for reason in (TOO_LONG, UNREADABLE))
    return [
        words
        for words, holds in (
            ("no final status", not has_ended),
            (NO_ARTIFACTS, made.has_no_artifacts),
            (_count(absent, "artifact", "missing"), absent),
            (_count(len(made.damaged), "artifact", "not to be read to the end"), made.damaged),
            *((f"{location} holds no event", True) for location in made.eventless[:MAX_FOREIGN]),
            ("no artifact is an agent's", is_foreign),
            (_count(too_long, "line", "too long to be read"), too_long),
            (_count(unreadable, "line", "that can't be read"), unreadable),
            (_count(made.interrupted, "call", "never answered"), made.interrupted),
            (_count(unanswered, "call", "not answered yet"), unanswered),
            ("it ends in the middle of a turn", is_open),
            (_count(made.refused, "message", "that the table doesn't take"), made.refused),
        )
        if holds
    ]


def tokens(treated: Sequence[Treated]) -> Tokens:
    """Return what a run's turns took, each once though several artifacts tell of it."""
    turns = {(turn.thread, turn.turn): turn for each in treated for turn in each.contents.turns}
    total: Counter[str] = Counter()
    for turn in turns.values():
        total.update(turn.tokens)
    return Tokens(dict(total), [*turns.values()][-MAX_TURNS:])


def _count(number: int, what: str, how: str) -> str:
    return f"{number:,} {what}{'s' if number != 1 else ''} {how}"
