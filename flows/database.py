"""How our settings reach Postgres."""

import psycopg

from connectors.conninfo import with_defaults
from flows.settings import SettingError, Settings

UNREADABLE = "DATABASE_URL: it takes a libpq URI or key=value words, but got a value (not shown)"


def conninfo(settings: Settings, application: str) -> str:
    """Return the connection string of a program that calls itself `application`.

    Raises:
        SettingError: libpq can't read DATABASE_URL; its own words would show the password.
    """
    try:
        return with_defaults(settings.database_url, application)
    except psycopg.ProgrammingError:
        raise SettingError(UNREADABLE) from None
