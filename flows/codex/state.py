"""What the earlier lines of a file tell of the next one."""

from typing import Any, Literal

from msgspec import Struct

from flows.codex.pem import Key

# How the last turn went so far.
Outcome = Literal["running", "completed", "failed"]

# A file that opens more calls and never closes one is no run of Codex.
MAX_OPEN = 1_000


class Call(Struct):
    """A tool's call that has no result yet.

    Attributes:
        message_id: of the call's message.
        attrs: of the call's message.
    """

    message_id: str
    line: int
    tool: dict[str, Any]
    attrs: dict[str, Any]


class State(Struct):
    """How far a file has been read, apart from its position; it can be kept and taken up again.

    Attributes:
        thread: the Codex thread in effect.
        turn: of the thread, from 1; 0 before the first.
        outcome: of the last turn.
        calls: that wait for their result, by what the two have in common.
        ended: calls of a process that is gone, until somebody takes note.
        todo: the last list of things to do.
        prompt: the last one, since two formats write it twice.
        failure: the last error's words and its line.
        usage: the last count of tokens.
        skipped: how many lines say nothing, by the reason.
        key: a private key that a log shows, until its end.
    """

    thread: str | None = None
    turn: int = 0
    outcome: Outcome | None = None
    calls: dict[str, Call] = {}
    ended: list[Call] = []
    todo: str | None = None
    prompt: str | None = None
    failure: str | None = None
    failure_line: int = 0
    usage: dict[str, Any] | None = None
    skipped: dict[str, int] = {}
    key: Key | None = None

    def begin_thread(self, thread: str | None) -> None:
        """Take note of a new process, or the old thread taken up by a new one."""
        self.end_process()
        if thread != self.thread:
            self.turn = 0
        self.thread = thread
        self.todo = self.failure = self.prompt = None

    def end_process(self) -> None:
        """Take note that nothing which is open will be closed any more."""
        self.ended = list(self.calls.values())
        self.calls = {}

    def begin_turn(self) -> int:
        """Take note of a turn; returns its number."""
        self.turn += 1
        self.outcome = "running"
        self.todo = self.failure = None
        return self.turn

    def remember(self, key: str, call: Call) -> None:
        """Keep a call until its result comes."""
        self.calls.pop(key, None)
        if len(self.calls) >= MAX_OPEN:
            self.calls.pop(next(iter(self.calls)))
        self.calls[key] = call

    def tool_of(self, key: str) -> dict[str, Any]:
        """Return what a call said of its tool; nothing where there was none."""
        call = self.calls.get(key)
        return dict(call.tool) if call else {}

    def skip(self, reason: str) -> None:
        """Count a line that says nothing."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1
