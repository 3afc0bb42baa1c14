"""Messages straight from Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import msgspec
import psycopg

from flows.database import conninfo
from flows.message import CHANNEL_GENERAL, CHANNEL_RUN, Event
from flows.settings import Settings
from web.archive import Archive
from web.failure import keep_quiet
from web.pool import Lone
from web.queries import Reader, Scope
from web.selection import Selection
from web.shelf import Wanted, tell_behind
from web.sight import EVERYTHING, look

# Nobody waits at a page here.
PATIENCE_S = 5.0
POLL_S = 2.0
# What sql/queries/notify_messages.sql says it on.
CHANNEL = "agent_comms"
PAGE = 1_000


class Local:
    """A database.

    Args:
        settings: say which one.
    """

    def __init__(self, settings: Settings) -> None:
        keep_quiet()
        self._conninfo = conninfo(settings, "agent-comms-read")
        stale_after = timedelta(minutes=settings.agent_comms_stale_minutes)
        # Whoever has a database's address reads what its user may.
        look(EVERYTHING)
        self._reader = Reader(Lone(self._conninfo), stale_after)
        self._archive = Archive(self._reader)

    def close(self) -> None:
        """Close the connections."""
        self._reader.close()

    def head(self, wanted: Wanted) -> int:  # noqa: ARG002  # it is the same for everybody
        """Return the live cursor of what is stored now."""
        return self._reader.head()

    def newest(self, wanted: Wanted, count: int) -> list[Event]:
        """Return the newest so many messages in reading order, oldest first."""
        selection = self._archive.resolve(_selection(wanted), wanted.run)
        if selection is None:
            return []
        events: list[Event] = []
        place, behind = None, 0.0
        while len(events) < count:
            excerpt = self._archive.before(selection, place, min(count - len(events), PAGE), PATIENCE_S)
            events = excerpt.events + events
            behind = excerpt.sight.behind_seconds if excerpt.sight else 0.0
            place = excerpt.edge
            if place is None:
                break
        tell_behind(behind)
        return events

    def silent(self, wanted: Wanted) -> str | None:
        """Return the state of the run that is wanted, where it is known and no message of it has come yet."""
        run = self._reader.run(wanted.run, wanted.namespace).run if wanted.run else None
        return run.state if run and not run.messages else None

    def follow(self, wanted: Wanted, seq: int) -> Iterator[Event]:
        """Yield the messages after a live cursor, and wait for more."""
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            cursors = dict.fromkeys(_scopes(_selection(wanted)), seq)
            while True:
                for scope in cursors:
                    for event in self._later(scope, wanted.run, cursors[scope]):
                        cursors[scope] = event.seq
                        if wanted.holds(event):
                            yield event
                for _ in connection.notifies(timeout=POLL_S, stop_after=1):
                    pass

    def _later(self, scope: Scope, run: str | None, seq: int) -> Iterator[Event]:
        found = self._reader.resolve(scope, run)
        more = found is not None
        while found is not None and more:
            events, more = self._reader.stretch(found, seq, PAGE)
            yield from events
            seq = events[-1].seq if events else seq


def _selection(wanted: Wanted) -> Selection:
    only_general = wanted.general and not wanted.run
    scope = Scope(
        channel=CHANNEL_GENERAL if only_general else CHANNEL_RUN,
        workflow_namespace=wanted.namespace,
        agent_id=wanted.agent,
        kinds=wanted.kinds,
    )
    return Selection(
        scope,
        general=not only_general and (wanted.general or not wanted.run),
        repository=wanted.repository,
        issue=wanted.issue_number,
        branch=wanted.branch,
    )


def _scopes(selection: Selection) -> list[Scope]:
    return [msgspec.structs.replace(selection.scope, channel=channel) for channel in selection.channels]
