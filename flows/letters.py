"""Dead letters after the fact: looking at them, trying them again, throwing them away."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from msgspec import Struct
from psycopg.rows import class_row

import sql
from connectors.delivery import JetStreamMessage
from connectors.store import Store
from flows.dead_letter import DeadLetter, Reason
from flows.message import Message
from flows.normalize import normalize
from flows.redact import Redactor
from flows.storage import Ready, messages, ready

PAGE = 500


class Letter(Struct, frozen=True):
    """A stored dead letter; fields as in `workflow_comms.dead_letters`."""

    id: UUID
    stream_seq: int | None
    stored_at: int | None
    subject: str
    headers: dict[str, Any]
    payload: bytes
    reason: str
    detail: str
    deliveries: int
    first_seen_at: datetime
    replayed_at: datetime | None

    def message(self) -> JetStreamMessage:
        """Return the message as it was delivered, credentials aside."""
        block = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        reply = f"$JS.ACK.-.-.{self.deliveries}.{self.stream_seq or 0}.0.{self.stored_at or 0}.0"
        return JetStreamMessage(self.subject, self.payload, reply, f"NATS/1.0\r\n{block}\r\n".encode())


class Choice(Struct, frozen=True):
    """Which dead letters are meant; what is None does not matter.

    Attributes:
        ids: these alone.
        reason: a `Reason`.
        subject: a prefix.
        since: first seen then or later.
        replayed: those that have become rows as well.
    """

    ids: list[str] | None = None
    reason: str | None = None
    subject: str | None = None
    since: datetime | None = None
    replayed: bool = False


class Replay(Struct):
    """What trying again came to.

    Attributes:
        stored: letters that are rows now.
        known: letters whose message was a row already.
        unfit: letters that still cannot be rows, by reason.
    """

    stored: int = 0
    known: int = 0
    unfit: dict[str, int] = {}


class Letters:
    """The dead letters of a database.

    Args:
        conninfo: any libpq connection string.
    """

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._connection = psycopg.connect(conninfo, autocommit=True)

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def find(self, choice: Choice, limit: int | None = None) -> Iterator[Letter]:
        """Yield the chosen letters, newest first, read a page at a time."""
        arguments: dict[str, Any] = {
            **msgspec.structs.asdict(choice),
            "subject": None if choice.subject is None else _prefix(choice.subject),
            "before_at": None,
            "before_seq": None,
            "before_id": None,
        }
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            with self._connection.cursor(row_factory=class_row(Letter)) as cursor:
                page = cursor.execute(_statement("list_dead_letters"), {**arguments, "limit": size}).fetchall()
            yield from page
            if len(page) < size:
                return
            last = page[-1]
            arguments |= {"before_at": last.first_seen_at, "before_seq": last.stream_seq or 0, "before_id": last.id}
            left = None if left is None else left - size

    def replay(self, letters: list[Letter], max_bytes: int, redactor: Redactor) -> Replay:
        """Make rows of the letters that fit by now; the others stay, with their newest reason.

        A letter's row has the key that the message always had: replayed again, or delivered
        again by the stream, it is the same row.
        """
        came_to = Replay()
        fit: list[tuple[Letter, Message]] = []
        for letter in sorted(letters, key=lambda letter: (letter.first_seen_at, letter.stream_seq or 0)):
            result = normalize(letter.message(), max_bytes)
            if isinstance(result, DeadLetter):
                self._stays(letter, result, came_to)
            else:
                fit.append((letter, redactor.message(result)))
        self._store(fit, redactor, came_to)
        return came_to

    def _stays(self, letter: Letter, verdict: DeadLetter, came_to: Replay) -> None:
        came_to.unfit[verdict.reason] = came_to.unfit.get(verdict.reason, 0) + 1
        if verdict.reason != letter.reason:
            values = {"id": letter.id, "reason": verdict.reason.value, "detail": verdict.detail}
            self._connection.execute(_statement("renew_letter_reason"), values)

    def _store(self, fit: list[tuple[Letter, Message]], redactor: Redactor, came_to: Replay) -> None:
        if not fit:
            return
        store = Store(messages(self._conninfo, redactor))
        try:
            written = store.store([ready(message) for _, message in fit])
        finally:
            store.close()
        refused = [*written.rejected, *(failure.item for failure in written.failed)]
        stay = {id(item.message) for item in refused if isinstance(item, Ready)}
        ids = [letter.id for letter, message in fit if id(message) not in stay]
        self._connection.execute(_statement("mark_letters_replayed"), {"ids": ids})
        came_to.stored += len(written.new)
        came_to.known += written.duplicates
        if refused:
            came_to.unfit[Reason.REFUSED_BY_POSTGRES] = len(refused)

    def discard(self, letters: list[Letter]) -> int:
        """Delete letters for good; return how many were there."""
        return self._connection.execute(_statement("discard_letters"), {"ids": [one.id for one in letters]}).rowcount


def _prefix(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{escaped}%"


def _statement(name: str) -> bytes:
    return sql.query(name).encode()
