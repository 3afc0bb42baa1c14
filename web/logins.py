"""The logins of a secure local set-up: a program reaches Postgres as a member of the one role that it needs."""

import secrets
from typing import LiteralString
from urllib.parse import urlsplit

import psycopg
from psycopg import sql as psql

from flows.roles import grant

# By program: the role of sql/migrations/0008_roles.sql, and whether Postgres takes its COPY otherwise.
ROLES: dict[str, tuple[str, LiteralString]] = {
    "flow": ("agent_comms_ingest", "BYPASSRLS"),
    "web": ("agent_comms_web", "NOBYPASSRLS"),
}


def make_logins(owner: str) -> dict[str, str]:
    """Make a login for each program, with a password that is another one each time and kept nowhere.

    Args:
        owner: the URI of the database, of a superuser.

    Returns:
        The URI by which each program reaches it.
    """
    grant(owner)
    url = urlsplit(owner)
    made = {}
    with psycopg.connect(owner, autocommit=True) as connection:
        for program, (role, bypass) in ROLES.items():
            login, password = f"{role}_local", secrets.token_hex(16)
            if connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [login]).fetchone() is None:
                connection.execute(psql.SQL("CREATE ROLE {}").format(psql.Identifier(login)))
            statement = psql.SQL(f"ALTER ROLE {{}} LOGIN {bypass} PASSWORD {{}}")
            connection.execute(statement.format(psql.Identifier(login), psql.Literal(password)))
            connection.execute(psql.SQL("GRANT {} TO {}").format(psql.Identifier(role), psql.Identifier(login)))
            made[program] = url._replace(netloc=f"{login}:{password}@{url.hostname}:{url.port}").geturl()
    return made
