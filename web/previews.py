"""Dead letters as they are shown: why each could not become a row, and how its payload begins."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct
from psycopg import Connection

import sql
from web.queries import read_object
from web.sight import current

# Of a payload, without its credentials like everything that is stored.
PREVIEW_BYTES = 1_024

LetterPlace = tuple[datetime, int, UUID]


class Preview(Struct, frozen=True):
    """A dead letter.

    Attributes:
        size: of its payload, in bytes.
        preview: the beginning of the payload; what is no UTF-8 is replaced.
    """

    id: str
    stream_seq: int | None
    subject: str
    headers: dict[str, Any]
    reason: str
    detail: str
    deliveries: int
    first_seen_at: datetime
    replayed_at: datetime | None
    size: int
    preview: str

    @property
    def place(self) -> LetterPlace:
        """Its place in the list."""
        return self.first_seen_at, self.stream_seq or 0, UUID(self.id)


def previews(
    connection: Connection,
    *,
    reason: str | None,
    subject: str | None,
    replayed: bool,
    since: datetime | None,
    until: datetime | None,
    before: LetterPlace | None,
    limit: int,
) -> list[Preview]:
    """Return dead letters, newest first.

    Args:
        connection: asks.
        reason: only those that were given up for it.
        subject: only those on subjects that begin so.
        replayed: those as well that have become rows since.
        since: only those that were first seen then or later.
        until: only those that were first seen before.
        before: only those after this place in the list.
        limit: at most so many.
    """
    at, seq, identity = before or (None, None, None)
    arguments: dict[str, object] = {
        "reason": reason,
        "subject": subject,
        "replayed": replayed,
        "since": since or "-infinity",
        "until": until or "infinity",
        "before_at": at,
        "before_seq": seq,
        "before_id": identity,
        "limit": limit,
        "preview": PREVIEW_BYTES,
    }
    query = "preview_dead_letters"
    if not current().is_everything:
        # Postgres shows no others; told so, it finds them sooner.
        query, arguments["namespaces"] = "preview_dead_letters_in", [*current().namespaces]
    rows = connection.execute(sql.query(query), arguments).fetchall()
    return [Preview(*(*row[:3], read_object(row[3]), *row[4:10], row[10].decode("utf-8", "replace"))) for row in rows]
