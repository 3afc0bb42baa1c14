"""The command `agent-comms read`: what was said, on a terminal or for a prompt."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

import click

from web.failure import NOT_DONE, Failure, say
from web.streams import give_up

if TYPE_CHECKING:
    from flows.message import Event
    from flows.settings import Settings
    from web.shelf import Shelf, Wanted

LAST = 100
MOST = 100_000

Write = Callable[["Event"], bytes]


def _kinds(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    words = (word.strip() for text in texts for word in text.split(","))
    return tuple(dict.fromkeys(word for word in words if word))


@click.command(short_help="Read what was said, on a terminal or for a prompt.")
@click.option("--run", metavar="NAME", help="What one run said: any of its names.")
@click.option("--general", is_flag=True, help="What the general channel says; with --run, what it says of it as well.")
@click.option("--repository", metavar="NAME", help="About this repository.")
@click.option("--issue", metavar="NUMBER", help="About this issue.")
@click.option("--branch", metavar="NAME", help="About this branch.")
@click.option("--namespace", metavar="NAME", help="In this namespace.")
@click.option("--agent", metavar="NAME", help="Said by this agent.")
@click.option("--kind", "kinds", multiple=True, callback=_kinds, metavar="KIND", help="Of this kind. Can be repeated.")
@click.option(
    "--last", type=click.IntRange(1, MOST), default=LAST, show_default=True, metavar="N", help="The newest so many."
)
@click.option(
    "--max-chars",
    type=click.IntRange(1),
    metavar="N",
    help="No more characters than these: of what a tool was asked or printed the middle is left out beyond a quarter of"
    " them, then whole messages, the oldest first. It says how much.",
)
@click.option("--follow", is_flag=True, help="Then what is said from now on, of a run or the general channel.")
@click.option(
    "--format", "form", type=click.Choice(["text", "jsonl", "md"]), default="text", show_default=True, help="How."
)
def read(*, last: int, max_chars: int | None, follow: bool, form: str, **wanted: object) -> None:
    """Read messages in reading order, the newest last.

    Over the API at AGENT_COMMS_URL, with AGENT_COMMS_TOKEN where it asks for one; without it
    straight from Postgres at DATABASE_URL. What messages hold that would speak to the terminal,
    or could pass for another message, is made harmless, save in jsonl.

    Exit codes: 0 something was found, 1 nothing was or it can't be printed, 2 a wrong option or setting,
    3 the API or Postgres can't be reached, or doesn't let us in.
    """
    from flows.settings import Settings
    from web.shelf import Wanted

    chosen = Wanted(**wanted)  # type: ignore[arg-type]  # the options are its fields
    if not chosen.is_enough:
        message = "say what to read: --run, --general, --repository, --issue, --branch or --namespace"
        raise click.UsageError(message)
    if follow and not (chosen.run or chosen.general):
        message = "--follow goes with --run or --general"
        raise click.UsageError(message)
    with closing(_shelf(Settings.from_env())) as shelf:
        try:
            _read(shelf, chosen, last, max_chars, form, follow=follow)
        except BrokenPipeError:
            # Whoever read it has read enough.
            give_up(sys.stdout)


def _shelf(settings: Settings) -> Shelf:
    if settings.agent_comms_url:
        from web.remote import Remote

        return Remote(settings.agent_comms_url, settings.agent_comms_token)
    from web.local import Local

    return Local(settings)


def _read(shelf: Shelf, wanted: Wanted, last: int, max_chars: int | None, form: str, *, follow: bool) -> None:
    # Before the messages are read, so that what comes between is there, once.
    head = shelf.head(wanted) if follow else 0
    events = shelf.newest(wanted, last)
    write = writer(form, max_chars)
    pieces = [write(event) for event in events]
    left_out = 0
    while max_chars and (more := _fit(pieces, max_chars, form, left_out)):
        left_out += more
        # Whose call is left out says itself what was asked.
        write = writer(form, max_chars)
        pieces = [write(event) for event in events[left_out:]]
    if left_out:
        _tell(left_out, form, max_chars)
    for piece in pieces:
        _put(piece)
    if follow:
        shown = {event.seq for event in events}
        for event in shelf.follow(wanted, head):
            if event.seq not in shown:
                _put(write(event))
    elif not events:
        state = shelf.silent(wanted)
        text = f"the run is there, {state}, and no message of it has come yet" if state else "nothing found"
        raise Failure(text, NOT_DONE)


def writer(form: str, max_chars: int | None = None) -> Write:
    """Return what makes a message's bytes in a format, where so many characters are to do for all of them."""
    from web import transcript
    from web.passages import Asked

    asked, most = Asked(), max_chars and max(max_chars // 4, 1)
    match form:
        case "jsonl":
            return lambda event: next(transcript.json_lines([event]))
        case "md":
            return lambda event: next(transcript.markdown([event], asked, most))
        case _:
            return lambda event: transcript.terminal(event, asked, most).encode()


def _fit(pieces: list[bytes], max_chars: int, form: str, left_out: int) -> int:
    """Return how many more messages must be left out, from the oldest on, that the rest has no more characters."""
    sizes = [len(piece.decode()) for piece in pieces]
    total = sum(sizes)
    for number, size in enumerate([*sizes, 0]):
        notice = len(_notice(left_out + number, form)) if left_out + number and form != "jsonl" else 0
        if total + notice <= max_chars:
            return number
        total -= size
    return len(pieces)


def _notice(number: int, form: str) -> str:
    words = f"{number} earlier {'message' if number == 1 else 'messages'} left out"
    return f"*{words}*\n\n" if form == "md" else f"({words})\n"


def _tell(number: int, form: str, max_chars: int | None) -> None:
    notice = _notice(number, form)
    # Among JSON lines it would be no JSON, and all that is left out may leave no room for it.
    if form == "jsonl" or (max_chars and len(notice) > max_chars):
        say(_notice(number, "text").strip("()\n"))
    else:
        _put(notice.encode())


def _put(piece: bytes) -> None:
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
