"""The command `agent-comms backfill`: what was said in finished runs and never arrived, out of their artifacts."""

from __future__ import annotations

import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from web.failure import IN_PART, INTERRUPTED, NOT_DONE, UNREACHABLE, WRONG, Failure, say

if TYPE_CHECKING:
    from datetime import datetime

    from connectors.objects import ObjectError, Objects
    from flows.backfill import Backfill, Options
    from flows.finished import Key
    from flows.listed import Listed
    from flows.progress import Progress
    from flows.settings import Settings

NAMED = 20
_AGO = re.compile(r"(\d{1,5})([dhm])")


def _since(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    from datetime import UTC, datetime, timedelta

    if text is None:
        return None
    if ago := _AGO.fullmatch(text):
        unit = {"d": "days", "h": "hours", "m": "minutes"}[ago[2]]
        return datetime.now(UTC) - timedelta(**{unit: int(ago[1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"it takes a date, a time such as 2026-11-24T10:00:00Z, or an age such as 7d, but got {text!r}"
        raise click.BadParameter(message) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _namespace(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    if not _is_name(text):
        message = f"it takes a namespace such as agents, but got {ascii(text)[:300]}"
        raise click.BadParameter(message)
    return text


def _is_name(text: str) -> bool:
    """Say whether a run can be kept under a name; bytes that are no UTF-8 come as halves of surrogate pairs."""
    from flows.normalize import MAX_NAME

    return bool(text) and len(text) <= MAX_NAME and text.isprintable()


def _key(context: click.Context, _parameter: click.Parameter, text: str | None) -> Key | None:
    if text is None:
        return None
    namespace, slash, uid = text.partition("/")
    if not slash:
        namespace, uid = context.params.get("namespace") or "", namespace
    if not (_is_name(namespace) and _is_name(uid)):
        message = f"it takes a namespace and a uid such as agents/0d9a1c0e, but got {ascii(text)[:300]}"
        raise click.BadParameter(message)
    return namespace, uid


@click.command(short_help="Recover runs from their artifacts.")
@click.argument("root", required=False)
@click.option(
    "--namespace",
    metavar="NS",
    is_eager=True,
    callback=_namespace,
    default="agents",
    show_default=True,
    help="Of runs that nobody tells it of.",
)
@click.option("--run", metavar="NS/UID", callback=_key, help="This run alone.")
@click.option(
    "--since", metavar="WHEN", callback=_since, help="Runs that ended then or later: a time, or an age such as 7d."
)
@click.option("--again", is_flag=True, help="Read what has not changed, too.")
@click.option("--dry-run", is_flag=True, help="Say what is missing, and store nothing.")
@click.option("--keep-lines", is_flag=True, help="Keep lines that are no events as log messages.")
@click.option(
    "--processes",
    type=click.IntRange(0, 64),
    help="How many read; by default one for each core, 0 for none of their own.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of the table.")
@click.pass_context
def backfill(
    context: click.Context,
    root: str | None,
    namespace: str,
    run: Key | None,
    since: datetime | None,
    *,
    again: bool,
    dry_run: bool,
    keep_lines: bool,
    processes: int | None,
    as_json: bool,
) -> None:
    """Store what finished runs have said and the database doesn't have, out of the artifacts under ROOT.

    ROOT is a folder or s3://bucket/prefix, by default AGENT_COMMS_ARTIFACTS; credentials for S3 come from the
    variables that Amazon's own tools read. An artifact is read once, until it changes; what can't be read in it is
    told each time. It can be killed at any moment, and goes on with what it has not finished when it is run again.

    Exit code 0: everything that the artifacts hold is stored. 1: there is no such run, or nothing under ROOT.
    2: a wrong option or setting. 3: Postgres or ROOT can't be reached. 4: some artifacts can't be read, or not to
    their end, or hold no event or a line that is too long, now or when they were read, or a run can't be recovered;
    everything else is stored. 130: asked to end before it was done.
    """
    from connectors.crew import CORES
    from connectors.objects import ObjectError, Objects
    from flows.bundle import prepare
    from flows.database import seeing_all
    from flows.settings import Settings

    settings = Settings.from_env()
    processes = CORES if processes is None else processes
    root = root or settings.agent_comms_artifacts
    if not root:
        message = "ROOT: it is missing, and AGENT_COMMS_ARTIFACTS is, too"
        raise Failure(message, WRONG)
    try:
        objects = Objects(root)
        listed = _listed(settings, objects, namespace, run)
        seeing_all(settings, "agent-comms-backfill")
    except ObjectError as error:
        raise of_root(error) from error
    except LookupError as error:
        raise Failure(str(error)) from error
    if since is not None:
        listed = [each for each in listed if each.newest >= since.timestamp()]
    prepare(listed, processes)
    # Which loads much, while what reads is loaded beside.
    from flows.backfill import Options

    options = Options(processes=processes, again=again, dry_run=dry_run, keep_other_lines=keep_lines)
    context.exit(_run(settings, objects, listed, options, as_json=as_json))


def _listed(settings: Settings, objects: Objects, namespace: str, run: Key | None) -> list[Listed]:
    from flows.catalog import Catalog

    catalog = Catalog(objects, namespace, say)
    if run is None:
        if not (listed := catalog.everything()):
            whose = " of which it is known whose it is" if catalog.has_left_some_alone else ""
            message = f"there is no artifact under {objects.root}{whose}"
            raise Failure(message)
        return listed
    found = catalog.one(run, _known_name(settings, run))
    if found is None or not (found.artifacts or found.absent):
        message = f"there is no artifact of {'/'.join(run)} under {objects.root}"
        raise Failure(message)
    return [found]


def _known_name(settings: Settings, run: Key) -> str | None:
    """Return the name of a run that the database knows."""
    import psycopg

    import sql
    from flows.database import conninfo

    with psycopg.connect(conninfo(settings, "agent-comms-backfill")) as connection:
        keys = {"namespaces": [run[0]], "uids": [run[1]]}
        row = connection.execute(sql.query("names_of_runs"), keys).fetchone()
    return str(row[0]) if row else None


def of_root(error: ObjectError) -> Failure:
    """Return how a command ends whose root is none, or can't be had."""
    from connectors.objects import Trouble

    codes = {Trouble.MISSING: NOT_DONE, Trouble.REFUSED: WRONG}
    return Failure(str(error), codes.get(error.trouble, UNREACHABLE))


def _run(settings: Settings, objects: Objects, listed: list[Listed], options: Options, *, as_json: bool) -> int:
    """Do it, and print what it came to; returns the exit code."""
    from flows.backfill import Backfill, mind_garbage
    from flows.courtesy import step_back
    from flows.gauges import BackfillMetrics
    from flows.summary import Summary
    from web.gauge import Gauge

    summary = Summary()
    reports: list[dict[str, Any]] = []
    metrics = BackfillMetrics()
    metrics.serve(settings)

    def show(progress: Progress) -> None:
        gauge.show(progress)
        metrics.show(progress)

    def done(run: Any) -> None:
        summary.add(run)
        metrics.note(run)
        if as_json:
            reports.append(_as_object(run))

    _tell_warnings()
    mind_garbage()
    with Gauge() as gauge:
        work = Backfill(settings, objects, options, watch=show, done=done)
        asked = _end_on_signal(work)
        step_back()
        work.prepare(listed)
        work.run()
    summary.unchanged = work.progress.unchanged
    if as_json:
        _print_json(summary, reports, gauge.seconds)
    else:
        _print_table(summary, gauge.seconds, dry_run=options.dry_run)
    if asked:
        say("asked to end; what is done stays, and the next backfill goes on from there")
        return INTERRUPTED
    return 0 if summary.is_whole else IN_PART


def _tell_warnings() -> None:
    """Have what goes wrong meanwhile be told on stderr, a line each and once a minute where it is the same."""
    import logging

    from flows.logs import Repetition

    class Teller(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(record.getMessage())

    teller = Teller(logging.WARNING)
    teller.addFilter(Repetition())
    logging.getLogger("flows").addHandler(teller)


def _end_on_signal(work: Backfill) -> list[int]:
    """Have a signal end the work in good order; returns where it is noted."""
    asked: list[int] = []

    def end(number: int, _frame: object) -> None:
        asked.append(number)
        work.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    return asked


def _as_object(run: Any) -> dict[str, Any]:
    import msgspec

    named = {"workflow_namespace": run.run.namespace, "workflow_uid": run.run.uid, "workflow_name": run.run.name}
    return {**named, **msgspec.to_builtins(run.report)}


def _print_json(summary: Any, reports: list[dict[str, Any]], seconds: float) -> None:
    import msgspec

    sums = msgspec.to_builtins(summary)
    del sums["wrong"]
    click.echo(msgspec.json.encode({**sums, "seconds": round(seconds, 3), "reports": reports}))


def _print_table(summary: Any, seconds: float, *, dry_run: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(justify="right")
    table.add_column()
    skipped = ", ".join(f"{number:,} {reason}" for reason, number in sorted(summary.skipped.items()))
    left_alone = f", {summary.gone:,} left alone: their messages are past the retention" if summary.gone else ""
    rows: list[tuple[int, str, bool]] = [
        (summary.runs, f"runs read; {summary.unchanged:,} unchanged{left_alone}", True),
        (summary.lines, f"lines in {seconds:.1f} s{f'; no message: {skipped}' if skipped else ''}", True),
        (summary.rows, "messages in them", True),
        (summary.stored, "there already", True),
        (summary.inserted, "missing" if dry_run else f"recovered, of {summary.recovered:,} runs", True),
        (summary.refused, "that can't be stored", False),
        (summary.interrupted, "calls that were never answered", False),
        (summary.absent, "artifacts that can't be had", False),
        (summary.damaged, "artifacts that can't be read to their end", False),
        (summary.eventless, "artifacts of events that hold none", False),
        (summary.lost, "lines that are too long, or can't be read", False),
        (summary.failed, "runs that can't be recovered, each with its reason", False),
        (summary.complete, "runs complete", True),
    ]
    for number, words, always in rows:
        if always or number:
            table.add_row(f"{number:,}", words)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    for wrong in summary.wrong[:NAMED]:
        click.echo(f"{wrong.workflow_namespace}/{wrong.workflow_uid}: {'; '.join(wrong.why)}")
        for words in wrong.troubles:
            click.echo(f"  {words}")
    if (more := summary.unnamed + len(summary.wrong[NAMED:])) > 0:
        click.echo(f"and {more:,} more that are not complete")
