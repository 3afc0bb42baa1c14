"""Where messages are read from, and which ones: what `agent-comms read` asks of the API and of Postgres alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

from flows.message import Event
from web import words
from web.failure import say


class Wanted(Struct, frozen=True):
    """What is to be read.

    Attributes:
        run: any name of a run.
        general: the general channel; beside a run, what it says under that run's name.
        repository: what messages are about, by what their `attrs` say; the others in the same way.
        kinds: some kinds, or all where it is empty.
    """

    run: str | None = None
    general: bool = False
    repository: str | None = None
    issue: str | None = None
    branch: str | None = None
    namespace: str | None = None
    agent: str | None = None
    kinds: tuple[str, ...] = ()

    @property
    def is_enough(self) -> bool:
        """Whether it is less than everything that anybody ever said."""
        return self.general or any((self.run, self.repository, self.issue, self.branch, self.namespace))

    @property
    def issue_number(self) -> str | None:
        """The issue's number alone."""
        return self.issue.removeprefix("#") if self.issue else None

    def holds(self, event: Event) -> bool:
        """Whether a message of the run or channel is about what is wanted."""
        topics = {"repository": self.repository, "issueNumber": self.issue_number, "branch": self.branch}
        return all(value is None or str(event.attrs.get(key)) == value for key, value in topics.items())


def tell_behind(seconds: float) -> None:
    """Say on stderr that not all was looked through."""
    if seconds > 0:
        say(f"messages that were stored in the last {words.span(seconds)} are not all indexed yet; some may be missing")


class Shelf(Protocol):
    """Where messages are read from."""

    def head(self, wanted: Wanted) -> int:
        """Return the live cursor of what is stored now."""

    def newest(self, wanted: Wanted, count: int) -> list[Event]:
        """Return the newest so many messages in reading order, oldest first."""

    def silent(self, wanted: Wanted) -> str | None:
        """Return the state of the run that is wanted, where it is known and no message of it has come yet."""

    def follow(self, wanted: Wanted, seq: int) -> Iterator[Event]:
        """Yield the messages after a live cursor, of a run or the general channel, and wait for more."""

    def close(self) -> None:
        """Let go of what is open."""
