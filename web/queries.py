"""What the web reads from Postgres: runs, and messages in both of their orders.

Reading order is `timestamp`, then `seq`: how a person reads a conversation.
Commit order is `seq` alone: how live readers follow and resume. Every query is
bounded in rows, bytes and time.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from psycopg import Connection, Cursor

import sql
from flows.message import CHANNEL_GENERAL, CHANNEL_RUN, Event
from web.pool import Pool
from web.sight import NOTHING, Sight, current

Place = tuple[datetime, int]
Key = tuple[str, str]

# A page of messages ends after so many bytes, or it could be hundreds of MiB.
PAGE_BYTES = 4 * 1024 * 1024
# As many runs of one name are told apart.
NAMESAKES = 20
# Of somebody who reads some namespaces each is asked for its runs, if they are no more; of more, all runs are looked
# through for theirs.
FEW_NAMESPACES = 8
# So many messages of everybody are looked through for those of one run, before its own index is.
NEAR = 2_000
# And no more of its messages are read from there at once: the index has them in another order.
FAR = 500

T = TypeVar("T")


class Scope(Struct, frozen=True):
    """Which messages: a channel, in it one workflow or all, perhaps one agent or some kinds.

    In the run channel a workflow is named by its namespace and uid together; a
    name alone, or a uid alone, is looked up in `runs` first (`Reader.resolve`).
    """

    channel: str = CHANNEL_RUN
    workflow_namespace: str | None = None
    workflow_uid: str | None = None
    workflow_name: str | None = None
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


class RunMatch(Struct, frozen=True):
    """What a name stands for: the run that is meant, and the others that it fits too."""

    run: RunRow | None
    others: list[RunRow]


class Reader:
    """Reads runs and messages over a pool of connections, opened at the first query.

    Args:
        conninfo: any libpq connection string.
        stale_after: a running run that has been silent for so long is stale.
        apart: whether those who ask see different rows (see `web.pool.Pool`).
    """

    def __init__(self, conninfo: str, stale_after: timedelta, *, apart: bool = False) -> None:
        self._stale_after = stale_after
        self._pool = Pool(conninfo, apart=apart)

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
        before: tuple[datetime, str, str] | None = None,
        limit: int = 50,
    ) -> list[RunRow]:
        """Return runs, the newest activity first.

        Args:
            namespace: only this namespace's.
            state: only those in this state, `stale` included.
            agent: only those in which this agent spoke.
            q: only those with these words in a name, an agent or what was said last.
            since: only those that were active then or later.
            until: only those that were active last before then.
            before: only those after this place in the list: last activity, namespace, uid.
            limit: at most so many.
        """

        def part(namespace: str | None) -> list[RunRow]:
            return self._list(
                namespace=namespace, state=state, agent=agent, q=q, since=since, until=until, before=before, limit=limit
            )

        namespaces = current().namespaces
        if namespace is not None or current().is_everything or len(namespaces) > FEW_NAMESPACES:
            return part(namespace)
        return sorted((run for one in namespaces for run in part(one)), key=_activity)[:limit]

    def _list(
        self,
        *,
        namespace: str | None,
        state: str | None,
        agent: str | None,
        q: str | None,
        since: datetime | None,
        until: datetime | None,
        before: tuple[datetime, str, str] | None,
        limit: int,
    ) -> list[RunRow]:
        at, at_namespace, at_uid = before or (None, None, None)
        ends: list[datetime | str] = [since or "-infinity", until or "infinity"]
        silent_since = datetime.now(UTC) - self._stale_after
        # What has been silent for long is stored as running; said like this it is a stretch of an index.
        if state == "stale":
            state, ends[1] = "running", min(silent_since, until or silent_since)
        elif state == "running":
            ends[0] = max(silent_since, since or silent_since)
        return self._runs(
            "list_runs",
            namespace=namespace,
            state=state,
            agent=agent,
            **_forms(q) if q else dict.fromkeys(("word_0", "word_1", "word_2")),
            since=ends[0],
            until=ends[1],
            before_at=at,
            before_namespace=at_namespace,
            before_uid=at_uid,
            limit=limit,
        )

    def run(self, name: str, namespace: str | None = None) -> RunMatch:
        """Return the run that a name means: by run id before uid before name, then the newest."""
        return self._match(namespace=namespace, run_id=name, uid=name, name=name)

    def runs_by_key(self, keys: Iterable[Key]) -> list[RunRow]:
        """Return the runs with these keys, the newest activity last."""
        pairs = list(keys)
        return self._runs("runs_by_key", namespaces=[n for n, _ in pairs], uids=[u for _, u in pairs])

    def touched_since(self, seq: int, limit: int) -> tuple[list[Key] | None, int]:
        """Return the runs that said something after a cursor, and the cursor this is true for.

        None instead of the runs where more than `limit` messages would have to be looked at.
        """
        *rows, (*_, count) = self._rows("runs_touched_since", seq=seq, limit=limit)
        if count >= limit:
            return None, self.head()
        return [(namespace, uid) for namespace, uid, _, _ in rows], max((last for _, _, last, _ in rows), default=seq)

    def resolve(self, scope: Scope, run: str | None = None) -> Scope | None:
        """Return the scope with its workflow named in full; None where no such run is known (yet).

        Args:
            scope: what else it must be.
            run: any of the run's names.
        """
        if run is None and (scope.key or scope.channel == CHANNEL_GENERAL):
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
        return None

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
        query = "general_cursor" if found.key is None else "workflow_cursor"
        if found.general:
            query = "run_and_general_cursor"
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

    def _runs(self, query: str, **arguments: object) -> list[RunRow]:
        return self._pool.ask(lambda connection: read_runs(connection, query, self._stale_after, arguments))

    def _rows(self, query: str, **arguments: object) -> list[tuple[Any, ...]]:
        return self._pool.ask(lambda connection: connection.execute(sql.query(query), arguments).fetchall())


def newest_seq(connection: Connection) -> int:
    """Return the newest committed cursor, 0 where nothing is stored."""
    row = connection.execute(sql.query("newest_seq")).fetchone()
    return int(row[0]) if row else 0


def tail(connection: Connection, seq: int, limit: int) -> tuple[list[Event], bool]:
    """Return what was committed after a cursor, in both channels, in commit order, and whether there is more."""
    return read_events(connection, "tail_messages", limit, {"seq": seq})


def _stretch(connection: Connection, scope: Scope, seq: int, limit: int) -> tuple[list[Event], bool]:
    arguments = {**_filter(scope), "seq": seq}
    if scope.key is None:
        return read_events(connection, "general_messages_since", limit, arguments)
    if scope.general:
        return read_events(connection, "run_and_general_since", limit, arguments)
    # Whoever was away for a moment is behind by little of what everybody said.
    near = _seqs(connection, "channel_seqs_since", arguments, NEAR)
    if len(near) < NEAR:
        return read_events(connection, "workflow_messages_among", limit, {**arguments, "seqs": near})
    far = min(limit, FAR)
    while seqs := _seqs(connection, "workflow_seqs_since", arguments, far):
        events, bounded = read_events(connection, "workflow_messages_among", far, {**arguments, "seqs": seqs})
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
    rows = connection.execute(sql.query(query), {**arguments, "limit": limit, "max_bytes": PAGE_BYTES}).fetchall()
    bounded = len(rows) == limit or max((row[16] for row in rows), default=0) >= PAGE_BYTES
    return [make_event(row) for row in rows], bounded


def read_runs(connection: Connection, query: str, stale_after: timedelta, arguments: dict[str, object]) -> list[RunRow]:
    """Run a query of runs."""
    silent_since = datetime.now(UTC) - stale_after
    with connection.cursor(row_factory=_run_row) as cursor:
        return cursor.execute(sql.query(query), {**arguments, "silent_since": silent_since}).fetchall()


def _filter(scope: Scope) -> dict[str, object]:
    return {
        "channel": scope.channel,
        # Postgres shows no other; told so, it finds them sooner.
        "namespace": scope.workflow_namespace or current().sole,
        "uid": scope.workflow_uid,
        "name": scope.workflow_name,
        "agent": scope.agent_id,
        "kinds": [*scope.kinds] or None,
    }


def _activity(run: RunRow) -> tuple[float, str, str]:
    """Return by what runs are listed: the newest activity first."""
    return -(run.last_at.timestamp() if run.last_at else 0.0), run.workflow_namespace, run.workflow_uid


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


def _run_row(_: Cursor[Any]) -> Callable[[Sequence[Any]], RunRow]:
    return lambda row: RunRow(*(*row[:17], read_object(row[17])))
