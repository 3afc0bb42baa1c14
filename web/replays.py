"""Trying dead letters again from the page, and having their bytes."""

import msgspec
from msgspec import Struct
from psycopg import Connection
from psycopg.rows import class_row

import sql
from flows.letters import Choice, Letter, Letters
from flows.redact import Redactor

_FROM_THE_FIRST = {"before_at": None, "before_seq": None, "before_id": None}


class Outcome(Struct, frozen=True):
    """What became of a letter that was tried again.

    Attributes:
        state: `stored`, `known` where its message was a row already, or `unfit`.
        reason: why it is still none.
    """

    state: str
    reason: str | None = None


def letter_of(connection: Connection, identity: str) -> Letter | None:
    """Return a letter whole, as far as the connection may see it; None where there is none."""
    arguments = {**msgspec.structs.asdict(Choice(ids=[identity], replayed=True)), **_FROM_THE_FIRST, "limit": 1}
    with connection.cursor(row_factory=class_row(Letter)) as cursor:
        return cursor.execute(sql.query("list_dead_letters").encode(), arguments).fetchone()


class Replays:
    """Dead letters, one at a time.

    Args:
        conninfo: any libpq connection string.
        max_bytes: of a message; a larger one stays where it is.
        redactor: takes the credentials out of what is stored.
    """

    def __init__(self, conninfo: str, max_bytes: int, redactor: Redactor) -> None:
        self._conninfo = conninfo
        self._max_bytes = max_bytes
        self._redactor = redactor

    def replay(self, identity: str) -> Outcome | None:
        """Try a letter again; None where there is none that waits.

        Raises:
            psycopg.OperationalError: Postgres doesn't answer.
        """
        letters = Letters(self._conninfo)
        try:
            found = list(letters.find(Choice(ids=[identity])))
            if not found:
                return None
            came_to = letters.replay(found, self._max_bytes, self._redactor)
        finally:
            letters.close()
        if came_to.unfit:
            return Outcome("unfit", next(iter(came_to.unfit)))
        return Outcome("stored" if came_to.stored else "known")
