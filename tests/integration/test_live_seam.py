"""Where history meets live: what is committed in the gap is forced to be, and must come all the same, once."""

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from flows.message import Event
from tests.waiting import wait_until
from tests.writers import Writer
from web.frame import SSE
from web.history import History
from web.live import Hub
from web.peer import Peer
from web.queries import Reader, Scope
from web.sight import EVERYTHING
from web.stream import MessageStream, Pace, Start

PACE = Pace(heartbeat=10, lifetime=3_600)
RUN = Scope(workflow_namespace="agents", workflow_uid="run-1")
STALE_AFTER = timedelta(minutes=15)


class InterruptedReader(Reader):
    """Lets something happen before history is read, or between that and what is done with it."""

    delay: Callable[[], None] | None = None
    interrupt: Callable[[], None] | None = None

    def stretch(self, scope: Scope, seq: int, limit: int) -> tuple[list[Event], bool]:
        delay, self.delay = self.delay, None
        if delay:
            delay()
        events, more = super().stretch(scope, seq, limit)
        interrupt, self.interrupt = self.interrupt, None
        if interrupt:
            interrupt()
        return events, more


class HeldHub(Hub):
    """Lets something happen between the tailer's look at the head and its jump there."""

    before_jump: Callable[[], int] | None = None

    def _jump(self, head: int) -> None:
        before_jump, self.before_jump = self.before_jump, None
        super()._jump(before_jump() if before_jump else head)


@pytest.fixture
def reader(database: str) -> Iterator[InterruptedReader]:
    with closing(InterruptedReader(database, STALE_AFTER)) as reader:
        yield reader


@pytest.fixture
def hub(database: str) -> Iterator[HeldHub]:
    with closing(HeldHub(database, STALE_AFTER)) as hub:
        hub.start()
        wait_until(lambda: hub.head is not None)
        yield hub


@pytest.fixture
def writer(database: str) -> Iterator[Writer]:
    with Writer(database) as writer:
        yield writer


class Listener:
    """Reads a stream as its connection does."""

    def __init__(
        self, hub: Hub, reader: Reader, start: Start, limit: int = 100, scope: Scope = RUN, run: str | None = None
    ) -> None:
        stream = MessageStream(hub, History(reader), PACE, start, SSE, scope=scope, run=run, limit=limit)
        # Without a socket, so that all it has to say is read here.
        self._frames = stream.frames(Peer({}))
        self.head = next(self._frames)

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self._frames.close()  # type: ignore[attr-defined]  # it is a generator

    def hear(self, count: int) -> list[str]:
        heard: list[str] = []
        while len(heard) < count:
            heard += [data["content"] for data in _messages(next(self._frames)) if "content" in data]
        return heard


def _messages(piece: bytes) -> list[dict[str, Any]]:
    lines = piece.decode().splitlines()
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_what_is_committed_and_handed_out_after_history_was_read_comes_once(
    hub: HeldHub, reader: InterruptedReader, writer: Writer
) -> None:
    writer.say("before")

    def say_and_wait_until_it_is_handed_out() -> None:
        writer.say("between")
        wait_until(lambda: (hub.head or 0) >= reader.head())

    with hub.mailbox(on_cut=lambda: None, sight=EVERYTHING) as other, Listener(hub, reader, Start(None)) as listener:
        # Somebody else watches, or the tailer would hand out nothing.
        hub.watch(other, RUN)
        reader.interrupt = say_and_wait_until_it_is_handed_out
        assert listener.hear(2) == ["before", "between"]
        writer.say("after")
        assert listener.hear(1) == ["after"]


def test_what_a_jump_passes_over_comes_too(hub: HeldHub, reader: InterruptedReader, writer: Writer) -> None:
    """Nobody watches, so the tailer jumps; somebody comes just then and has read what there was."""
    writer.say("before")
    wait_until(lambda: hub.head == reader.head())
    jumping, goes_on = threading.Event(), threading.Event()

    def wait_for_a_watcher() -> int:
        jumping.set()
        assert goes_on.wait(60)
        return reader.head()

    hub.before_jump = wait_for_a_watcher
    assert jumping.wait(60)
    with Listener(hub, reader, Start(None)) as listener:
        # That was all there is; nothing more will be read unless the jump says so.
        assert listener.hear(1) == ["before"]
        writer.say("passed over")
        goes_on.set()
        assert listener.hear(1) == ["passed over"]


def test_a_run_that_begins_while_claims_of_it_are_read_is_heard_from_its_first_word(
    hub: HeldHub, reader: InterruptedReader, writer: Writer
) -> None:
    writer.say("claimed before", channel="general")

    def begin() -> None:
        writer.say("first")
        writer.say("claimed after", channel="general")

    reader.delay = begin
    with Listener(hub, reader, Start(None), scope=Scope(general=True), run="run-1") as listener:
        assert listener.hear(3) == ["claimed before", "first", "claimed after"]
        writer.say("second")
        assert listener.hear(1) == ["second"]


def test_what_is_said_after_the_answer_began_comes_whatever_the_limit(
    hub: HeldHub, reader: InterruptedReader, writer: Writer
) -> None:
    writer.say("one", "two")
    start = Start(None, head=reader.head())
    with Listener(hub, reader, start, limit=1) as listener:
        assert listener.head.startswith(b"retry: ")
        writer.say("three", "four", "five")
        assert listener.hear(4) == ["two", "three", "four", "five"]


def test_a_mailbox_that_overflows_reads_on_from_postgres(
    hub: HeldHub, reader: InterruptedReader, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long it takes to write all that, whoever doesn't read meanwhile is not cut.
    monkeypatch.setattr("web.mailbox.PATIENCE_S", math.inf)
    monkeypatch.setattr("web.mailbox.STUCK_S", math.inf)
    writer.say("first")
    with Listener(hub, reader, Start(None)) as listener:
        assert listener.hear(1) == ["first"]
        # Past its history, so that what comes goes through the mailbox.
        (mailbox,) = hub._watchers
        live = threading.Thread(target=listener.hear, args=[1])
        live.start()
        wait_until(lambda: mailbox._waiting)
        writer.say("live")
        live.join(60)
        words = [str(n) for n in range(5_000)]
        for begin in range(0, len(words), 500):
            writer.say(*words[begin : begin + 500])
        wait_until(lambda: hub.head == reader.head())
        assert mailbox._lapsed
        assert listener.hear(5_000) == words
