"""The roles in which the web asks Postgres: one for each kind of reader, since a policy made for a kind costs least.

A connection has its role for as long as it lives. What changes on it is the namespaces that it names, so none that was
made for those who read everything is ever lent to anybody else. See sql/migrations/0013_sights.sql.
"""

from enum import Enum
from functools import lru_cache
from typing import Any

import psycopg

from web.sight import Sight


class Reach(Enum):
    """What a connection can be shown; the value is its role."""

    ALL = "agent_comms_web_all"
    ONE = "agent_comms_web_one"
    # The one that may write, and that does the work of the others where the database doesn't have them yet.
    SOME = "agent_comms_web"

    def covers(self, sight: Sight) -> bool:
        """Whether a connection of this reach shows what is in sight, and nothing else."""
        return self is Reach.SOME or self is reach_of(sight)


# The owner of the tables would see everything and could do anything. Where this is not possible, the user is a member
# who can do no more, or the roles are not there yet.
ROLE = """
    SELECT set_config('role', rolname, false)
    FROM (
        SELECT rolname
        FROM pg_roles
        WHERE rolname = ANY (%s::text[])
          AND has_schema_privilege(oid, to_regnamespace('workflow_comms')::oid, 'USAGE')
          AND pg_has_role(
              oid, CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END
          )
        ORDER BY array_position(%s::text[], rolname::text)
        LIMIT 1
    ) AS first
"""
# Who inherits from the role that sees everything sees everything, whatever it says.
APART = """
    SELECT row_security_active('workflow_comms.agent_messages')
       AND NOT EXISTS (
           SELECT FROM pg_roles
           WHERE rolname = %s AND rolname <> current_user AND pg_has_role(oid, 'USAGE')
       )
"""
SHOW = "SELECT set_config('agent_comms.namespaces', %s, false), set_config('agent_comms.namespace', %s, false)"
NOT_APART = (
    "readers can't be kept apart: the database's user sees every row, or inherits from agent_comms_web_all; it has to"
    " be a member of agent_comms_web, and of no other; run `agent-comms migrate`, which says what is missing"
)


def reach_of(sight: Sight) -> Reach:
    """Return what is needed to show what is in sight."""
    if sight.is_everything:
        return Reach.ALL
    return Reach.SOME if sight.sole is None else Reach.ONE


def take_role(connection: psycopg.Connection[Any], reach: Reach = Reach.SOME) -> None:
    """Have no more rights than are needed, for the rest of a session."""
    roles = [reach.value, Reach.SOME.value]
    connection.execute(ROLE, [roles, roles])


def show(connection: psycopg.Connection[Any], sight: Sight) -> None:
    """Have Postgres show the rows of some namespaces, and no others, for the rest of a session."""
    connection.execute(SHOW, [_array(sight.namespaces), sight.sole or ""], prepare=True)


@lru_cache(maxsize=1_000)
def _array(names: tuple[str, ...]) -> str:
    """Return names as Postgres writes an array of them: made once, as it stands before questions of many tenants."""
    quoted = (name.replace("\\", "\\\\").replace('"', '\\"') for name in names)
    return "{" + ",".join(f'"{name}"' for name in quoted) + "}"


def check_apart(connection: psycopg.Connection[Any]) -> None:
    """Make sure that a session's user sees no other rows than it is to.

    Raises:
        psycopg.OperationalError: it does.
    """
    row = connection.execute(APART, [Reach.ALL.value]).fetchone()
    if row != (True,):
        raise psycopg.OperationalError(NOT_APART)
