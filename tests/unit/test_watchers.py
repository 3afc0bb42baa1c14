"""From a message to the mailboxes it goes into."""

import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from flows.message import Event
from tests.unit.events import event, run
from web.mailbox import Mailbox
from web.queries import RunRow, Scope
from web.sight import EVERYTHING, Sight
from web.watchers import Watchers

RUN = Scope(workflow_namespace="agents", workflow_uid="u")


@dataclass
class Seen:
    seqs: list[int]
    lapsed: bool


class Room:
    """Watchers of one process, each with a mailbox."""

    def __init__(self) -> None:
        self._watchers = Watchers()

    def join(self, *scopes: Scope, sight: Sight = EVERYTHING) -> Mailbox:
        box = Mailbox(on_cut=lambda: None, sight=sight)
        self._watchers.add(box)
        for scope in scopes:
            self._watchers.watch(box, scope)
        return box

    def join_runs(self, sight: Sight, namespace: str | None = None) -> Mailbox:
        box = self.join(sight=sight)
        self._watchers.watch_runs(box, namespace)
        return box

    def await_run(self, sight: Sight, name: str) -> Mailbox:
        box = self.join(sight=sight)
        self._watchers.await_run(box, name, None)
        return box

    def hand_out_runs(self, *runs: RunRow) -> None:
        self._watchers.hand_out_runs(list(runs), 1)

    def leave(self, box: Mailbox) -> None:
        self._watchers.remove(box)

    def hand_out(self, *events: Event) -> set[tuple[str, str]]:
        return self._watchers.hand_out(list(events))

    def __bool__(self) -> bool:
        return bool(self._watchers)


def look(box: Mailbox) -> Seen:
    mail = box.take(0)
    return Seen([item.seq for chunk in mail.chunks for item in chunk.items], mail.lapsed)


def said(seq: int, **fields: Any) -> Event:
    default = {"workflow_namespace": "agents", "workflow_uid": "u", "workflow_name": "n", "channel": "run"}
    return event(seq=seq, **{**default, **fields})


@pytest.fixture
def room() -> Room:
    return Room()


def test_each_gets_what_it_watches_and_the_same_bytes_as_its_like(room: Room) -> None:
    one, like, errors, other = (
        room.join(scope)
        for scope in (
            RUN,
            RUN,
            Scope(workflow_namespace="agents", workflow_uid="u", kinds=("error",)),
            Scope(channel="general"),
        )
    )
    touched = room.hand_out(said(1), said(2, kind="error"), said(3, channel="general"), said(4, workflow_uid="v"))
    assert touched == {("agents", "u"), ("agents", "v")}
    (chunk,) = one.take(0).chunks
    assert [item.seq for item in chunk.items] == [1, 2]
    assert like.take(0).chunks == [chunk]
    assert look(errors) == Seen([2], lapsed=False)
    assert look(other) == Seen([3], lapsed=False)


def test_what_may_be_said_in_both_channels_is_read_from_postgres_with_its_neighbours(room: Room) -> None:
    both = room.join(Scope(workflow_namespace="agents", workflow_uid="u", general=True))
    room.hand_out(said(1))
    assert look(both) == Seen([1], lapsed=False)
    # Were the third put in its mailbox, its cursor would pass the second.
    room.hand_out(said(2, channel="general"), said(3))
    assert look(both) == Seen([], lapsed=True)
    both.rewind()
    room.hand_out(said(4, channel="general", workflow_uid="v"), said(5))
    assert look(both) == Seen([5], lapsed=False)


def test_nobody_gets_what_they_may_not_see_whatever_they_ask_for(room: Room) -> None:
    general = Scope(channel="general")
    a, b = Sight(("agents", "a")), Sight(("b",))
    ours, like, theirs = room.join(general, sight=a), room.join(general, sight=a), room.join(general, sight=b)
    # Whoever asks, by a mistake of ours, for a run that they may not see.
    theirs_not, both = room.join(RUN, sight=b), room.join(msgspec.structs.replace(RUN, general=True), sight=b)
    own, name = room.join(RUN, sight=a), room.join(Scope(workflow_name="n"), sight=b)
    waits, sees = room.await_run(b, "n"), room.await_run(a, "n")
    room.hand_out(
        said(1), said(2, channel="general"), said(3, channel="general", workflow_namespace="b", workflow_uid=None)
    )
    (chunk,) = ours.take(0).chunks
    assert [item.seq for item in chunk.items] == [2]
    assert like.take(0).chunks == [chunk]
    assert look(theirs) == Seen([3], lapsed=False)
    assert look(own) == Seen([1], lapsed=False)
    for box in (theirs_not, both, name, waits):
        assert look(box) == Seen([], lapsed=False)
    assert look(sees).lapsed


def test_nobody_is_told_of_runs_that_they_may_not_see(room: Room) -> None:
    ours, theirs, every = room.join_runs(Sight(("a",))), room.join_runs(Sight(("b",))), room.join_runs(EVERYTHING)
    asked = room.join_runs(Sight(("a",)), "b")
    room.hand_out_runs(run(workflow_namespace="a"), run(workflow_namespace="b"), run(workflow_namespace="c"))
    told = [
        [json.loads(item.data)["run"]["workflow_namespace"] for chunk in box.take(0).chunks for item in chunk.items]
        for box in (ours, theirs, every, asked)
    ]
    assert told == [["a"], ["b"], ["a", "b", "c"], []]


def test_who_has_left_gets_nothing_and_leaves_nothing_behind(room: Room) -> None:
    box = room.join(RUN, Scope(workflow_namespace="agents", workflow_uid="u", general=True))
    room.leave(box)
    room.hand_out(said(1))
    assert look(box) == Seen([], lapsed=False)
    assert not room
