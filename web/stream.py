"""One live connection: what was said first, then what is being said, without a seam.

A stream opens its mailbox before it reads what Postgres has, and drops from the
mailbox what it has read: nothing is missing between the two, nothing comes twice.
Its cursor only grows, so a client that comes back with its last id goes on there.
"""

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator

import msgspec
from msgspec import Struct

from flows.message import CHANNEL_RUN
from web.frame import Chunk, Form, run_item
from web.history import LEAST_PAGE, MOST_PAGE, UNANSWERED, History
from web.live import Hub
from web.mailbox import Express, Mailbox
from web.metrics import note_delay
from web.peer import Peer
from web.queries import Scope
from web.sight import current

# Whoever watches the list of runs and is so many messages behind is told to load it again.
RUNS_BEHIND = 5_000
RETRY_S = (1.0, 3.0)
# After a shutdown everybody comes at once.
RETRY_AFTER_DRAIN_S = (1.0, 5.0)
AGAIN_S = 1.0
# A stream that is about to wait for Postgres has said before that it is alive, no longer ago than this.
FRESH_S = 1.0
# Postgres may be busy; one that has given a stream no answer for so long is away.
BUSY_S = 5.0


SIGNED_OUT = "The sign-in or the token is good no longer."


class Pace(Struct, frozen=True):
    """How often a quiet stream says that it is alive, and how long it lives, both in seconds."""

    heartbeat: float
    lifetime: float

    @property
    def beat(self) -> float:
        """How long a stream waits before it says so: a little less, since it has to reach the client too."""
        return 0.9 * self.heartbeat

    def deadline(self) -> float:
        """Return when a stream that begins now ends: a random while, so that not all end together."""
        return time.monotonic() + self.lifetime * random.uniform(0.5, 1.0)  # noqa: S311  # no secret


class Start(Struct, frozen=True):
    """Where a stream begins.

    Attributes:
        cursor: go on after it; None to begin anew.
        gap: the client came with an id that it can't be resumed from, and is told where it is instead.
        head: what was stored before the client was answered, so that all that comes later is live to it;
            None where it doesn't matter, or Postgres didn't say.
        settled: whether Postgres was asked if the cursor is one to go on from.
    """

    cursor: int | None
    gap: bool = False
    head: int | None = None
    settled: bool = False

    def settle(self, channel: str, hub: Hub, history: History) -> "Start":
        """Return where the stream really begins; raises one of `UNANSWERED`."""
        if self.settled:
            return self
        if self.cursor is None:
            head = history.head() if self.head is None else self.head
            return Start(head if self.gap else None, self.gap, head, settled=True)
        pruned = history.pruned_to(channel)
        if self.cursor < pruned:
            return Start(pruned, gap=True, settled=True)
        # Another process may be ahead of this one; else the database is not the one that gave the id.
        if self.cursor > (hub.head or 0) and self.cursor > (head := history.head()):
            return Start(head, gap=True, settled=True)
        return Start(self.cursor, settled=True)


class Stream(ABC):
    """What all live connections have in common.

    Args:
        hub: hands out what is new.
        history: reads what is stored.
        pace: see there.
        start: see there.
        form: how it is written.
    """

    def __init__(self, hub: Hub, history: History, pace: Pace, start: Start, form: Form) -> None:
        self.hub = hub
        self.history = history
        self.cursor = start.cursor
        self._start = start
        self._pace = pace
        self._form = form
        self._mailbox: Mailbox | None = None
        self._sight = current()
        self._ended = False
        self._signed_out = False
        self._stale = False
        self._has_caught_up = False
        self._failing_since: float | None = None

    @property
    def waiting(self) -> bool:
        """Whether what is watched isn't there yet."""
        return False

    @property
    @abstractmethod
    def channel(self) -> str:
        """What is watched of the two channels."""

    @abstractmethod
    def catch_up(self, mailbox: Mailbox) -> Iterator[bytes]:
        """Read from Postgres what comes after the cursor, until nothing is left."""

    @abstractmethod
    def unread(self, chunk: Chunk) -> Chunk | None:
        """Return what of a chunk has not been sent yet."""

    def frames(self, peer: Peer) -> Iterator[bytes]:
        """Return the stream's bytes, save those that it sends to the peer past its reader."""
        deadline = self._pace.deadline()
        with self.hub.mailbox(peer.cut, self._sight) as mailbox:
            self._mailbox = mailbox
            if self._ended:
                mailbox.end()
            # gunicorn sends the head with the first bytes only.
            yield self._form.retry(*RETRY_S) + self._form.beat()
            commented = time.monotonic()
            behind = True
            while True:
                if behind:
                    if time.monotonic() - commented > FRESH_S:
                        yield self._form.beat()
                        commented = time.monotonic()
                    behind = yield from self._tried(mailbox)
                yield from self._tell_staleness()
                due = commented + self._pace.beat - time.monotonic()
                if behind:
                    due = min(due, AGAIN_S * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
                mail = mailbox.take(max(0.0, due), None if behind or self.waiting else self._express(peer))
                if mail.rest is not None:
                    peer.send_rest(mail.rest)
                    mailbox.touch()
                if mail.ended or time.monotonic() > deadline:
                    break
                behind = behind or mail.lapsed or self.waiting
                if not behind:
                    yield from self._write_live(mailbox, mail.chunks)
                if time.monotonic() >= commented + self._pace.beat:
                    yield self._form.beat()
                    commented = time.monotonic()
            if self._signed_out:
                yield self._form.control("signed-out", self.cursor, {"reason": SIGNED_OUT})
            yield self._form.retry(*(RETRY_AFTER_DRAIN_S if self.hub.draining else RETRY_S))

    def end(self) -> None:
        """End the stream, begun or not."""
        self._ended = True
        if self._mailbox is not None:
            self._mailbox.end()

    def sign_out(self) -> None:
        """End the stream and say why: nobody knows any longer who is at its other end."""
        self._signed_out = True
        self.end()

    def settle(self) -> int | None:
        """Return the cursor that the stream really begins after, None where it begins anew.

        Raises:
            psycopg.Error: Postgres doesn't answer; or another of `UNANSWERED`.
        """
        self._start = self._start.settle(self.channel, self.hub, self.history)
        self.cursor = self._start.cursor
        return self.cursor

    def head(self) -> int:
        """Return what was stored when the stream began."""
        return self.history.head() if self._start.head is None else self._start.head

    def write(self, mailbox: Mailbox, chunk: Chunk) -> Iterator[bytes]:
        """Write a chunk and move the cursor."""
        for piece in chunk.pieces(self._form):
            yield piece
            mailbox.touch()
        self._move(chunk)

    def _move(self, chunk: Chunk) -> None:
        self.cursor = max(self.cursor or 0, chunk.items[-1].seq)

    def _express(self, peer: Peer) -> Express | None:
        """Return what sends a chunk from where the hub hands it out: no switch to this connection, and no copy."""
        if not peer.is_prompt or self._form.shared is None:
            return None

        def send(chunk: Chunk) -> memoryview | None:
            unread = self.unread(chunk)
            if unread is None:
                return None
            rest = peer.send_now(unread.wire(self._form, peer.encode))
            self._move(unread)
            return rest

        return send

    def _tried(self, mailbox: Mailbox) -> Generator[bytes, None, bool]:
        """Catch up; return whether that failed."""
        try:
            yield from self._start_over(mailbox)
        except UNANSWERED:
            self._failing_since = self._failing_since or time.monotonic()
            return True
        self._failing_since = None
        return False

    def _start_over(self, mailbox: Mailbox) -> Iterator[bytes]:
        mailbox.rewind()
        began = self._start
        if not began.settled:
            self.settle()
        elif self.cursor is not None and self.cursor > (self.hub.head or 0):
            # The database may be another one than before.
            now = Start(self.cursor).settle(self.channel, self.hub, self.history)
            self._start = msgspec.structs.replace(began, gap=began.gap or now.gap)
            self.cursor = now.cursor
        if self._start.gap:
            self._start = msgspec.structs.replace(self._start, gap=False)
            yield self._form.control("gap", self.cursor, {"resumed_from": self.cursor})
        yield from self.catch_up(mailbox)
        if not self._has_caught_up:
            self._has_caught_up = True
            if said := self._form.caught_up(self.cursor):
                yield said

    def _write_live(self, mailbox: Mailbox, chunks: Iterable[Chunk]) -> Iterator[bytes]:
        for chunk in chunks:
            unread = self.unread(chunk)
            if unread:
                yield from self.write(mailbox, unread)
                note_delay(unread)

    def _tell_staleness(self) -> Iterator[bytes]:
        unanswered = self._failing_since is not None and time.monotonic() - self._failing_since > BUSY_S
        stale = unanswered or self.hub.stale_since is not None
        if stale != self._stale:
            self._stale = stale
            yield self._form.control("stale", self.cursor, {"stale": stale, "since": self.hub.stale_since})


class MessageStream(Stream):
    """The messages of a scope.

    Args:
        hub: see `Stream`, like the others that are not named here.
        scope: what is watched.
        run: any name of the run that is meant; the stream waits for it where there is none.
        limit: begin with the newest so many, where there is no cursor.
    """

    def __init__(
        self,
        hub: Hub,
        history: History,
        pace: Pace,
        start: Start,
        form: Form,
        *,
        scope: Scope,
        run: str | None,
        limit: int,
    ) -> None:
        super().__init__(hub, history, pace, start, form)
        self._wanted = scope
        self._run = run
        self._limit = limit
        self._scope: Scope | None = None

    @property
    def waiting(self) -> bool:
        """Whether the run isn't known yet."""
        return self._scope is None

    @property
    def channel(self) -> str:
        """The scope's."""
        return self._wanted.channel

    def unread(self, chunk: Chunk) -> Chunk | None:
        """Return what comes after the cursor."""
        return chunk.later_than(self.cursor or 0)

    def catch_up(self, mailbox: Mailbox) -> Iterator[bytes]:
        """Find the run, begin to watch it, and read what comes after the cursor."""
        if (self._scope is None or self._scope.claimed) and not self._find(mailbox):
            return
        scope = self._scope or self._wanted
        if self.cursor is None:
            self.cursor = self.history.cursor_before(scope, self._limit, self.head())
        page, more = LEAST_PAGE, True
        while more and not mailbox.ended:
            chunk, more = self.history.after(scope, self.cursor, page)
            if scope.claimed and (found := self._look(mailbox)) and not found.claimed:
                # What was read may come after the run's first own words, which would be skipped: once more, with these.
                scope = self._scope = found
                more = True
                continue
            if chunk:
                yield from self.write(mailbox, chunk)
            page = min(4 * page, MOST_PAGE)

    def _find(self, mailbox: Mailbox) -> bool:
        found = self._look(mailbox)
        if found is None or found.claimed:
            self._await(mailbox, found)
            # Once more, since it could have appeared between the two.
            found = self._look(mailbox)
        if found is None:
            # Whatever this run is going to say comes after what was stored.
            self.cursor = self.head() if self.cursor is None else self.cursor
            return False
        self._scope = found
        return True

    def _look(self, mailbox: Mailbox) -> Scope | None:
        """Return what is known of what is wanted, and watch it where that is more than claims."""
        found = self.history.resolve(self._wanted, self._run)
        if found is not None and not found.claimed:
            self.hub.watch(mailbox, found)
        return found

    def _await(self, mailbox: Mailbox, claimed: Scope | None) -> None:
        """Wait for the run, and watch meanwhile what the general channel says under its name."""
        if claimed:
            self.hub.watch(mailbox, claimed)
        name = self._run or self._wanted.workflow_uid or self._wanted.workflow_name or ""
        self.hub.await_run(mailbox, name, self._wanted.workflow_namespace)


class RunStream(Stream):
    """The runs that change, as the list shows them.

    Args:
        hub: see `Stream`, like the others that are not named here.
        namespace: only its runs.
    """

    def __init__(
        self, hub: Hub, history: History, pace: Pace, start: Start, form: Form, *, namespace: str | None
    ) -> None:
        super().__init__(hub, history, pace, start, form)
        self._namespace = namespace

    @property
    def channel(self) -> str:
        """Runs are told of in theirs."""
        return CHANNEL_RUN

    def unread(self, chunk: Chunk) -> Chunk | None:
        """Return all of it: a run's later row takes the place of the earlier one."""
        return chunk

    def catch_up(self, mailbox: Mailbox) -> Iterator[bytes]:
        """Send the runs that changed after the cursor."""
        self.hub.watch_runs(mailbox, self._namespace)
        if self.cursor is None:
            self.cursor = self.head()
        touched = self.history.runs_after(self.cursor, RUNS_BEHIND)
        if touched.runs is None:
            self.cursor = touched.reached
            yield self._form.control("gap", touched.reached, {"resumed_from": touched.reached})
            return
        runs = [run for run in touched.runs if self._namespace in (None, run.workflow_namespace)]
        if runs:
            # The cursor moves with the last of them only, lest a client that drops in between misses some.
            items = [run_item(run, self.cursor) for run in runs[:-1]]
            yield from self.write(mailbox, Chunk([*items, run_item(runs[-1], touched.reached)]))
        self.cursor = touched.reached
