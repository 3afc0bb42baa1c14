"""Connection strings for Postgres, with defaults that notice a vanished server."""

from psycopg.conninfo import conninfo_to_dict, make_conninfo

DEFAULTS: dict[str, str | int] = {
    "connect_timeout": 5,
    # A connection whose other end has vanished is noticed within about 20 s.
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


def with_defaults(conninfo: str, application: str) -> str:
    """Return a connection string with our defaults for whatever it doesn't set itself.

    Args:
        conninfo: any libpq URI or key=value string.
        application: shown in pg_stat_activity.

    Raises:
        psycopg.ProgrammingError: libpq cannot read it.
    """
    given = conninfo_to_dict(conninfo)
    ours: dict[str, str | int] = {"application_name": application, **DEFAULTS}
    missing: dict[str, str | int] = {name: value for name, value in ours.items() if name not in given}
    return make_conninfo(conninfo, **missing)
