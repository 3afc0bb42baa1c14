"""The command `agent-comms run`: a command that is published as it runs."""

from __future__ import annotations

import shlex
from typing import Any

import click

from web.failure import IN_PART, say
from web.publish import overridden, pairs, speaking

NOT_FOUND = 127
NOT_STARTED = 126
SHOWN_CHARS = 500


@click.command(
    short_help="Run a command and publish what it says.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--as",
    "kind",
    type=click.Choice(["auto", "codex-events", "log"]),
    default="auto",
    show_default=True,
    help="What its stdout is: events of `codex exec --json`, or lines; auto goes by the first one.",
)
@click.option(
    "--general",
    "general_kinds",
    multiple=True,
    metavar="KIND",
    help="Said in the general channel too. Can be repeated.",
)
@click.option("--kind", "log_kind", default="message", show_default=True, help="The kind of a plain line.")
@speaking
@click.option("--attr", "attrs", multiple=True, metavar="NAME=VALUE", callback=pairs, help="Can be repeated.")
@click.option(
    "--grace",
    type=click.FloatRange(0, 3600),
    default=10.0,
    show_default=True,
    help="How long the last lines are tried at the end, in seconds.",
)
@click.option("--strict", is_flag=True, help="Exit with 4 where the command succeeded and a line was not published.")
@click.pass_context
def run(
    context: click.Context,
    /,
    command: tuple[str, ...],
    *,
    kind: Any,
    general_kinds: tuple[str, ...],
    log_kind: str,
    attrs: dict[str, str],
    grace: float,
    strict: bool,
    **said: Any,
) -> None:
    """Run COMMAND and publish each line of its stdout, and that it has started and ended.

    What it writes appears unchanged, signals reach it, and its exit code is ours. It never waits for
    NATS; what NATS does not take is kept for later. Put -- before a COMMAND with options.
    """
    from flows.settings import Settings
    from web.child import Child
    from web.follow import Station, details, summary

    station = Station.of(
        overridden(Settings.from_env(), said),
        "agent-comms-run",
        fresh=True,
        general=general_kinds,
        log_kind=log_kind,
        attrs=attrs,
    )
    try:
        child = Child(command, station.wake)
    except OSError as error:
        say(f"{command[0]}: {error.strerror}")
        context.exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_STARTED)
    child.pass_signals_on()
    sidecar = station.sidecar
    sidecar.started("run-started", _shown(f"started: {shlex.join(command)}"))
    sidecar.listen(child.pipe, kind, "stdout")
    report = station.run(child, grace, finished="run-finished")
    if report.left:
        say(summary(report))
        for line in details(report, station.post.desk.folder):
            say(line)
    context.exit(child.exit_code or (IN_PART if strict and report.left else 0))


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"
