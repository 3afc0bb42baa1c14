"""What the web reads from Postgres: runs, and messages in both of their orders.

Reading order is `timestamp`, then `seq`: how a person reads a conversation.
Commit order is `seq` alone: how live readers follow and resume. Every query is
bounded in rows, bytes and time.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from psycopg import Connection

import sql
from flows.message import CHANNEL_GENERAL, CHANNEL_RUN, Event
from web.pool import Lone, Note, Pool
from web.sight import NOTHING, Sight, current

Place = tuple[datetime, int]
Key = tuple[str, str]
# Of a run in the list: last activity, namespace, uid.
RunPlace = tuple[datetime, str, str]

# A page of messages ends after so many bytes, or it could be hundreds of MiB.
PAGE_BYTES = 4 * 1024 * 1024
# As many runs of one name are told apart.
NAMESAKES = 20
# So many messages of everybody are looked through for those of one run, before its own index is.
NEAR = 2_000
# And no more of its messages are read from there at once: the index has them in another order.
FAR = 500
# So many runs are looked at in one go for those with some words, or with an agent.
LOOKED_AT = 500

T = TypeVar("T")


class Scope(Struct, frozen=True):
    """Which messages: a channel, in it one workflow or all, perhaps one agent or some kinds.

    In the run channel a workflow is named by its namespace and uid together; a
    name alone, or a uid alone, is looked up in `runs` first (`Reader.resolve`).
    One that has said nothing in a channel of its own is named by any of the names
    that the general channel gives it.
    """

    channel: str = CHANNEL_RUN
    workflow_namespace: str | None = None
    workflow_uid: str | None = None
    workflow_name: str | None = None
    # A uid, a name or a run id of a workflow that is not known: what the general channel says under it.
    claimed: str | None = None
    agent_id: str | None = None
    kinds: tuple[str, ...] = ()
    # For those who watch a run: what the general channel says under its name as well (see `touches`).
    general: bool = False
    # For those who may not see all: what of the rest they may.
    sight: Sight | None = None

    @property
    def key(self) -> Key | None:
        """The workflow's key, where the scope names it in full."""
        if self.workflow_namespace is None or self.workflow_uid is None:
            return None
        return self.workflow_namespace, self.workflow_uid

    @property
    def channels(self) -> list[str]:
        """The channels that it is in."""
        return [self.channel, CHANNEL_GENERAL] if self.general else [self.channel]

    def within(self, sight: Sight) -> "Scope":
        """Return what of it whoever has this sight may see; those who see the same of it have equal ones."""
        if self.workflow_namespace in sight or sight.is_everything:
            return self
        return replace(self, sight=NOTHING if self.workflow_namespace is not None else sight)

    def touches(self, event: Event) -> bool:
        """Whether an event is in the general channel and in the scope, unless its run's own channel says it too."""
        return self.general and replace(self, channel=CHANNEL_GENERAL).holds(event)

    def holds(self, event: Event) -> bool:
        """Whether an event is in the scope."""
        return (
            self.channel == event.channel
            and (self.workflow_uid is None or self.workflow_uid == event.workflow_uid)
            and (self.workflow_namespace is None or self.workflow_namespace == event.workflow_namespace)
            and (self.agent_id is None or self.agent_id == event.agent_id)
            and (not self.kinds or event.kind in self.kinds)
            and (self.workflow_name is None or self.workflow_name == event.workflow_name)
            and (self.claimed is None or self.claimed in (event.workflow_uid, event.workflow_name, event.run_id))
            and (self.sight is None or event.workflow_namespace in self.sight)
        )


class RunRow(Struct, frozen=True):
    """One row of `workflow_comms.runs`.

    Attributes:
        state: `stale` where a running run has gone silent.
        pruned: how many of its messages are past the retention and gone.
    """

    workflow_namespace: str
    workflow_uid: str
    workflow_name: str
    run_id: str | None
    runtime: str
    state: str
    messages: int
    tool_calls: int
    errors: int
    agents: list[str]
    first_at: datetime | None
    last_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    last_agent: str | None
    last_content: str | None
    pruned: int
    attrs: dict[str, Any]

    @property
    def key(self) -> Key:
        """What names the workflow in every system."""
        return self.workflow_namespace, self.workflow_uid

    @property
    def active_at(self) -> datetime | None:
        """When somebody spoke in it last; where nobody has yet, when it ended."""
        return self.last_at or self.finished_at

    @property
    def begun_at(self) -> datetime | None:
        """When somebody spoke in it first; where nobody has yet, when it began as far as that is known."""
        return self.first_at or self.started_at or self.finished_at

    @property
    def place(self) -> "RunPlace":
        """Where it is in the list, which holds those alone in which somebody spoke or that have ended."""
        return cast("datetime", self.active_at), *self.key


class Listing(Struct, frozen=True):
    """Some runs of the list.

    Attributes:
        next: the place behind which more may be, though the runs may be none; None at the end.
    """

    runs: list[RunRow]
    next: "RunPlace | None"


class RunMatch(Struct, frozen=True):
    """What a name stands for: the run that is meant, and the others that it fits too."""

    run: RunRow | None
    others: list[RunRow]


class Reader:
    """Reads runs and messages over a pool of connections, opened at the first query.

    Args:
        source: any libpq connection string; or a connection, on which everything is asked.
        stale_after: a running run that has been silent for so long is stale.
        apart: whether those who ask see different rows (see `web.pool.Pool`).
        note: is told of each question, where a pool is asked.
    """

    def __init__(
        self, source: str | Lone, stale_after: timedelta, *, apart: bool = False, note: Note | None = None
    ) -> None:
        self._stale_after = stale_after
        self._pool = Pool(source, apart=apart, note=note) if isinstance(source, str) else source

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def ask(self, question: Callable[[Connection], T]) -> T:
        """Lend a connection to a question and return its answer; raises `psycopg.OperationalError` without Postgres."""
        return self._pool.ask(question)

    def runs(
        self,
        *,
        namespace: str | None = None,
        state: str | None = None,
        agent: str | None = None,
        q: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        before: RunPlace | None = None,
        limit: int = 50,
        patience: float = 0.0,
    ) -> "Listing":
        """Return runs, the newest activity first.

        Args:
            namespace: only this namespace's.
            state: only those in this state, `stale` included.
            agent: only those in which this agent spoke.
            q: only those with these words in a name, an agent or what was said last.
            since: only those that said something then or later.
            until: only those that began before then: one that goes on for longer was under way as well.
            before: only those after this place in the list.
            limit: at most so many.
            patience: what is rare is looked for in the next `LOOKED_AT` runs, and in more for so many seconds.
        """
        namespaces = current().within(namespace)
        one = namespaces is None or len(namespaces) == 1
        last: list[datetime | str] = [since or "-infinity", "infinity"]
        silent_since = datetime.now(UTC) - self._stale_after
        # What has been silent for long is stored as running; said like this it is a stretch of an index.
        if state == "stale":
            state, last[1] = "running", silent_since
        elif state == "running":
            last[0] = max(silent_since, since or silent_since)
        wanted: dict[str, object] = {
            "namespaces": namespaces,
            "namespace": namespaces[0] if namespaces and one else None,
            "state": state,
            "agent": agent,
            **(_forms(q) if q else dict.fromkeys(("word_0", "word_1", "word_2"))),
            "since": last[0],
            "last_before": last[1],
            "until": until,
            "most": LOOKED_AT if agent or q else limit + 1,
        }
        deadline = time.monotonic() + patience
        found: list[RunRow] = []
        while True:
            wanted |= dict(zip(("before_at", "before_namespace", "before_uid"), before or (None,) * 3, strict=True))
            runs, before = self._looked_at("list_runs" if one else "list_runs_in", wanted, limit + 1 - len(found))
            found += runs
            if len(found) > limit:
                return Listing(found[:limit], found[limit - 1].place)
            if before is None or time.monotonic() >= deadline:
                return Listing(found, before)

    def count_shelves(
        self,
        *,
        namespace: str | None,
        since: datetime | None,
        until: datetime | None,
        recent_since: datetime,
        most: int,
    ) -> tuple[int, int, int]:
        """Return how many runs failed, have gone silent and are running; of each no more than `most`.

        Args:
            namespace: only this namespace's.
            since: only those that said something then or later.
            until: only those that began before then.
            recent_since: of those that failed or have gone silent, the same as `since`.
            most: so many of each are counted.
        """
        ((failed, silent, running),) = self._rows(
            "count_shelves",
            namespaces=current().within(namespace),
            since=since or "-infinity",
            until=until,
            recent_since=recent_since,
            silent_since=datetime.now(UTC) - self._stale_after,
            most=most,
        )
        return failed, silent, running

    def run(self, name: str, namespace: str | None = None) -> RunMatch:
        """Return the run that a name means: by run id before uid before name, then the newest."""
        return self._match(namespace=namespace, run_id=name, uid=name, name=name)

    def run_of_uid(self, uid: str, namespace: str | None = None) -> RunMatch:
        """Return the run that is this workflow, whatever run ids others give themselves."""
        return self._match(namespace=namespace, run_id=None, uid=uid, name=None)

    def runs_by_key(self, keys: Iterable[Key]) -> list[RunRow]:
        """Return the runs with these keys, the newest activity last."""
        pairs = list(keys)
        return self._runs("runs_by_key", namespaces=[n for n, _ in pairs], uids=[u for _, u in pairs])

    def touched_since(self, seq: int, limit: int) -> tuple[list[Key] | None, int]:
        """Return the runs that said something after a cursor or went silent, and the cursor this is true for.

        None instead of the runs where more than `limit` messages would have to be looked at, or as many went silent.
        """
        *rows, (*_, count) = self._rows("runs_touched_since", seq=seq, limit=limit)
        silent = self._gone_silent_since(seq, limit)
        if count >= limit or len(silent) >= limit:
            return None, self.head()
        said = [(namespace, uid) for namespace, uid, _, _ in rows]
        return [*dict.fromkeys(said + silent)], max((last for _, _, last, _ in rows), default=seq)

    def _gone_silent_since(self, seq: int, limit: int) -> list[Key]:
        stored_at = next((moment for (moment,) in self._rows("stored_at", seq=seq)), None)
        if stored_at is None:
            return []
        until = datetime.now(UTC) - self._stale_after
        since = stored_at - self._stale_after
        return self._pool.ask(lambda connection: read_gone_silent(connection, since, until, limit))

    def resolve(self, scope: Scope, run: str | None = None) -> Scope | None:
        """Return the scope with its workflow named in full; None where no such run is known (yet).

        Of a run that isn't known the general channel may speak all the same, under any of its names.

        Args:
            scope: what else it must be.
            run: any of the run's names.
        """
        if scope.workflow_namespace is not None and scope.workflow_namespace not in current():
            # Before anything is asked: how long it took would tell how much is there.
            return None
        if run is None and (scope.key or scope.claimed or scope.channel == CHANNEL_GENERAL):
            return scope
        uid, name = scope.workflow_uid, scope.workflow_name
        match = self._match(
            namespace=scope.workflow_namespace,
            run_id=run,
            uid=run or uid,
            name=run or (name if uid is None else None),
        )
        for found in [match.run, *match.others]:
            if found and uid in (None, found.workflow_uid) and name in (None, found.workflow_name):
                namespace, uid = found.key
                return replace(scope, workflow_namespace=namespace, workflow_uid=uid, workflow_name=None)
        return replace(scope, claimed=run or uid or name) if CHANNEL_GENERAL in scope.channels else None

    def message(self, scope: Scope, seq: int) -> Event | None:
        """Return the message at a cursor; None where none of the scope is there."""
        rows = self._rows("messages_by_seq", seqs=[seq])
        event = make_event(rows[0]) if rows else None
        return event if event and scope.holds(event) else None

    def stretch(self, scope: Scope, seq: int, limit: int) -> tuple[list[Event], bool]:
        """Return the messages after a live cursor, in commit order, and whether there are more."""
        found = self.resolve(scope)
        if found is None:
            return [], False
        return self.ask(lambda connection: _stretch(connection, found, seq, limit))

    def cursor_before(self, scope: Scope, limit: int, head: int) -> int:
        """Return the cursor after which come the newest `limit` messages up to a head; the head if there are none."""
        found = self.resolve(scope)
        if found is None:
            return head
        query = "workflow_cursor"
        if found.key is None:
            query = "general_cursor_in" if _is_of_several(found) else "general_cursor"
        if found.general:
            query = "run_and_general_cursor"
        if found.claimed is not None:
            query = "claimed_cursor"
        (cursor,) = self._rows(query, **_filter(found), limit=limit, seq=head)[0]
        return head if cursor is None else int(cursor)

    def head(self) -> int:
        """Return the newest committed cursor, 0 where nothing is stored."""
        return self._pool.ask(newest_seq)

    def pruned_to(self, channel: str) -> int:
        """Return the cursor up to which messages of a channel may have been pruned; 0 where none was."""
        (cursor,) = self._rows("pruned_to", channel=channel)[0]
        return int(cursor)

    def _match(self, **names: str | None) -> RunMatch:
        found: dict[Key, RunRow] = {}
        for run in self._runs("find_runs", **names, limit=NAMESAKES):
            found.setdefault(run.key, run)
        runs = [*found.values()]
        return RunMatch(runs[0] if runs else None, runs[1:])

    def _looked_at(self, query: str, arguments: dict[str, object], limit: int) -> tuple[list[RunRow], RunPlace | None]:
        """Return the runs that fit, and the place of the last one that was looked at, where more may be behind it."""
        # One more than may be wanted: the last one need not fit.
        arguments = {**arguments, "limit": limit + 1, "silent_since": datetime.now(UTC) - self._stale_after}
        rows = self._rows(query, **arguments)
        last = rows[-1] if rows and rows[-1][19] else None
        fitting = [_run(row) for row in rows if row[18]][:limit]
        return fitting, None if last is None else _run(last).place

    def _runs(self, query: str, **arguments: object) -> list[RunRow]:
        return self._pool.ask(lambda connection: read_runs(connection, query, self._stale_after, arguments))

    def _rows(self, query: str, **arguments: object) -> list[tuple[Any, ...]]:
        return self._pool.ask(lambda connection: connection.execute(sql.query(query), arguments).fetchall())


def array_of(numbers: Iterable[int]) -> str:
    """Return numbers as Postgres writes an array of them: psycopg looks at each of a list for what it must quote."""
    return "{" + ",".join(map(str, numbers)) + "}"


def newest_seq(connection: Connection) -> int:
    """Return the newest committed cursor, 0 where nothing is stored."""
    row = connection.execute(sql.query("newest_seq")).fetchone()
    return int(row[0]) if row else 0


def tail(connection: Connection, seq: int, limit: int) -> tuple[list[Event], bool]:
    """Return what was committed after a cursor, in both channels, in commit order, and whether there is more."""
    return read_events(connection, "tail_messages", limit, {"seq": seq})


def _stretch(connection: Connection, scope: Scope, seq: int, limit: int) -> tuple[list[Event], bool]:
    arguments = {**_filter(scope), "seq": seq}
    if scope.claimed is not None:
        return read_events(connection, "claimed_messages_since", limit, arguments)
    if scope.key is None:
        query = "general_messages_in_since" if _is_of_several(scope) else "general_messages_since"
        return read_events(connection, query, limit, arguments)
    # Whoever was away for a moment is behind by little of what everybody said.
    near = connection.execute(sql.query("channel_seqs_since"), {**arguments, "limit": NEAR}).fetchall()
    if all(number < NEAR for number in Counter(channel for channel, _ in near).values()):
        among = {**arguments, "seqs": array_of(seq for _, seq in near)}
        return read_events(connection, "workflow_messages_among", limit, among)
    far = min(limit, FAR)
    while seqs := _seqs(connection, "workflow_seqs_since", arguments, far):
        events, bounded = read_events(connection, "workflow_messages_among", far, {**arguments, "seqs": array_of(seqs)})
        more = bounded or len(seqs) == far
        if events or not more:
            return events, more
        # Nothing of what is wanted was among them.
        arguments["seq"] = seqs[-1]
    return [], False


def _seqs(connection: Connection, query: str, arguments: dict[str, object], limit: int) -> list[int]:
    return [seq for (seq,) in connection.execute(sql.query(query), {**arguments, "limit": limit}).fetchall()]


def read_events(
    connection: Connection, query: str, limit: int, arguments: dict[str, object]
) -> tuple[list[Event], bool]:
    """Run a query of messages; return them, and whether it ended at a bound rather than at the last of them."""
    # Of what went wrong there is an index.
    statement = sql.query_of_errors(query) if arguments.get("errors") else sql.query(query)
    rows = connection.execute(statement, {**arguments, "limit": limit, "max_bytes": PAGE_BYTES}).fetchall()
    bounded = len(rows) == limit or max((row[16] for row in rows), default=0) >= PAGE_BYTES
    return [make_event(row) for row in rows], bounded


def read_gone_silent(connection: Connection, since: datetime, until: datetime, limit: int) -> list[Key]:
    """Return the running runs whose last message lies between two times, the first one included."""
    arguments = {"since": since, "until": until, "limit": limit}
    return connection.execute(sql.query("runs_gone_silent"), arguments).fetchall()


def read_runs(connection: Connection, query: str, stale_after: timedelta, arguments: dict[str, object]) -> list[RunRow]:
    """Run a query of runs."""
    silent_since = datetime.now(UTC) - stale_after
    rows = connection.execute(sql.query(query), {**arguments, "silent_since": silent_since}).fetchall()
    return [_run(row) for row in rows]


def _run(row: Sequence[Any]) -> RunRow:
    return RunRow(*(*row[:17], read_object(row[17])))


def _is_of_several(scope: Scope) -> bool:
    """Whether a scope stands for several namespaces, and not for all."""
    return scope.workflow_namespace is None and not current().is_everything and current().sole is None


def _filter(scope: Scope) -> dict[str, object]:
    return {
        "channel": scope.channel,
        "channels": scope.channels,
        "general": scope.general,
        # Postgres shows no other; told so, it finds them sooner.
        "namespace": scope.workflow_namespace or current().sole,
        "namespaces": [*current().namespaces],
        "uid": scope.workflow_uid,
        "name": scope.workflow_name,
        "claimed": scope.claimed,
        "agent": scope.agent_id,
        "kinds": [*scope.kinds] or None,
    }


def _forms(words: str) -> dict[str, str | None]:
    """Return some words as they may stand in what Postgres calls `lower`."""
    # It may not know the other case of a letter that is none of ASCII.
    forms = [words.lower()] if words.isascii() else [*dict.fromkeys((words.lower(), words, words.upper()))]
    return {f"word_{number}": forms[number] if number < len(forms) else None for number in range(3)}


def read_object(text: str) -> dict[str, Any]:
    """Return the JSON object of a column; an empty one where it is none."""
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        # Postgres' numbers have no end; ours do.
        value = json.loads(text, parse_int=_number, parse_float=_number)
    return value if isinstance(value, dict) else {}


def _number(digits: str) -> float | str:
    value = float(digits)
    return value if math.isfinite(value) else digits


def make_event(row: Sequence[Any]) -> Event:
    """Make an event of a row of the message queries."""
    attrs = read_object(row[14])
    tool = attrs.get("tool")
    return Event(*(*row[:14], tool if isinstance(tool, dict) else None, attrs, row[15]))
