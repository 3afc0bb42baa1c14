"""One run whose artifacts are being read: what was known of it before, and what has been found of it so far."""

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct
from psycopg import Connection

import sql
from connectors.blame import in_one_line
from connectors.objects import Trouble
from flows import account
from flows.account import Contents, Entry
from flows.artifact import Artifact
from flows.attempts import Attempts
from flows.codex import TOO_LONG, UNREADABLE
from flows.completion import RANK
from flows.finished import Key
from flows.listed import Absent, Listed
from flows.message import PERSON
from flows.moment import EARLIEST_US, latest_us
from flows.normalize import DEFAULT_RUNTIME
from flows.report import RunReport, Tokens, Treated, report, tokens
from flows.sheet import EVENTLESS, Part, Read, Task
from flows.subject import format_run

log = logging.getLogger(__name__)

_PREFIX = "workflow"
# A run of whose end nobody has told has ended once nothing was heard of it for so long: a command may take hours.
SILENCE = timedelta(days=1)
# A beginning so long after an end is a retry's: see flows/completion.py.
BEGINS_AGAIN = timedelta(seconds=2)
# Of an artifact that is not read again.
_SETTLED = ("read", "damaged", "unneeded")
# One agent says most of it, in a handful of kinds.
_subject = lru_cache(maxsize=1_024)(format_run)


class Known(Struct, frozen=True):
    """What the table of runs says of a run.

    Attributes:
        messages: how many of it were stored, those that are gone included.
        pruned: how many are gone.
        said_started_at: when a message said that it runs.
        said_ended_at: when a message said that it has ended, if that was said last.
        phase: how it has ended, in the controller's word; None where it has said none.
        phase_at: when that was said.
        noted_at: when it said that it has ended, and not when.
        ended_at: when it has ended, as all of this comes to; None where it goes on.
        begun_at: when a message said last that it begins.
        last_at: when it was heard of last.
    """

    messages: int = 0
    pruned: int = 0
    agents: tuple[str, ...] = ()
    runtime: str = DEFAULT_RUNTIME
    said_started_at: datetime | None = None
    said_ended_at: datetime | None = None
    phase_started_at: datetime | None = None
    phase_finished_at: datetime | None = None
    phase: str | None = None
    phase_at: datetime | None = None
    noted_at: Sequence[datetime] = ()
    ended_at: datetime | None = None
    begun_at: datetime | None = None
    last_at: datetime | None = None


class Tally(Struct):
    """What became of an artifact's messages.

    Attributes:
        before: messages that were inserted from it by other backfills, earlier or at the same time.
        again: messages that another artifact of the run has told.
        agent: who speaks in it, as far as it is known.
    """

    before: int = 0
    stored: int = 0
    again: int = 0
    inserted: int = 0
    refused: int = 0
    read: Read | None = None
    agent: str | None = None


class Recovery:
    """A run, its artifacts and what is found in them.

    Args:
        number: of the run.
        listed: the run, and what there is of it.
        known: what the table of runs says.
        entries: what was read of its artifacts before, by location.
        again: read what has not changed, too.
        is_patient: leave an attempt's log alone while its events may still come.
        is_wanted: conclude it, though nothing has changed.
        can_skim: whether it is enough to look for the messages' keys, as long as each of them is stored.
    """

    def __init__(
        self,
        number: int,
        listed: Listed,
        known: Known,
        entries: dict[str, Entry],
        *,
        again: bool = False,
        is_patient: bool = False,
        is_wanted: bool = False,
        can_skim: bool = True,
    ) -> None:
        self.number = number
        self.run = listed.run
        self.known = known
        self._entries = entries
        self.absent = [each for each in listed.absent if not self._was_read(each)]
        # Read earlier, and deleted since: what it came to stays known.
        self._deleted = [each.location for each in listed.absent if self._was_read(each)]
        if not listed.artifacts and not listed.absent:
            self._deleted = [location for location, entry in entries.items() if entry.state in _SETTLED]
        self.shared = listed.shared
        self.parts = [
            _part(artifact, entries.get(artifact.location), again=again, closes=self._closes(artifact))
            for artifact in listed.artifacts
        ]
        self.tallies = [self._tally(part) for part in self.parts]
        self.attempts = self._attempts(listed)
        self._waiting = frozenset(each.attempt for each in listed.absent if is_patient and each.may_pass)
        self._is_wanted = is_wanted
        self.report: RunReport | None = None
        # Why it can't be recovered, though the others can.
        self.failure = ""
        runtime = known.runtime if known.runtime != DEFAULT_RUNTIME else None
        beside = {"run_id": self.run.run_id, "stage": self.run.stage, "runtime": runtime}
        # What every message says of the run.
        self.beside = {name: value for name, value in beside.items() if value}
        # Where some of it is stored it is likely to be all there, which its keys tell.
        self._skim = can_skim and known.messages > 0
        self._lacks = False

    def _was_read(self, absent: Absent) -> bool:
        entry = self._entries.get(absent.location)
        return absent.trouble is Trouble.MISSING and entry is not None and entry.state == "read"

    def _closes(self, artifact: Artifact) -> bool:
        """Say whether calls that are open at an artifact's end never get a result.

        What is stored stays: that nobody answered is said once nobody can. The run has ended, by anybody's word, or its
        artifact was packed, or nothing came live lately. A file that somebody follows may still be written.
        """
        if self.known.ended_at is not None or self._ends_it or artifact.is_packed:
            return True
        came_live = self.known.messages > sum(entry.inserted for entry in self._entries.values())
        return not came_live or self.known.last_at is None or self.known.last_at <= now() - SILENCE

    def _attempts(self, listed: Listed) -> Attempts:
        word, known = self.run.completion, self.known
        ends = _usable(word.finished_at if word else None, known.phase_finished_at, known.said_ended_at)
        if not ends and word is not None:
            ends = [min(_usable(word.received_at, *known.noted_at), default=latest_us())]
        end = ends[0] if ends else None
        begins = _usable(word.started_at if word else None, known.phase_started_at, known.said_started_at)
        return Attempts(
            listed.artifacts,
            [left.key for left in self.run.left],
            begin=max((each for each in begins if end is None or each < end), default=None),
            end=end,
            said_ended=None if known.said_ended_at is None else _microseconds(known.said_ended_at),
        )

    @property
    def _ends_it(self) -> bool:
        """Whether the controller's word is news, and no message says that the run has begun again since."""
        word, begun_at = self.run.completion, self.known.begun_at
        if word is None or not self.is_to_be_completed:
            return False
        return begun_at is None or word.finished_at is None or begun_at - word.finished_at <= BEGINS_AGAIN

    def _tally(self, part: Part) -> Tally:
        entry = self._entries.get(part.artifact.location)
        return Tally(before=entry.inserted if entry else 0)

    @property
    def key(self) -> Key:
        """What names the workflow in every system."""
        return self.run.key

    @property
    def is_gone(self) -> bool:
        """Whether messages of it are past the retention: they are not to come again."""
        return self.known.pruned > 0

    @property
    def is_to_do(self) -> bool:
        """Whether there is anything that the database doesn't know."""
        return (
            self._is_wanted
            or bool(self.absent)
            or any(part.to_do for part in self.parts)
            or self.is_to_be_completed
            or any(entry.is_miscounted for entry in self._unread)
        )

    @property
    def _unread(self) -> list[Entry]:
        """What was read of its artifacts before and isn't read now."""
        return [self._entries[part.artifact.location] for part in self.parts if not part.to_do]

    @property
    def is_known_to_lack(self) -> bool:
        """Whether something of its artifacts can't be read or stored, as was found when they were read last."""
        found = [entry.contents for entry in self._unread]
        lacks = {EVENTLESS, TOO_LONG, UNREADABLE}
        return any(each.trouble or each.refused or lacks & each.skipped.keys() for each in found)

    @property
    def is_to_be_completed(self) -> bool:
        """Whether the controller's word is another one than is known."""
        word, known = self.run.completion, self.known
        if word is None:
            return False
        if word.finished_at is None:
            is_open = known.phase is None or known.ended_at is None or bool(word.phase and not known.phase)
            return is_open and word.received_at not in known.noted_at
        if known.phase is None or known.phase_at is None:
            return True
        if known.phase_finished_at is None or known.phase_finished_at < word.finished_at:
            return True
        return (known.phase_at, RANK[known.phase]) < (word.finished_at, RANK[word.phase])

    @property
    def task(self) -> Task:
        """What is to be read of it."""
        return Task(self.number, *self.key, self.parts, self.beside, self._waiting, self._skim)

    def miss(self) -> None:
        """Note that something that was skimmed isn't stored."""
        self._lacks = True

    def has_to_be_read(self) -> bool:
        """Say whether it was skimmed and is to be read after all, since not all of it is stored."""
        again = self._skim and self._lacks
        if again:
            self._skim = self._lacks = False
        return again

    def begin(self) -> None:
        """Forget what was found: the run is read from its beginning."""
        self.attempts.forget()
        self._lacks = False
        self.tallies = [
            Tally(before=tally.before + tally.inserted, agent=tally.agent) if part.to_do else tally
            for part, tally in zip(self.parts, self.tallies, strict=True)
        ]

    def subject(self, part: int, kind: str, default_agent: str) -> str:
        """Return the subject that an artifact's messages of a kind would have been published on."""
        tally = self.tallies[part]
        if tally.agent is None:
            agents = [agent for agent in self.known.agents if agent != PERSON]
            said = self.run.agent if self.run.agent != PERSON else None
            tally.agent = said or (agents[0] if len(agents) == 1 else default_agent)
        return _subject(_PREFIX, self.run.namespace, self.run.name, self.run.uid, tally.agent, kind)

    def recount(self, entries: dict[str, Entry]) -> None:
        """Take note of how much backfills have inserted by now: others may have done so since it was begun.

        Args:
            entries: the accounts of its artifacts, by location, as they are once all of it is stored.
        """
        self._entries = {**self._entries, **entries}
        for part, tally in zip(self.parts, self.tallies, strict=True):
            if entry := entries.get(part.artifact.location):
                tally.before = max(0, entry.inserted - tally.inserted)

    def lines(self) -> list[account.Line]:
        """Return the accounts of what was read, and of what was miscounted earlier."""
        return [*self._read_lines(), *self._corrected_lines()]

    def _corrected_lines(self) -> list[account.Line]:
        return [
            account.Line(
                *self.key,
                location=part.artifact.location,
                version=entry.version,
                state=entry.state,
                found=msgspec.structs.replace(entry.contents, live=entry.live),
            )
            for part in self.parts
            if not part.to_do and (entry := self._entries[part.artifact.location]).is_miscounted
        ]

    def _read_lines(self) -> list[account.Line]:
        return [
            account.Line(
                *self.key,
                location=part.artifact.location,
                version=account.version_of(part.artifact),
                state=account.state_of(tally.read),
                found=self._contents(tally),
            )
            for part, tally in zip(self.parts, self.tallies, strict=True)
            if tally.read is not None
        ]

    def line(self, part: int, inserted: int) -> account.Line:
        """Return the account of messages that are inserted from an artifact."""
        artifact = self.parts[part].artifact
        return account.Line(*self.key, artifact.location, account.version_of(artifact), inserted)

    @staticmethod
    def _contents(tally: Tally) -> Contents:
        contents = Contents.of(tally.read) if tally.read else Contents()
        contents.stored, contents.inserted, contents.refused = tally.stored, tally.inserted, tally.refused
        contents.rows -= tally.again
        contents.live = max(0, tally.stored - tally.before)
        return contents

    def _treated(self) -> list[Treated]:
        treated = []
        for part, tally in zip(self.parts, self.tallies, strict=True):
            location = part.artifact.location
            if tally.read is not None:
                recovered = tally.before + tally.inserted
                treated.append(Treated(location, self._contents(tally), recovered, tally.read.may_pass))
            elif entry := self._entries.get(location):
                treated.append(_treated_earlier(location, entry))
        return treated + [_treated_earlier(location, self._entries[location]) for location in self._deleted]

    @property
    def is_unchanged(self) -> bool:
        """Whether it was left as it is known, with nothing of it read."""
        return not self.is_to_do

    def conclude(self, at: datetime) -> tuple[RunReport, Tokens]:
        """Return what it came to."""
        treated = self._treated()
        word = self.run.completion
        has_ended = bool((word and word.phase) or self.known.phase or self.known.said_ended_at)
        self.report = report(treated, self.absent, at, has_ended=has_ended, shared=self.shared)
        return self.report, tokens(treated)

    def give_up(self, error: Exception) -> None:
        """Say that something failed in it that nobody thought of; what is stored stays, and the rest is tried anew."""
        if self.failure:
            return
        run = "/".join(self.key)
        log.error("%s can't be recovered", run, exc_info=error, extra={"run": run, "todo": "report it with this line"})
        self.failure = in_one_line(error)
        self.report = RunReport(now(), why=[f"it can't be recovered: {self.failure}"])

    def leave_alone(self, at: datetime) -> None:
        """Say that messages of it are gone, and no more."""
        said = f"{self.known.pruned:,} messages are past the retention"
        self.report = RunReport(at, gone=self.known.pruned, why=[said])


def recoveries(
    connection: Connection[Any],
    listed: Sequence[Listed],
    first: int,
    *,
    again: bool = False,
    is_patient: bool = False,
    is_wanted: bool = False,
    can_skim: bool = True,
) -> list[Recovery]:
    """Return runs with what the database knows of them, numbered from `first`."""
    keys = [each.run.key for each in listed]
    known, entries = _known(connection, keys), account.entries(connection, keys)
    return [
        Recovery(
            number,
            each,
            known.get(each.run.key, Known()),
            entries.get(each.run.key, {}),
            again=again,
            is_patient=is_patient,
            is_wanted=is_wanted,
            can_skim=can_skim,
        )
        for number, each in enumerate(listed, first)
    ]


def _known(connection: Connection[Any], keys: Sequence[Key]) -> dict[Key, Known]:
    arguments = {"namespaces": [key[0] for key in keys], "uids": [key[1] for key in keys]}
    return {
        (namespace, uid): Known(messages, pruned, tuple(agents), *rest)
        for namespace, uid, messages, pruned, agents, *rest in connection.execute(sql.query("known_runs"), arguments)
    }


def _part(artifact: Artifact, entry: Entry | None, *, again: bool, closes: bool) -> Part:
    if entry is None or again or not entry.is_of(artifact) or (closes and entry.contents.unanswered):
        return Part(artifact, closes=closes)
    return Part(artifact, to_do=False, messages=entry.contents.messages)


def _treated_earlier(location: str, entry: Entry) -> Treated:
    """Return what was read earlier as of now: what was inserted then is stored."""
    contents = entry.contents
    stored = contents.stored + contents.inserted
    settled = msgspec.structs.replace(contents, stored=stored, inserted=0, live=entry.live)
    return Treated(location, settled, entry.inserted, waiting=False)


def _usable(*times: datetime | None) -> list[int]:
    """Return times that can be meant, in microseconds since the Unix epoch, in their order."""
    told = [_microseconds(each) for each in times if each is not None]
    return [each for each in told if EARLIEST_US <= each <= latest_us()]


def _microseconds(time: datetime) -> int:
    return round(time.timestamp() * 1_000_000)


def now() -> datetime:
    """Return this moment, UTC."""
    return datetime.now(UTC)


def in_order(runs: Iterable[Recovery]) -> list[Recovery]:
    """Return runs in the order in which everybody locks their rows."""
    return sorted(runs, key=lambda run: run.key)
