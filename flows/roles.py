"""The database roles that programs run as: see sql/migrations/0008_roles.sql for who may do what."""

import psycopg

import sql


def grant(conninfo: str) -> list[str]:
    """Create the roles where that may be done, and grant each what its program needs; safe to do again.

    Args:
        conninfo: any libpq connection string, of the owner of the tables.

    Returns:
        The statements that somebody with more rights has to execute first.
    """
    with psycopg.connect(conninfo) as connection:
        connection.execute(sql.query("lock_roles"))
        try:
            return [statement for (statement,) in connection.execute(sql.query("grant_roles"))]
        except psycopg.errors.InsufficientPrivilege:
            # Whoever brings up to date what others own finds it granted by them.
            connection.rollback()
            return []
