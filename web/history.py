"""What live connections read from Postgres; a thousand who come at once and want the same cost little more than one."""

from collections.abc import Callable, Hashable
from typing import TypeVar

import psycopg
from msgspec import Struct

from web.answers import Answers
from web.frame import Chunk, message_item
from web.queries import Key, Reader, RunRow, Scope
from web.sight import current

T = TypeVar("T")

# What is read at once: little at first, since most who resume have missed little.
LEAST_PAGE = 100
MOST_PAGE = 1_600
# What a question raises that Postgres gives no answer to, or not in time.
UNANSWERED = (psycopg.Error, TimeoutError)


class History:
    """Reads for streams.

    Args:
        reader: asks Postgres.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._answers = Answers()

    def _ask(self, kind: Hashable, question: Callable[[], T]) -> T:
        """Ask once for all who want the same and may see the same."""
        return self._answers.ask((current(), kind), question)

    def head(self) -> int:
        """Return the newest committed cursor, 0 where nothing is stored."""
        return self._ask("head", self._reader.head)

    def pruned_to(self, channel: str) -> int:
        """Return the cursor up to which messages of a channel may have been pruned; 0 where none was."""
        return self._ask(("pruned", channel), lambda: self._reader.pruned_to(channel))

    def resolve(self, scope: Scope, run: str | None) -> Scope | None:
        """Return the scope with its workflow named in full; None where no such run is known (yet)."""
        return self._ask(("resolve", scope, run), lambda: self._reader.resolve(scope, run))

    def cursor_before(self, scope: Scope, limit: int, head: int) -> int:
        """Return the cursor after which come the newest `limit` messages up to a head; the head if there are none."""
        kind = ("cursor", scope, limit, head)
        return self._ask(kind, lambda: self._reader.cursor_before(scope, limit, head))

    def after(self, scope: Scope, cursor: int, limit: int) -> tuple[Chunk | None, bool]:
        """Return what was said after a cursor, None where nothing was, and whether there is more."""
        return self._ask(("after", scope, cursor, limit), lambda: self._after(scope, cursor, limit))

    def _after(self, scope: Scope, cursor: int, limit: int) -> tuple[Chunk | None, bool]:
        events, more = self._reader.stretch(scope, cursor, limit)
        return Chunk([message_item(event) for event in events]) if events else None, more

    def runs_after(self, cursor: int, limit: int) -> "Touched":
        """Return the runs that said something after a cursor, as they are now.

        Args:
            cursor: a live cursor.
            limit: how many messages are looked at; where there are more, nothing is known.
        """
        return self._ask(("runs", cursor, limit), lambda: self._runs_after(cursor, limit))

    def _runs_after(self, cursor: int, limit: int) -> "Touched":
        keys, reached = self._reader.touched_since(cursor, limit)
        return Touched(None if keys is None else self._runs(keys), reached)

    def _runs(self, keys: list[Key]) -> list[RunRow]:
        return self._reader.runs_by_key(keys) if keys else []


class Touched(Struct, frozen=True):
    """Runs that changed, None where they are too many to tell; and the cursor that this is true for."""

    runs: list[RunRow] | None
    reached: int
