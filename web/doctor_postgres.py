"""The doctor's look at Postgres: whether it lets us in, whether its schema is ours, and what this role may do there."""

import os
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import Connection

import sql
from connectors.migrations import EncodingError, MigrationError, Migrator, NewerError
from flows.database import conninfo
from flows.settings import Settings
from web.doctor_nats import clock
from web.failure import in_words
from web.finding import Finding, failing, ok, skipped, warning
from web.reach import Reach

LEAST_VERSION = 140_000
STATEMENT_S = 5
FULL = 0.8
LONG_S = 60

# What each program needs, of table and right.
NEEDS = {
    "show messages": (("agent_messages", "SELECT"), ("runs", "SELECT"), ("dead_letters", "SELECT")),
    "store messages": (
        ("agent_messages", "SELECT, INSERT"), ("runs", "SELECT, INSERT, UPDATE"), ("dead_letters", "INSERT"),
    ),
    "recover runs": (("reconcile_queue", "SELECT, INSERT, UPDATE"), ("artifacts", "SELECT, INSERT, UPDATE")),
    "prune": (
        ("agent_messages", "DELETE"), ("dead_letters", "DELETE"), ("audit_log", "DELETE"), ("pruned", "UPDATE"),
    ),
}  # fmt: skip


def check_postgres(settings: Settings) -> Iterator[Finding]:
    """Look at Postgres from the connection to the rights."""
    began = time.monotonic()
    try:
        connection = psycopg.connect(conninfo(settings, "agent-comms-doctor"), autocommit=True)
    except psycopg.Error as error:
        text = str(in_words(error) or error).replace("connection is bad: ", "")
        todo = _how_to_connect(text)
        if os.environ.get("DATABASE_URL"):
            yield failing("postgres", text, todo)
        else:
            yield warning("postgres", text, "set DATABASE_URL, unless this is for a publisher, which needs none")
        yield skipped("migrations", "there is no connection to Postgres")
        yield skipped("roles", "there is no connection to Postgres")
        return
    with connection:
        connection.execute(f"SET statement_timeout = '{STATEMENT_S}s'".encode())
        yield _check_server(connection, 1000 * (time.monotonic() - began))
        yield from _check_writable(connection)
        is_current = _check_migrations(connection)
        yield is_current
        yield from _check_roles(connection, has_schema=is_current.state != "failing")
        yield from _check_waits(connection)
        if is_current.state == "ok":
            yield from _check_letters(connection)
        yield _check_clock(connection)


def _how_to_connect(said: str) -> str:
    said = said.lower()
    if "password" in said or "authentication" in said or "no pg_hba" in said:
        return "check the user and the password in DATABASE_URL, and pg_hba.conf of the server"
    if "does not exist" in said:
        return "create the database or the role, or correct its name in DATABASE_URL"
    return "check DATABASE_URL, and whether the server runs and can be reached from here"


def _one(connection: Connection[Any], query: str, *values: object) -> Any:
    row = connection.execute(query.encode(), values).fetchone()
    return row[0] if row else None


def _check_server(connection: Connection[Any], took_ms: float) -> Finding:
    info = connection.info
    version = info.server_version
    where = f"{info.host}:{info.port}" if info.host else "its socket"
    text = f"connected to {where}, PostgreSQL {version // 10_000}.{version % 10_000}, in {took_ms:.0f} ms"
    if version < LEAST_VERSION:
        return failing("postgres", text, "use PostgreSQL 14 or newer")
    if _one(connection, "SHOW server_encoding") != "UTF8":
        return failing("postgres", f"{text}; its encoding is not UTF8", "create the database with ENCODING 'UTF8'")
    return ok("postgres", text)


def _check_writable(connection: Connection[Any]) -> Iterator[Finding]:
    if _one(connection, "SELECT pg_is_in_recovery()"):
        todo = "point DATABASE_URL at the primary; libpq finds it among several hosts with target_session_attrs"
        yield failing("postgres", "this server is a standby and takes no writes", todo)
    elif _one(connection, "SHOW default_transaction_read_only") == "on":
        yield warning("postgres", "sessions begin read-only", "see default_transaction_read_only of server and role")


def _check_migrations(connection: Connection[Any]) -> Finding:
    migrator = Migrator(sql.MIGRATIONS, sql.SCHEMA)
    try:
        pending = migrator.pending(connection)
    except NewerError:
        # In a rollout until this version's successor runs, and after a way back.
        return ok("migrations", f"all {len(migrator.files())} are applied, and those of a newer version")
    except EncodingError:
        return failing("migrations", "none can be applied in this encoding", "create the database with ENCODING 'UTF8'")
    except MigrationError as error:
        return failing("migrations", str(error), "run the version that made this schema, or a newer one")
    except psycopg.errors.InsufficientPrivilege:
        return skipped("migrations", f"this role may not read {sql.SCHEMA}", "let its owner run `agent-comms migrate`")
    except psycopg.Error as error:
        return failing("migrations", str(error), "see the server's log")
    if pending:
        text = f"{len(pending)} are to be applied, the first is {pending[0].name}"
        return failing("migrations", text, "run `agent-comms migrate` as the owner of the schema")
    return ok("migrations", f"all {len(migrator.files())} are applied")


def _check_roles(connection: Connection[Any], *, has_schema: bool) -> Iterator[Finding]:
    user = _one(connection, "SELECT current_user")
    if not has_schema:
        yield skipped("roles", f"connected as {user}, and there is no schema to have rights in")
        return
    may = [what for what, needs in NEEDS.items() if _may_all(connection, needs)]
    if "store messages" in may and _is_kept_apart(connection):
        todo = f"ALTER ROLE {user} BYPASSRLS: Postgres takes no COPY from it otherwise"
        yield failing("roles", f"connected as {user}, from whom row-level security keeps rows", todo)
    if "show messages" in may and _sees_everything_of_itself(connection):
        todo = f"REVOKE {Reach.ALL.value} from it, and make it a member of {Reach.SOME.value} alone"
        yield failing("roles", f"connected as {user}, who inherits the sight of everything", todo)
    if may:
        yield ok("roles", f"connected as {user}, who may {', '.join(may)}")
    else:
        todo = "grant the role what its program needs: `agent-comms migrate` does, run as the owner"
        yield failing("roles", f"connected as {user}, who may do nothing in {sql.SCHEMA}", todo)


def _is_kept_apart(connection: Connection[Any]) -> bool:
    """Whether the role sees such rows alone as it says it reads for: right for the web, wrong for who stores."""
    return bool(_one(connection, "SELECT row_security_active(%s)", f"{sql.SCHEMA}.agent_messages"))


def _sees_everything_of_itself(connection: Connection[Any]) -> bool:
    """Whether the role, which is to see what it says it reads for, has what the web takes for those who read all."""
    heir = "SELECT true FROM pg_roles WHERE rolname = %s AND pg_has_role(oid, 'USAGE')"
    return _is_kept_apart(connection) and bool(_one(connection, heir, Reach.ALL.value))


def _may_all(connection: Connection[Any], needs: tuple[tuple[str, str], ...]) -> bool:
    for table, rights in needs:
        name = f"{sql.SCHEMA}.{table}"
        if not _one(connection, "SELECT has_schema_privilege(%s, 'USAGE')", sql.SCHEMA):
            return False
        if _one(connection, "SELECT to_regclass(%s)", name) is None:
            return False
        # Each of them: Postgres takes a list for any of them. A right to some of the columns is one, too.
        for right in rights.split(", "):
            ask = "has_table_privilege" if right == "DELETE" else "has_any_column_privilege"
            if not _one(connection, f"SELECT {ask}(%s, %s)", name, right):
                return False
    return True


def _check_waits(connection: Connection[Any]) -> Iterator[Finding]:
    used, most = (
        _one(connection, "SELECT count(*) FROM pg_stat_activity"),
        int(_one(connection, "SHOW max_connections")),
    )
    if used > FULL * most:
        todo = "raise max_connections, or see who holds them: SELECT application_name, count(*) FROM pg_stat_activity"
        yield warning("postgres", f"{used} of {most} connections are in use", f"{todo} GROUP BY 1")
    waiting = _one(
        connection,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        " AND now() - query_start > make_interval(secs => %s)",
        LONG_S,
    )
    if waiting:
        todo = "find who holds it: SELECT pid, pg_blocking_pids(pid), query FROM pg_stat_activity"
        yield warning("postgres", f"{waiting} sessions have been waiting for a lock for over {LONG_S} s", todo)


def _check_letters(connection: Connection[Any]) -> Iterator[Finding]:
    try:
        # Of all namespaces, where it is a role that has to say so.
        connection.execute("SELECT set_config('agent_comms.namespaces', '{*}', false)")
        number = _one(connection, sql.query("count_letters"))
    except psycopg.Error:
        return
    if number:
        text = f"{number:,}{' or more' if number == 10_000 else ''} messages could not become rows"
        yield warning("dead letters", text, "see `agent-comms dead-letters list`; replay or discard them")


def _check_clock(connection: Connection[Any]) -> Finding:
    began = time.time()
    theirs = _one(connection, "SELECT clock_timestamp()")
    return clock("Postgres", theirs.timestamp(), (began + time.time()) / 2)
