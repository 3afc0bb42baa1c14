"""Who watches what: from a message to the mailboxes it goes into."""

import threading
from collections.abc import Iterator

from flows.message import CHANNEL_GENERAL, CHANNEL_RUN, Event
from web.frame import Chunk, Item, message_item, run_item
from web.mailbox import Mailbox
from web.metrics import note_delay
from web.queries import Key, RunRow, Scope
from web.sight import Sight


class Watchers:
    """The mailboxes of this process, by what they watch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ending = False
        # What each mailbox is in, so that it is taken out of all of it at once.
        self._scopes: dict[Mailbox, list[Scope]] = {}
        self._names: dict[Mailbox, list[str]] = {}
        self._by_scope: dict[Scope, set[Mailbox]] = {}
        self._by_workflow: dict[tuple[str, Key | None], set[Scope]] = {}
        self._awaiting: dict[str, dict[Mailbox, str | None]] = {}
        self._of_runs: dict[Mailbox, str | None] = {}

    def __bool__(self) -> bool:
        return bool(self._by_scope or self._awaiting or self._of_runs)

    def __iter__(self) -> Iterator[Mailbox]:
        with self._lock:
            return iter(list(self._scopes))

    @property
    def want_runs(self) -> bool:
        """Whether somebody watches the list of runs."""
        return bool(self._of_runs)

    def add(self, mailbox: Mailbox) -> None:
        """Take a mailbox in, which watches nothing yet."""
        with self._lock:
            self._scopes[mailbox] = []
            self._names[mailbox] = []
            if self._ending:
                mailbox.end()

    def remove(self, mailbox: Mailbox) -> None:
        """Forget a mailbox."""
        with self._lock:
            self._of_runs.pop(mailbox, None)
            self._stop_awaiting(mailbox)
            del self._names[mailbox]
            for scope in self._scopes.pop(mailbox):
                self._stop_watching(mailbox, scope)

    def end(self) -> None:
        """End every mailbox, and those that come later."""
        with self._lock:
            self._ending = True
            for mailbox in self._scopes:
                mailbox.end()

    def watch(self, mailbox: Mailbox, scope: Scope) -> None:
        """Put the messages of a scope that its client may read into a mailbox, which waits for its run no longer.

        What was only claimed to be of that run is watched no longer, either.
        """
        scope = scope.within(mailbox.sight)
        with self._lock:
            self._stop_awaiting(mailbox)
            for other in [other for other in self._scopes[mailbox] if other.claimed and other != scope]:
                self._scopes[mailbox].remove(other)
                self._stop_watching(mailbox, other)
            if mailbox not in self._by_scope.setdefault(scope, set()):
                self._by_scope[scope].add(mailbox)
                self._scopes[mailbox].append(scope)
                for place in _places(scope):
                    self._by_workflow.setdefault(place, set()).add(scope)

    def watch_runs(self, mailbox: Mailbox, namespace: str | None) -> None:
        """Put the runs that change into a mailbox, perhaps of one namespace only."""
        with self._lock:
            self._of_runs[mailbox] = namespace

    def await_run(self, mailbox: Mailbox, name: str, namespace: str | None) -> None:
        """Lapse a mailbox whenever somebody speaks in a run of this name."""
        with self._lock:
            if mailbox not in self._awaiting.setdefault(name, {}):
                self._awaiting[name][mailbox] = namespace
                self._names[mailbox].append(name)

    def hand_out(self, events: list[Event]) -> set[Key]:
        """Put messages where they are watched; return the runs that they belong to."""
        batches: dict[Scope, list[Item]] = {}
        # What is to be read from Postgres, which knows whether it was said in both channels.
        lapsing: set[Scope] = set()
        touched: set[Key] = set()
        with self._lock:
            for event in events:
                item: Item | None = None
                for scope in self._candidates(event):
                    if scope.holds(event):
                        item = item or message_item(event)
                        batches.setdefault(scope, []).append(item)
                    elif scope.touches(event):
                        lapsing.add(scope)
                if event.channel == CHANNEL_RUN and event.workflow_uid is not None:
                    touched.add((event.workflow_namespace, event.workflow_uid))
                    self._wake_awaiting(event)
            for mailbox in (mailbox for scope in lapsing for mailbox in self._by_scope[scope]):
                mailbox.lapse()
            for scope, items in batches.items():
                if scope in lapsing:
                    # In one order with the rest.
                    continue
                chunk = Chunk(items)
                # One by one: each is to have it, and what `put` returns says only how.
                if sum([mailbox.put(chunk) for mailbox in self._by_scope[scope]]):
                    note_delay(chunk)
        return touched

    def hand_out_runs(self, runs: list[RunRow], seq: int) -> None:
        """Put runs, as they are at a cursor, where they are watched."""
        items = [(run.workflow_namespace, run_item(run, seq)) for run in runs]
        with self._lock:
            chunks: dict[tuple[str | None, Sight], Chunk | None] = {}
            for mailbox, namespace in self._of_runs.items():
                kind = namespace, mailbox.sight
                if kind not in chunks:
                    wanted = [item for its, item in items if namespace in (None, its) and its in mailbox.sight]
                    chunks[kind] = Chunk(wanted) if wanted else None
                if chunk := chunks[kind]:
                    mailbox.put(chunk)

    def _candidates(self, event: Event) -> Iterator[Scope]:
        if self._by_workflow and event.workflow_uid is not None:
            key = event.workflow_namespace, event.workflow_uid
            yield from self._by_workflow.get((event.channel, key), ())
        yield from self._by_workflow.get((event.channel, None), ())

    def _wake_awaiting(self, event: Event) -> None:
        if not self._awaiting:
            return
        for name in {event.run_id, event.workflow_uid, event.workflow_name}:
            for mailbox, namespace in self._awaiting.get(name or "", {}).items():
                if namespace in (None, event.workflow_namespace) and event.workflow_namespace in mailbox.sight:
                    mailbox.lapse()

    def _stop_awaiting(self, mailbox: Mailbox) -> None:
        for name in self._names[mailbox]:
            self._awaiting[name].pop(mailbox, None)
            if not self._awaiting[name]:
                del self._awaiting[name]
        self._names[mailbox] = []

    def _stop_watching(self, mailbox: Mailbox, scope: Scope) -> None:
        self._by_scope[scope].discard(mailbox)
        if not self._by_scope[scope]:
            del self._by_scope[scope]
            self._forget_scope(scope)

    def _forget_scope(self, scope: Scope) -> None:
        for place in _places(scope):
            self._by_workflow[place].discard(scope)
            if not self._by_workflow[place]:
                del self._by_workflow[place]


def _places(scope: Scope) -> list[tuple[str, Key | None]]:
    """Return where the events of a scope are."""
    channels = [scope.channel, *([CHANNEL_GENERAL] if scope.general else [])]
    return [(channel, scope.key) for channel in channels]
