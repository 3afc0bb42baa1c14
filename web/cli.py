"""The command `agent-comms`: what an operator types.

What a command needs is imported inside it, so that `--help` is prompt.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from web.failure import Commands, Failure, keep_quiet, say

if TYPE_CHECKING:
    from flows.retention import Pruned

# Commands that have a module of their own, imported once somebody asks for it.
_ELSEWHERE = {
    "publish": "web.publish:publish",
    "run": "web.run:run",
    "read": "web.read:read",
    "backfill": "web.backfill:backfill",
    "reconcile": "web.reconcile:reconcile",
    "dead-letters": "web.letters:dead_letters",
    "doctor": "web.doctor:doctor",
    "runs": "web.runs:runs",
    "token": "web.token:token",
}


class _AllCommands(Commands):
    """Those of this module, and those elsewhere."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name; None where it has none."""
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, _, name = _ELSEWHERE[cmd_name].partition(":")
        return cast("click.Command", getattr(import_module(module), name))


@click.group(cls=_AllCommands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="agent-comms", message="%(prog)s %(version)s")
@click.pass_context
def main(context: click.Context) -> None:
    """Make the talk of coding agents visible, durable and shared."""
    # What reads over the API logs nothing, and is to be prompt.
    if context.invoked_subcommand != "read":
        keep_quiet()


@main.command(short_help="Run everything on this machine.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".agent-comms"),
    show_default=True,
    help="Where NATS and Postgres keep their data.",
)
@click.option("--port", type=click.IntRange(0, 65535), help="The port of the pages; by default AGENT_COMMS_PORT.")
@click.option("--sample/--no-sample", default=True, help="Whether sample agents talk.", show_default=True)
@click.option("--secure", is_flag=True, help="With accounts, permissions and TLS, as in production.")
@click.pass_context
def up(context: click.Context, state: Path, port: int | None, *, sample: bool, secure: bool) -> None:
    """Run everything on this machine: NATS, Postgres, the flow and the pages."""
    from web.up import up as run

    context.exit(run(state=state, port=port, sample=sample, secure=secure))


@main.command(short_help="Bring the schema up to date.")
def migrate() -> None:
    """Bring the schema up to date and grant the programs' roles; safe to run twice, and from several places at once.

    What the database's user may not do for itself is printed as SQL. Where somebody's transaction is in the way, it
    says whose, lets others work, and tries again until that has ended.
    """
    import sql
    from connectors.migrations import Migrator, NewerError
    from flows.database import conninfo
    from flows.roles import grant
    from flows.settings import Settings

    settings = Settings.from_env()
    migrator = Migrator(sql.MIGRATIONS, sql.SCHEMA)
    try:
        applied = migrator.migrate(
            conninfo(settings, "agent-comms-migrate"), note=lambda name: click.echo(f"applied {name}"), tell=say
        )
    except NewerError as error:
        # The way back to a release must not stop here: migrations add, and what it needs is there.
        click.echo(f"nothing to apply: {error}")
        return
    if not applied:
        click.echo("the schema is up to date")
    left = grant(conninfo(settings, "agent-comms-migrate"))
    if left:
        click.echo(
            "the roles of the programs are not complete; somebody who may runs this, then migrate again:", err=True
        )
        for statement in left:
            click.echo(statement)


@main.command(short_help="Create or check the stream and its consumer.")
@click.option("--update", is_flag=True, help="Change what differs, as far as the server lets it.")
def bootstrap(*, update: bool) -> None:
    """Create the stream and its consumer from the manifests, or name each field in which the server's differ."""
    from connectors.bootstrap import bootstrap as apply
    from connectors.connection import NatsConnection
    from connectors.nack import NackError
    from flows import topology
    from flows.nats import nats_options
    from flows.settings import Settings

    manifests = topology.manifests()
    connection = NatsConnection(nats_options(Settings.from_env(), "agent-comms-bootstrap")).connect(wait=False)
    try:
        left = connection.run(apply(connection.jetstream(), manifests, update=update, note=click.echo))
    except NackError as error:
        # The server answers what is not permitted with silence, and complains to the connection.
        text = ": ".join(filter(None, [str(error), connection.last_error]))
        raise Failure(text) from error
    finally:
        connection.close()
    fields = ", ".join(difference.field for difference in left)
    if left and update:
        text = f"the server still differs from the manifests in {fields}"
        raise Failure(text)
    if left:
        text = f"the server differs from the manifests in {fields}; nothing that exists was changed, --update does it"
        raise Failure(text)


@main.command(short_help="Delete what is older than the retention.")
@click.option("--days", type=click.IntRange(1, 100_000), help="By default AGENT_COMMS_RETENTION_DAYS.")
@click.option("--batch", type=click.IntRange(1, 100_000), default=5_000, show_default=True, help="Rows a transaction.")
@click.option(
    "--rest",
    type=click.FloatRange(0),
    default=4.0,
    show_default=True,
    help="How long it rests after each transaction, in times of what that took; 0 is fastest.",
)
@click.option("--from-start", is_flag=True, help="Look at all messages again, as after a restore of old ones.")
@click.option("--dry-run", is_flag=True, help="Say how much would go.")
def prune(*, days: int | None, batch: int, rest: float, from_start: bool, dry_run: bool) -> None:
    """Delete messages and dead letters that were stored longer ago than the retention; runs stay.

    What people did is kept for AGENT_COMMS_AUDIT_DAYS, whatever --days says.

    Works in short transactions, beside the ingest, and can be interrupted and run again at any time.
    """
    import time
    from datetime import UTC, datetime, timedelta

    from flows.database import conninfo
    from flows.deeds import note_deed
    from flows.retention import prunable
    from flows.retention import prune as run
    from flows.settings import Settings

    settings = Settings.from_env()
    database = conninfo(settings, "agent-comms-prune")
    now = datetime.now(UTC)
    before = now - timedelta(days=days or settings.agent_comms_retention_days)
    deeds_before = now - timedelta(days=settings.agent_comms_audit_days)
    said_at = time.monotonic()

    def progress(so_far: Pruned) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= 1:
            said_at = time.monotonic()
            click.echo(_sums(so_far), err=True)

    if dry_run:
        gone = prunable(database, before, deeds_before=deeds_before, from_start=from_start)
        click.echo(f"{_sums(gone)} would go")
        return
    gone = run(database, before, batch, rest, progress, deeds_before=deeds_before, from_start=from_start)
    if gone.messages or gone.dead_letters or gone.deeds:
        counts = {"messages": gone.messages, "dead_letters": gone.dead_letters, "audit_log": gone.deeds}
        note_deed(database, "pruned", before=before, audit_log_before=deeds_before, **counts)
    click.echo(f"{_sums(gone)} deleted")


def _sums(pruned: Pruned) -> str:
    return f"{pruned.messages} messages, {pruned.dead_letters} dead letters and {pruned.deeds} entries of the audit log"


@main.command(short_help="Print every setting.")
def settings() -> None:
    """Print every setting: its variable, its default and what it is for."""
    from flows.settings import table

    click.echo(table())


@main.command(short_help="Print every metric.")
def metrics() -> None:
    """Print every metric of every program: its name, labels and type, who tells it, and what it means."""
    from web.measures import table

    click.echo(table())


@main.command(short_help="Print the JSON Schema of a payload.")
def schema() -> None:
    """Print the JSON Schema of what a publisher sends."""
    import json

    from flows.payload import schema as made

    click.echo(json.dumps(made(), indent=2))


@main.command(hidden=True)
@click.option("--memory", type=click.Path(path_type=Path, dir_okay=False), help="A file that remembers how far it is.")
def sample(memory: Path | None) -> None:
    """Let sample agents talk until asked to end; `up` runs this."""
    import signal

    from connectors.connection import GivenUp
    from connectors.publisher import Publisher
    from flows import logs
    from flows.nats import nats_options
    from flows.settings import Settings
    from web.sample import play

    settings = Settings.from_env()
    logs.set_up(settings)
    asked: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: asked.append(number))
    publisher = Publisher(nats_options(settings, "agent-comms-sample"))
    try:
        publisher.connect(wait=True, unless=lambda: bool(asked))
    except GivenUp:
        return  # asked to end while no server answered
    try:
        play(publisher, settings.nats_subject_prefix, memory, lambda: bool(asked))
    finally:
        publisher.close(flush=False)


if __name__ == "__main__":
    main(prog_name="agent-comms")
