"""What live connections ask together, and what they don't."""

import threading
from contextvars import copy_context
from datetime import timedelta

import pytest

from tests.waiting import wait_until
from web.history import History
from web.queries import Reader, Scope
from web.sight import EVERYTHING, Sight, current, look

RUN = Scope(workflow_name="run-1")


class Slow(Reader):
    """Answers with what may be seen, once it is let go on."""

    def __init__(self) -> None:
        super().__init__("", timedelta(minutes=15))
        self.asked = 0
        self.goes_on = threading.Event()

    def resolve(self, scope: Scope, run: str | None = None) -> Scope | None:  # noqa: ARG002
        self.asked += 1
        assert self.goes_on.wait(30)
        return Scope(workflow_uid=str(current().namespaces))


@pytest.fixture
def reader() -> Slow:
    return Slow()


def ask_as(
    sight: Sight, history: History, told: dict[int, tuple[Sight, Scope | None]], number: int
) -> threading.Thread:
    def ask() -> None:
        look(sight)
        told[number] = sight, history.resolve(RUN, "run-1")

    thread = threading.Thread(target=copy_context().run, args=(ask,))
    thread.start()
    return thread


def test_those_who_see_something_else_have_answers_of_their_own(reader: Slow) -> None:
    history = History(reader)
    told: dict[int, tuple[Sight, Scope | None]] = {}
    sights = [Sight(("a",)), Sight(("b",)), EVERYTHING] * 5
    threads = [ask_as(sight, history, told, number) for number, sight in enumerate(sights)]
    wait_until(lambda: reader.asked == 3)
    reader.goes_on.set()
    for thread in threads:
        thread.join()
    assert len(told) == len(sights)
    for sight, answer in told.values():
        assert answer == Scope(workflow_uid=str(sight.namespaces))
    reader.close()
