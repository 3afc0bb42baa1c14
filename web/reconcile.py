"""The command `agent-comms reconcile`: completed runs, one after the other, until each is whole or given up."""

from __future__ import annotations

import signal
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from web.backfill import of_root
from web.failure import IN_PART, INTERRUPTED, WRONG, Failure, say

if TYPE_CHECKING:
    from flows.backlog import State
    from flows.reconcile import Outcome, Reconciler
    from flows.settings import Settings

SHOWN = 50


@click.command(short_help="Work through the queue of completed runs.")
@click.argument("root", required=False)
@click.option("--loop", is_flag=True, help="Go on for ever.")
@click.option(
    "--every",
    type=click.FloatRange(0.1, 3600),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="With --loop: how long to wait where nothing is due.",
)
@click.option(
    "--sweep",
    type=click.IntRange(0, 3650),
    default=7,
    show_default=True,
    metavar="DAYS",
    help="Queue finished runs of so many days that nobody has queued; 0 for none.",
)
@click.option("--limit", type=click.IntRange(1), metavar="RUNS", help="No more than so many.")
@click.option("--retry-failed", is_flag=True, help="Queue anew what was given up, and what is done without artifacts.")
@click.option("--show", is_flag=True, help="Show how the queue stands, and do nothing.")
@click.option(
    "--processes",
    type=click.IntRange(0, 64),
    default=0,
    show_default=True,
    help="How many read, where there is much to be read; 0 for none of their own.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each run.")
@click.pass_context
def reconcile(
    context: click.Context,
    root: str | None,
    *,
    loop: bool,
    every: float,
    sweep: int,
    limit: int | None,
    retry_failed: bool,
    show: bool,
    processes: int,
    as_json: bool,
) -> None:
    """Recover the runs that were reported complete out of their artifacts under ROOT, until each is done.

    ROOT is as for backfill. What can't be had is tried again, after a minute, two, four and so on, up to 6 hours;
    after 10 tries it is given up. A run without any artifact is looked at again for a day, then it is done and not
    complete. Any number of these may run at once: no run is worked on by two of them.

    Exit code 0: every run that was due is done, or tried again later. 1: there is no folder ROOT. 2: a wrong option or
    setting. 3: Postgres or ROOT can't be reached. 4: some runs were given up. 130: asked to end.
    """
    from connectors.objects import ObjectError, Objects
    from flows import logs
    from flows.database import seeing_all
    from flows.gauges import ReconcileMetrics
    from flows.reconcile import Reconciler
    from flows.settings import Settings

    settings = Settings.from_env()
    seeing_all(settings, "agent-comms-reconcile")
    if show:
        _show(settings, as_json=as_json)
        return
    root = root or settings.agent_comms_artifacts
    if not root:
        message = "ROOT: it is missing, and AGENT_COMMS_ARTIFACTS is, too"
        raise Failure(message, WRONG)
    metrics = ReconcileMetrics()
    states: set[State] = set()

    def done(outcome: Outcome) -> None:
        states.add(outcome.state)
        metrics.note(outcome)
        click.echo(_as_json(outcome) if as_json else _in_words(outcome))

    try:
        objects = Objects(root)
        objects.look()
    except ObjectError as error:
        raise of_root(error) from error
    work = Reconciler(settings, objects, done=done, processes=processes)
    asked = _end_on_signal(work)
    if retry_failed:
        _retry(settings)
    if loop:
        logs.set_up(settings)
        logs.tell_life("reconcile")
        metrics.serve(settings)
        work.for_ever(timedelta(seconds=every), timedelta(days=sweep), metrics.show_queue)
        return
    if sweep:
        work.sweep(timedelta(days=sweep))
    try:
        work.once(limit)
    except ObjectError as error:
        raise of_root(error) from error
    if asked:
        context.exit(INTERRUPTED)
    if not states:
        say("nothing is due")
    context.exit(IN_PART if "failed" in states else 0)


def _end_on_signal(work: Reconciler) -> list[int]:
    """Have a signal end the work in good order; returns where it is noted."""
    asked: list[int] = []

    def end(number: int, _frame: object) -> None:
        asked.append(number)
        work.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return asked


def _retry(settings: Settings) -> None:
    import psycopg

    from flows import backlog
    from flows.database import conninfo
    from flows.deeds import note_deed

    database = conninfo(settings, "agent-comms-reconcile")
    with psycopg.connect(database, autocommit=True) as connection:
        queued = backlog.retry(connection)
    note_deed(database, "queued-failed-runs-anew", runs=queued)
    say(f"{queued:,} runs queued anew")


def _show(settings: Settings, *, as_json: bool) -> None:
    import msgspec
    import psycopg

    from flows import backlog
    from flows.database import conninfo

    with psycopg.connect(conninfo(settings, "agent-comms-reconcile"), autocommit=True) as connection:
        counts, waiting = backlog.counts(connection), backlog.waiting(connection, SHOWN)
    if as_json:
        click.echo(msgspec.json.encode({"runs": counts, "waiting": waiting}))
        return
    click.echo(", ".join(f"{number:,} {state}" for state, number in counts.items()))
    for each in waiting:
        when = "" if each.state == "failed" else f", next at {each.next_try_at:%Y-%m-%d %H:%M:%S}"
        why = f": {each.last_error}" if each.last_error else ""
        tries = f", {each.attempts} tries" if each.attempts else ""
        click.echo(f"{each.workflow_namespace}/{each.workflow_uid}  {each.state}{tries}{when}{why}")


def _as_json(outcome: Outcome) -> str:
    import msgspec

    fields: dict[str, Any] = {
        "workflow_namespace": outcome.claim.workflow_namespace,
        "workflow_uid": outcome.claim.workflow_uid,
        "workflow_name": outcome.claim.workflow_name,
        "state": outcome.state,
        "attempts": outcome.claim.attempts,
        "error": outcome.error,
        "report": outcome.report,
    }
    return msgspec.json.encode(fields).decode()


def _in_words(outcome: Outcome) -> str:
    name = "/".join(outcome.claim.key)
    words = {"done": "done", "queued": "is tried again later", "failed": "given up"}[outcome.state]
    report = outcome.report
    found = f"; {report.inserted:,} of {report.rows:,} messages recovered" if report and report.rows else ""
    why = f": {outcome.error}" if outcome.error else f" ({'; '.join(report.why)})" if report and report.why else ""
    return f"{name}: {words}{found}{why}"
