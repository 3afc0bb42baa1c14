"""The command `agent-comms`: what an operator types.

What a command needs is imported inside it, so that `--help` is prompt.
"""

from pathlib import Path

import click

from web.backfill import backfill
from web.doctor import doctor
from web.failure import Commands, Failure
from web.letters import dead_letters
from web.publish import publish
from web.read import read
from web.reconcile import reconcile
from web.run import run as run_command
from web.runs import runs
from web.token import token


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="agent-comms", message="%(prog)s %(version)s")
def main() -> None:
    """Make the talk of coding agents visible, durable and shared."""
    import logging

    # A command says itself, in one line, what a log line would say as well.
    logging.getLogger().addHandler(logging.NullHandler())


main.add_command(publish)
main.add_command(run_command)
main.add_command(read)
main.add_command(backfill)
main.add_command(reconcile)
main.add_command(dead_letters)
main.add_command(doctor)
main.add_command(runs)
main.add_command(token)


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

    What the database's user may not do for itself is printed as SQL.
    """
    import sql
    from connectors.migrations import Migrator
    from flows.database import conninfo
    from flows.roles import grant
    from flows.settings import Settings

    settings = Settings.from_env()
    migrator = Migrator(sql.MIGRATIONS, sql.SCHEMA)
    applied = migrator.migrate(
        conninfo(settings, "agent-comms-migrate"), note=lambda name: click.echo(f"applied {name}")
    )
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

    Works in short transactions, beside the ingest, and can be interrupted and run again at any time.
    """
    import time
    from datetime import UTC, datetime, timedelta

    from flows.database import conninfo
    from flows.deeds import note_deed
    from flows.retention import Pruned, prunable
    from flows.retention import prune as run
    from flows.settings import Settings

    settings = Settings.from_env()
    database = conninfo(settings, "agent-comms-prune")
    before = datetime.now(UTC) - timedelta(days=days or settings.agent_comms_retention_days)
    said_at = time.monotonic()

    def progress(so_far: Pruned) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= 1:
            said_at = time.monotonic()
            click.echo(f"{so_far.messages} messages, {so_far.dead_letters} dead letters", err=True)

    if dry_run:
        gone = prunable(database, before, from_start=from_start)
        click.echo(f"{gone.messages} messages and {gone.dead_letters} dead letters would go")
        return
    gone = run(database, before, batch, rest, progress, from_start=from_start)
    if gone.messages or gone.dead_letters:
        note_deed(database, "pruned", before=before, messages=gone.messages, dead_letters=gone.dead_letters)
    click.echo(f"{gone.messages} messages and {gone.dead_letters} dead letters deleted")


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
    import threading

    from connectors.publisher import Publisher
    from flows import logs
    from flows.nats import nats_options
    from flows.settings import Settings
    from web.sample import play

    settings = Settings.from_env()
    logs.set_up(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    publisher = Publisher(nats_options(settings, "agent-comms-sample")).connect(wait=True)
    try:
        play(publisher, settings.nats_subject_prefix, memory, stop.is_set)
    finally:
        publisher.close(flush=False)


if __name__ == "__main__":
    main(prog_name="agent-comms")
