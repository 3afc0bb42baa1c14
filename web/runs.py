"""The command `agent-comms runs`: whether the table of runs is what the messages make of it, and making it so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from web.failure import Failure

if TYPE_CHECKING:
    from flows.rebuild import Key, Rebuilt

EVERY_S = 1.0


def _key(_context: click.Context, _parameter: click.Parameter, text: str | None) -> Key | None:
    if text is None:
        return None
    namespace, slash, uid = text.partition("/")
    if not (namespace and slash and uid):
        message = f"it takes a namespace and a uid such as agents/0d9a1c0e, but got {text!r}"
        raise click.BadParameter(message)
    return namespace, uid


@click.group(short_help="Make the rows of runs anew of their messages.")
def runs() -> None:
    """Compare the rows of runs with their messages, and make them anew."""


@runs.command()
@click.option("--namespace", metavar="NS", help="Only this namespace's runs.")
@click.option("--run", "run", metavar="NS/UID", callback=_key, help="This run alone.")
@click.option("--dry-run", is_flag=True, help="Name the runs whose row differs, and change nothing.")
def rebuild(namespace: str | None, run: Key | None, *, dry_run: bool) -> None:
    """Make the row of each run what its messages say, as after a restore or a deletion by hand.

    A run of which messages are past the retention stays as it is, and so does what the workflow's controller
    said. Works a run at a time, beside the ingest, and can be interrupted and run again. Exit code 1 where a
    dry run finds differences, or no such run.
    """
    from flows.database import seeing_all
    from flows.deeds import note_deed
    from flows.rebuild import rebuild as make_anew
    from flows.settings import Settings

    if namespace and run:
        message = "--namespace and --run exclude each other"
        raise click.UsageError(message)
    said_at = time.monotonic()

    def progress(so_far: Rebuilt) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= EVERY_S:
            said_at = time.monotonic()
            click.echo(f"{so_far.runs} runs, {len(so_far.changed)} differ", err=True)

    database = seeing_all(Settings.from_env(), "agent-comms-runs")
    done = make_anew(database, namespace, run, dry_run=dry_run, note=progress)
    if run and not done.runs:
        message = f"no run has the uid {run[1]} in the namespace {run[0]}"
        raise Failure(message)
    if not dry_run:
        note_deed(database, "rebuilt-runs", namespace=namespace, run=run, runs=done.runs, changed=len(done.changed))
    for changed in done.changed:
        click.echo("/".join(changed))
    kept = f"; {done.kept} left alone, since messages of theirs are gone" if done.kept else ""
    what = "differ from their messages" if dry_run else "made anew"
    click.echo(f"{len(done.changed)} of {done.runs} runs {what}{kept}", err=True)
    if dry_run and done.changed:
        message = "the rows differ; without --dry-run they are made anew"
        raise Failure(message)
