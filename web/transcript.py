"""Messages as text: a Markdown transcript, JSON lines, and what a terminal shows.

What agents say is nobody's to trust. Whatever it is, it stays a quotation under the
name of who said it, so that no message passes for another one's, or for two; and
nothing in it speaks to a terminal.
"""

import re
from collections.abc import Iterable, Iterator

import msgspec

from flows.message import CHANNEL_GENERAL, Event
from web import tool, words
from web.passages import Asked, Passage, passages
from web.plain import plain_name

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+|~])")
_FENCE = re.compile("`{3,}")

_encode = msgspec.json.Encoder().encode


def json_lines(events: Iterable[Event]) -> Iterator[bytes]:
    """Yield each message as a JSON object on a line of its own."""
    for event in events:
        yield _encode(event) + b"\n"


def markdown(events: Iterable[Event], asked: Asked | None = None, most: int | None = None) -> Iterator[bytes]:
    """Yield each message as a heading and a quotation.

    Args:
        events: the messages.
        asked: what was asked of tools before.
        most: so many characters at most of each text that is printed.
    """
    asked = asked or Asked()
    for event in events:
        yield f"### {_heading(event)}\n\n{_quotation(passages(event, asked, most))}\n\n".encode()


def terminal(event: Event, asked: Asked | None = None, most: int | None = None) -> str:
    """Return a message as lines for a terminal: who speaks, and indented what was said."""
    said = [line for passage in passages(event, asked or Asked(), most) for line in _lines(passage)]
    return "\n".join([_line(event), *(f"    {line}".rstrip() for line in said)]) + "\n"


def _line(event: Event) -> str:
    return f"{event.timestamp:%Y-%m-%d %H:%M:%S} {plain_name(event.agent_id)} {_what(event)}"


def _heading(event: Event) -> str:
    return f"{event.timestamp:%Y-%m-%d %H:%M:%S} {_escaped(plain_name(event.agent_id))} · {_escaped(_what(event))}"


def _what(event: Event) -> str:
    """Say what kind of message it is, and of a tool its name and what came of it."""
    parts = [plain_name(event.kind)]
    about = tool.asked_of(event)
    if isinstance(name := about.get("name"), str) and name:
        parts.append(plain_name(name)[:80])
    outcome = []
    if isinstance(code := about.get("exit_code", event.attrs.get("exit_code")), int) and not isinstance(code, bool):
        outcome.append(f"exit {code}")
    if isinstance(took := about.get("duration_ms", event.attrs.get("duration_ms")), int | float) and 0 <= took < 1e12:
        outcome.append(words.span(took / 1000))
    if outcome:
        parts.append(f"({', '.join(outcome)})")
    if event.channel == CHANNEL_GENERAL:
        name = plain_name(event.workflow_name or event.workflow_uid or "")
        word = event.attrs.get("identity", "claimed")
        parts.append(f"[general{f', {name}' if name else ''}{', claimed' if word == 'claimed' else ''}]")
    return " ".join(parts)


def _quotation(said: list[Passage]) -> str:
    return "\n>\n".join("\n".join(f"> {line}".rstrip() for line in _quoted(passage)) for passage in said)


def _quoted(passage: Passage) -> list[str]:
    if passage.is_note:
        return [f"*{passage.text}*"]
    lines = passage.text.strip("\n").split("\n")
    if passage.is_printed:
        longest = max((len(run) for line in lines for run in _FENCE.findall(line)), default=2)
        fence = "`" * (longest + 1)
        lines = [fence, *lines, fence]
    return lines


def _lines(passage: Passage) -> list[str]:
    return [f"({passage.text})"] if passage.is_note else passage.text.rstrip("\n").split("\n")


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)
