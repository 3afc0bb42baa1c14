"""The command `agent-comms dead-letters`: what could not become a row, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from web.failure import NOT_DONE, Failure

if TYPE_CHECKING:
    from datetime import datetime

    from flows.letters import Choice, Letter, Letters
    from flows.settings import Settings

SHOWN = 100
BATCH = 500


def _time(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    from datetime import UTC, datetime

    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"it takes a date or a time such as 2026-11-24T10:00:00Z, but got {text!r}"
        raise click.BadParameter(message) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--since", metavar="TIME", callback=_time, help="First seen then or later."),
        click.option("--subject", metavar="PREFIX", help="On subjects that begin so."),
        click.option("--reason", help="Given up for this reason, such as not_json."),
    ):
        command = option(command)
    return command


@contextmanager
def _open() -> Iterator[tuple[Letters, Settings]]:
    from flows.database import seeing_all
    from flows.letters import Letters
    from flows.settings import Settings

    settings = Settings.from_env()
    letters = Letters(seeing_all(settings, "agent-comms-dead-letters"))
    try:
        yield letters, settings
    finally:
        letters.close()


def _choice(ids: tuple[str, ...], *, every: bool, replayed: bool = False, **filters: Any) -> Choice:
    from flows.letters import Choice

    named = {name: value for name, value in filters.items() if value is not None}
    if not (ids or every or named):
        message = "name the letters: by ID, by a filter, or --all"
        raise click.UsageError(message)
    return Choice(ids=list(ids) or None, replayed=replayed, **named)


@click.group("dead-letters", short_help="List, show, replay or discard what could not become a row.")
def dead_letters() -> None:
    """List, show, replay or discard what could not become a row."""


@dead_letters.command("list")
@_filters
@click.option("--replayed", is_flag=True, help="Those as well that have become rows since.")
@click.option("--limit", default=SHOWN, show_default=True, type=click.IntRange(1), help="How many at most.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_letters(*, replayed: bool, limit: int, as_json: bool, **filters: Any) -> None:
    """List dead letters, newest first."""
    with _open() as (letters, _):
        for letter in letters.find(_choice((), every=True, replayed=replayed, **filters), limit):
            click.echo(_as_json(letter) if as_json else _as_line(letter))


@dead_letters.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@click.option("--raw", is_flag=True, help="The payload's bytes and nothing else.")
def show(ids: tuple[str, ...], *, raw: bool) -> None:
    """Show dead letters whole."""
    with _open() as (letters, _):
        found = list(letters.find(_choice(ids, every=False, replayed=True)))
    for letter in found:
        if raw:
            click.echo(letter.payload, nl=False)
        else:
            click.echo(_in_full(letter))
    missing = set(ids) - {str(letter.id) for letter in found}
    if missing:
        text = f"no dead letter has the id {', '.join(sorted(missing))}"
        raise Failure(text, NOT_DONE)


@dead_letters.command()
@click.argument("ids", nargs=-1, metavar="[ID…]")
@_filters
@click.option("--all", "every", is_flag=True, help="All that were not replayed yet.")
@click.option("--dry-run", is_flag=True, help="Say which would be tried.")
def replay(ids: tuple[str, ...], *, every: bool, dry_run: bool, **filters: Any) -> None:
    """Try letters again; those that fit by now become rows, once.

    A larger AGENT_COMMS_MAX_MESSAGE_BYTES lets larger ones fit. Exit code 1 where some still don't.
    """
    from flows.redact import redactor_of

    with _open() as (letters, settings):
        chosen = letters.find(_choice(ids, every=every, **filters))
        if dry_run:
            _list_only(chosen, "would be tried")
            return
        redactor = redactor_of(settings)
        stored = known = 0
        unfit: dict[str, int] = {}
        for batch in _batches(chosen):
            came_to = letters.replay(batch, settings.agent_comms_max_message_bytes, redactor)
            stored, known = stored + came_to.stored, known + came_to.known
            for reason, number in came_to.unfit.items():
                unfit[reason] = unfit.get(reason, 0) + number
            click.echo(f"{stored} stored, {known} known already, {sum(unfit.values())} still unfit", err=True)
        _note(settings, "replayed-dead-letters", ids, filters, stored=stored, known=known, unfit=sum(unfit.values()))
    click.echo(f"{stored} stored, {known} known already, {sum(unfit.values())} still unfit")
    if unfit:
        text = "still unfit: " + ", ".join(f"{number} {reason}" for reason, number in sorted(unfit.items()))
        raise Failure(text, NOT_DONE)


@dead_letters.command()
@click.argument("ids", nargs=-1, metavar="[ID…]")
@_filters
@click.option("--all", "every", is_flag=True, help="All that were not replayed yet.")
@click.option("--dry-run", is_flag=True, help="Say which would go.")
@click.option("--yes", is_flag=True, help="Don't ask.")
def discard(ids: tuple[str, ...], *, every: bool, dry_run: bool, yes: bool, **filters: Any) -> None:
    """Delete letters for good."""
    with _open() as (letters, settings):
        chosen = list(letters.find(_choice(ids, every=every, replayed=bool(ids), **filters)))
        if dry_run:
            _list_only(iter(chosen), "would go")
            return
        if chosen and not yes:
            click.confirm(f"Delete {len(chosen)} dead letters for good?", abort=True)
        gone = sum(letters.discard(batch) for batch in _batches(iter(chosen)))
        _note(settings, "discarded-dead-letters", ids, filters, discarded=gone)
    click.echo(f"{gone} discarded")


def _note(settings: Settings, action: str, ids: tuple[str, ...], filters: dict[str, Any], **numbers: int) -> None:
    from flows.database import conninfo
    from flows.deeds import note_deed

    chosen = {name: value for name, value in filters.items() if value is not None}
    note_deed(conninfo(settings, "agent-comms-dead-letters"), action, ids=ids, **chosen, **numbers)


def _batches(letters: Iterator[Letter]) -> Iterator[list[Letter]]:
    batch: list[Letter] = []
    for letter in letters:
        batch.append(letter)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _list_only(letters: Iterator[Letter], what: str) -> None:
    number = 0
    for letter in letters:
        number += 1
        click.echo(_as_line(letter))
    click.echo(f"{number} {what}")


def _as_line(letter: Letter) -> str:
    seen = letter.first_seen_at.strftime("%Y-%m-%d %H:%M:%S")
    state = "  replayed" if letter.replayed_at else ""
    return f"{letter.id}  {seen}  {letter.reason:20}  {_printable(letter.subject)}  {_printable(letter.detail)}{state}"


def _as_json(letter: Letter) -> str:
    import msgspec

    fields = msgspec.structs.asdict(letter) | {"payload": letter.payload.decode("utf-8", "replace")}
    return msgspec.json.encode(fields).decode()


def _in_full(letter: Letter) -> str:
    headers = "".join(f"\n  {_printable(name)}: {_printable(value)}" for name, value in letter.headers.items())
    replayed = f"\nreplayed   {letter.replayed_at:%Y-%m-%d %H:%M:%S}" if letter.replayed_at else ""
    return (
        f"id         {letter.id}\n"
        f"reason     {letter.reason}: {_printable(letter.detail)}\n"
        f"subject    {_printable(letter.subject)}\n"
        f"stream seq {letter.stream_seq}, delivered {letter.deliveries} times\n"
        f"first seen {letter.first_seen_at:%Y-%m-%d %H:%M:%S}{replayed}\n"
        f"headers   {headers or ' none'}\n"
        f"payload    {len(letter.payload):,} bytes\n"
        f"{_printable(letter.payload.decode('utf-8', 'backslashreplace'))}\n"
    )


def _printable(text: str) -> str:
    """Return text that a terminal may be shown: no control characters but line ends and tabs."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)
