"""What people did: a row of `workflow_comms.audit_log` each, and a line of the log where Postgres doesn't take it."""

import logging
from typing import Any

import msgspec
import psycopg

import sql
from flows.text import storable_json
from web.person import Person
from web.pool import Pool

log = logging.getLogger(__name__)

# Of what somebody calls themselves, or something else.
LONGEST = 500


class Audit:
    """Notes deeds.

    Args:
        pool: of connections that may write.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def note(
        self,
        action: str,
        person: Person | None,
        source: str,
        namespace: str | None = None,
        target: str | None = None,
        **details: Any,
    ) -> None:
        """Note that somebody did something; never raises, since it is done.

        Args:
            action: what.
            person: who; None where nobody knows.
            source: from where.
            namespace: in which one.
            target: to what.
            details: what else there is to say, no secret among it.
        """
        deed: dict[str, Any] = {
            "who": person and person.name,
            "how": person.how if person else "none",
            "source": source,
            "action": action,
            "namespace": namespace and namespace[:LONGEST],
            "target": target and target[:LONGEST],
        }
        values = {**deed, "details": msgspec.json.encode(storable_json(details)).decode()}
        try:
            self._pool.ask(lambda connection: _write(connection, values))
        except psycopg.Error as error:
            words = " ".join(str(error).split())
            todo = "keep this line: the table has no row of it"
            written = msgspec.json.encode({**deed, **details}).decode()
            log.warning("audit: %s was not stored: %s", written, words, extra={"todo": todo})


def _write(connection: psycopg.Connection[Any], values: dict[str, Any]) -> None:
    with connection.transaction():
        connection.execute("SET TRANSACTION READ WRITE")
        connection.execute(sql.query("note_deed"), values)
