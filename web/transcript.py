"""Messages as text: a Markdown transcript, JSON lines, and what a terminal shows.

What agents say is nobody's to trust. Whatever it is, it stays a quotation under the
name of who said it, so that no message passes for another one's, or for two; and
nothing in it speaks to a terminal.
"""

import re
from collections.abc import Iterable, Iterator

import msgspec

from flows.message import CHANNEL_GENERAL, Event
from web import ansi, words

TOOL_KINDS = ("tool_call", "tool_result")
# What turns the direction of the text behind it, ends lines, or can't be seen; joiners stay, words need them.
_HIDDEN = re.compile("[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]")
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+|~])")
_FENCE = re.compile("`{3,}")

_encode = msgspec.json.Encoder().encode


def json_lines(events: Iterable[Event]) -> Iterator[bytes]:
    """Yield each message as a JSON object on a line of its own."""
    for event in events:
        yield _encode(event) + b"\n"


def markdown(events: Iterable[Event]) -> Iterator[bytes]:
    """Yield each message as a heading and a quotation."""
    for event in events:
        yield f"### {_heading(event)}\n\n{_quotation(event)}\n\n".encode()


def terminal(event: Event) -> str:
    """Return a message as lines for a terminal: who speaks, and indented what was said."""
    said = plain(event.content).rstrip("\n").split("\n")
    return "\n".join([_line(event), *(f"    {line}".rstrip() for line in said)]) + "\n"


def plain(text: str) -> str:
    """Return a text without what speaks to a terminal and what can't be seen; its only line end is the newline."""
    text = ansi.strip(text)
    return text if text.isascii() else _HIDDEN.sub("", text)


def plain_name(text: str) -> str:
    """Return a name on one line."""
    return " ".join(plain(text).split())


def _line(event: Event) -> str:
    return f"{event.timestamp:%Y-%m-%d %H:%M:%S} {plain_name(event.agent_id)} {_what(event)}"


def _heading(event: Event) -> str:
    return f"{event.timestamp:%Y-%m-%d %H:%M:%S} {_escaped(plain_name(event.agent_id))} · {_escaped(_what(event))}"


def _what(event: Event) -> str:
    """Say what kind of message it is, and of a tool its name and what came of it."""
    parts = [plain_name(event.kind)]
    tool = event.tool or {}
    if isinstance(name := tool.get("name"), str) and name:
        parts.append(plain_name(name)[:80])
    outcome = []
    if isinstance(code := tool.get("exit_code"), int) and not isinstance(code, bool):
        outcome.append(f"exit {code}")
    if isinstance(took := tool.get("duration_ms"), int | float) and 0 <= took < 1e12:
        outcome.append(words.span(took / 1000))
    if outcome:
        parts.append(f"({', '.join(outcome)})")
    if event.channel == CHANNEL_GENERAL:
        name = plain_name(event.workflow_name or event.workflow_uid or "")
        word = event.attrs.get("identity", "claimed")
        parts.append(f"[general{f', {name}' if name else ''}{', claimed' if word == 'claimed' else ''}]")
    return " ".join(parts)


def _quotation(event: Event) -> str:
    lines = plain(event.content).strip("\n").split("\n")
    if event.kind in TOOL_KINDS:
        longest = max((len(run) for line in lines for run in _FENCE.findall(line)), default=2)
        fence = "`" * (longest + 1)
        lines = [fence, *lines, fence]
    return "\n".join(f"> {line}".rstrip() for line in lines)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)
