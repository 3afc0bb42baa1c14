"""One answer for many, none of them older than its asker."""

import threading
import time

import pytest

from tests.waiting import wait_until
from web import answers
from web.answers import Answers


class Slow:
    """A question that waits until it is let go, and answers how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = threading.Event()

    def __call__(self) -> int:
        self.asked += 1
        number = self.asked
        assert self.may_answer.wait(60)
        return number


def ask_in_threads(shared: Answers, question: Slow, number: int, answers: list[object]) -> list[threading.Thread]:
    def ask() -> None:
        try:
            answers.append(shared.ask("kind", question))
        except Exception as error:
            answers.append(error)

    threads = [threading.Thread(target=ask) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads


def test_who_comes_while_it_is_asked_gets_the_next_answer_together_with_all_others() -> None:
    shared, question = Answers(), Slow()
    first: list[object] = []
    later: list[object] = []
    threads = ask_in_threads(shared, question, 1, first)
    wait_until(lambda: question.asked == 1)
    threads += ask_in_threads(shared, question, 50, later)
    question.may_answer.set()
    for thread in threads:
        thread.join(60)
    assert first == [1]
    assert later == [2] * 50


def test_different_questions_wait_for_nobody() -> None:
    shared, question = Answers(), Slow()
    threads = ask_in_threads(shared, question, 1, [])
    wait_until(lambda: question.asked == 1)
    assert shared.ask("other", lambda: "at once") == "at once"
    question.may_answer.set()
    threads[0].join(60)


def test_a_failure_is_everybodys_and_is_not_kept() -> None:
    shared = Answers()
    let_go = threading.Event()
    failures: list[object] = []

    def fail() -> None:
        assert let_go.wait(60)
        message = "away"
        raise ConnectionError(message)

    def ask() -> None:
        with pytest.raises(ConnectionError) as raised:
            shared.ask("kind", fail)
        failures.append(str(raised.value))

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    let_go.set()
    for thread in threads:
        thread.join(60)
    assert failures == ["away"] * 10
    assert shared.ask("kind", lambda: "back") == "back"


def test_who_waits_for_a_question_without_an_answer_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "PATIENCE_S", 0.1)
    shared, question = Answers(), Slow()
    threads = ask_in_threads(shared, question, 1, [])
    wait_until(lambda: question.asked == 1)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        shared.ask("kind", question)
    assert time.monotonic() - began < 30
    question.may_answer.set()
    threads[0].join(60)
    assert shared.ask("kind", question) == 2
