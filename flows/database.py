"""How our settings reach Postgres."""

import psycopg

from connectors.conninfo import with_defaults
from flows.settings import SettingError, Settings

UNREADABLE = "DATABASE_URL: it takes a libpq URI or key=value words, but got a value (not shown)"


# Whoever inherits the sight of everything sees everything, too.
_IS_BLIND = """
    SELECT current_user, row_security_active('workflow_comms.agent_messages')
       AND NOT EXISTS (
           SELECT FROM pg_roles WHERE rolname = 'agent_comms_web_all' AND pg_has_role(oid, 'USAGE')
       )
"""


def seeing_all(settings: Settings, application: str) -> str:
    """Return the connection string of a program that works on the rows of all namespaces.

    Raises:
        SettingError: as of `conninfo`, or the database's user sees but a part of them, such as the web's.
        psycopg.Error: Postgres can't be asked.
    """
    found = conninfo(settings, application)
    with psycopg.connect(found, autocommit=True) as connection:
        user, is_blind = connection.execute(_IS_BLIND).fetchone() or ("", False)
    if is_blind:
        message = (
            f"DATABASE_URL: its user {user} doesn't see the rows of all namespaces; use the owner of the tables, or a"
            " user with BYPASSRLS"
        )
        raise SettingError(message)
    return found


def conninfo(settings: Settings, application: str) -> str:
    """Return the connection string of a program that calls itself `application`.

    Raises:
        SettingError: libpq can't read DATABASE_URL; its own words would show the password.
    """
    try:
        return with_defaults(settings.database_url, application)
    except psycopg.ProgrammingError:
        raise SettingError(UNREADABLE) from None
