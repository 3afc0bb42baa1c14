"""One answer for all who ask the same at the same time."""

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

T = TypeVar("T")

# Who comes while the same is being asked waits so long for that, and as long for an answer of their own.
PATIENCE_S = 4.0


class _Question:
    """A question that is asked once, for everybody who came before it was."""

    __slots__ = ("answer", "done", "failure")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.answer: Any = None
        self.failure: BaseException | None = None


class Answers:
    """Shares the answers to questions that are costly: each is as fresh as if its asker had asked alone.

    One question of a kind is under way at a time. Who comes meanwhile doesn't take its
    answer, which may be older than they are, but the next one's, together with all others who wait.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asking: dict[Hashable, _Question] = {}
        self._next: dict[Hashable, _Question] = {}

    def ask(self, kind: Hashable, question: Callable[[], T]) -> T:
        """Return the answer to a question that is asked after this call.

        Args:
            kind: questions of one kind have one answer.
            question: asks; what it raises is raised to everybody.

        Raises:
            TimeoutError: whoever asked before got no answer yet.
        """
        with self._lock:
            ours = self._next.get(kind)
            before = self._asking.get(kind)
            leads = ours is None
            if ours is None:
                ours = self._next[kind] = _Question()
        if leads:
            self._lead(kind, ours, before, question)
        else:
            ours.done.wait()
        if isinstance(ours.failure, Exception):
            raise ours.failure.with_traceback(None)
        # Whoever led was killed, which is no answer.
        return cast("T", ours.answer) if ours.failure is None else self.ask(kind, question)

    def _lead(self, kind: Hashable, ours: _Question, before: _Question | None, question: Callable[[], object]) -> None:
        try:
            if before is not None and not before.done.wait(PATIENCE_S):
                message = f"no answer within {PATIENCE_S:g} s"
                raise TimeoutError(message)
            with self._lock:
                self._asking[kind] = self._next.pop(kind)
            ours.answer = question()
        except Exception as error:
            ours.failure = error
        except BaseException as error:
            ours.failure = error
            raise
        finally:
            with self._lock:
                for questions in (self._asking, self._next):
                    if questions.get(kind) is ours:
                        del questions[kind]
            ours.done.set()
