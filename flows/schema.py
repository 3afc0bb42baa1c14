"""Whether the database has the schema that this release works with."""

from typing import Any

from psycopg import Connection

import sql
from connectors.migrations import MigrationError, Migrator, NewerError


def lacking(connection: Connection[Any]) -> str:
    """Return in a clause what is wrong with the schema and what to do about it; empty where nothing is.

    A newer one is right: migrations add, so this release works on, in a rollout until the next one does, and after a
    way back.

    Raises:
        psycopg.Error: Postgres can't be asked, or not by this user.
    """
    try:
        pending = Migrator(sql.MIGRATIONS, sql.SCHEMA).pending(connection)
    except NewerError:
        return ""
    except MigrationError as error:
        return str(error)
    if not pending:
        return ""
    number = f"{len(pending)} migration{'s' if len(pending) > 1 else ''}"
    return f"the schema is {number} behind: run `agent-comms migrate`"
