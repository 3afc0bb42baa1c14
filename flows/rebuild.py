"""Makes the rows of runs anew of their messages: after a restore, a deletion by hand, or to see that they agree."""

from collections.abc import Callable, Iterator

import psycopg
from msgspec import Struct
from psycopg import Connection

import sql
from flows.runs import STATE_WORDS

Key = tuple[str, str]
PAGE = 500


class Rebuilt(Struct):
    """What a rebuild came to.

    Attributes:
        runs: how many were looked at.
        changed: namespace and uid of those whose row was not what their messages make of it.
        kept: how many stayed as they are, since messages of theirs are past the retention.
    """

    runs: int = 0
    changed: list[Key] = []
    kept: int = 0


def rebuild(
    conninfo: str,
    namespace: str | None = None,
    run: Key | None = None,
    *,
    dry_run: bool = False,
    note: Callable[[Rebuilt], None] = lambda _: None,
) -> Rebuilt:
    """Make the rows of runs what their messages say, and leave alone what the workflows' controller said.

    Safe beside the ingest, which waits only where it adds to the run that is just being made anew:
    each has a transaction of its own, of some microseconds a message.

    Args:
        conninfo: any libpq connection string.
        namespace: only this namespace's runs.
        run: this one alone, by namespace and uid.
        dry_run: find out, but change nothing.
        note: told how far it is, after each run.
    """
    with psycopg.connect(conninfo, autocommit=True) as connection:
        # What a crash undoes can be done again. A run's messages are best read by their index, however many the
        # planner expects, and sooner than a query is compiled.
        connection.execute("SET synchronous_commit = off; SET jit = off; SET enable_seqscan = off")
        return rebuild_on(connection, namespace, run, dry_run=dry_run, note=note)


def rebuild_on(
    connection: Connection,
    namespace: str | None = None,
    run: Key | None = None,
    *,
    dry_run: bool = False,
    note: Callable[[Rebuilt], None] = lambda _: None,
) -> Rebuilt:
    """Do the same over a connection that is in no transaction."""
    done = Rebuilt(changed=[])
    for key in [run] if run else _keys(connection, namespace):
        keys = {"namespaces": [key[0]], "uids": [key[1]]}
        with connection.transaction(force_rollback=dry_run):
            connection.execute(sql.query("hold_runs"), keys)
            found = connection.execute(sql.query("rebuild_runs"), {**keys, **STATE_WORDS}).fetchall()
        done.runs += len(found)
        done.changed += [(namespace, uid) for namespace, uid, changed, _ in found if changed]
        done.kept += sum(kept for *_, kept in found)
        note(done)
    return done


def _keys(connection: Connection, namespace: str | None) -> Iterator[Key]:
    after: Key = ("", "")
    while True:
        arguments = {"namespace": namespace, "after_namespace": after[0], "after_uid": after[1], "limit": PAGE}
        page = connection.execute(sql.query("runs_after"), arguments).fetchall()
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1]
