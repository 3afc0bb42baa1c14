"""What a message says, as text: of a tool what it was asked and all that it answered, each once."""

import json
import shlex
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

from msgspec import Struct

from flows.message import Event
from web import printed, tool
from web.plain import plain

TOOL_KINDS = ("tool_call", "tool_result")
_COMMANDS = ("command", "cmd")
# So many requests are remembered that have no answer yet.
_MOST_OPEN = 1_000
# Of a value with more parts nobody looks whether each is said already.
_MOST_PARTS = 1_000
# The end of an output says more than its beginning, which gets so much of the room.
_HEAD = 0.25


class Passage(Struct, frozen=True):
    """A part of what a message says.

    Attributes:
        is_printed: whether it is shown as it is, rather than as prose.
        is_note: whether it is our own word on what is left out.
    """

    text: str
    is_printed: bool
    is_note: bool = False


class Asked:
    """What was asked of tools and is not answered yet: what was asked need not be said again by the answer."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[str, ...], None] = OrderedDict()

    def add(self, event: Event, request: str) -> None:
        """Note what was asked."""
        self._open[_key(event, request)] = None
        if len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)

    def take(self, event: Event, request: str) -> bool:
        """Whether it was asked; it is answered now."""
        key = _key(event, request)
        if key not in self._open:
            return False
        del self._open[key]
        return True


def passages(event: Event, asked: Asked, most: int | None = None) -> list[Passage]:
    """Return what a message says.

    Args:
        event: the message.
        asked: what was asked before; what is asked here is noted.
        most: so many characters at most of each text that is printed, and a note of what is left out.
    """
    if event.kind in TOOL_KINDS:
        found = [Passage(text, is_printed=True) for text in _of_tool(event, asked)]
        if event.kind == "tool_result" and tool.is_unsaid(event):
            found.append(Passage("no output", is_printed=False, is_note=True))
    else:
        found = [Passage(_text(event.content), printed.is_printed(event) or bool(printed.command(event)))]
    if most is None:
        return found
    return [part for passage in found for part in _shortened(passage, most)]


def _of_tool(event: Event, asked: Asked) -> Iterator[str]:
    said, about = _text(event.content), tool.asked_of(event)
    request = [*_request(about.get("input"))]
    whole = "\n".join(text for text, _ in request)
    if event.kind == "tool_call":
        asked.add(event, whole)
        yield said
        yield from (text for text, value in request if not _is_said(value, said))
        return
    if not asked.take(event, whole):
        yield from (text for text, value in request if not _is_said(value, said))
    if tool.is_unsaid(event):
        return
    output = about.get("output")
    text = _text(output)
    if not text or _is_said(output, said):
        yield said
        return
    if said not in text:
        yield said
    yield text


def _request(source: Any) -> Iterator[tuple[str, Any]]:
    """Yield what a tool was asked, as text and as it was given: a command as one types it, then the rest."""
    if not isinstance(source, dict):
        is_command = isinstance(source, list) and all(isinstance(word, str) for word in source)
        if text := _command(source) if is_command else _text(source):
            yield text, text if is_command else source
        return
    name = next((name for name in _COMMANDS if source.get(name) and isinstance(source[name], str | list)), None)
    if name is not None:
        command = _command(source[name])
        yield f"$ {command}", command
        source = {key: value for key, value in source.items() if key != name}
    elif len(source) == 1:
        (source,) = source.values()
    if text := _text(source):
        yield text, source


def _command(given: str | list[Any]) -> str:
    return plain(given if isinstance(given, str) else shlex.join(map(str, given)))


def _text(value: Any) -> str:
    """Return a value as text: as JSON where it is none; empty where there is nothing."""
    if value is None or value == {} or value == []:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2, default=str)
    return plain(text).strip("\n")


def _is_said(value: Any, text: str) -> bool:
    """Whether a text holds every part of a value."""
    for number, part in enumerate(_parts(value)):
        if number >= _MOST_PARTS or plain(part).strip() not in text:
            return False
    return True


def _parts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            # What kind of a part it is, is none.
            if name != "type":
                yield from _parts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _parts(each)
    elif isinstance(value, bool) or value is None:
        return
    else:
        yield str(value)


def _shortened(passage: Passage, most: int) -> Iterator[Passage]:
    text = passage.text
    if not passage.is_printed or len(text) <= most:
        yield passage
        return
    head, tail = text[: int(most * _HEAD)], text[len(text) - int(most * (1 - _HEAD)) :]
    # Whole lines, where there are any.
    head = head.rpartition("\n")[0] or head
    tail = tail.partition("\n")[2] or tail
    left_out = text[len(head) : len(text) - len(tail)]
    lines = left_out.strip("\n").count("\n") + 1
    of_lines = f", {lines:,} of {text.count(chr(10)) + 1:,} lines" if lines > 1 else ""
    yield Passage(head, is_printed=True)
    yield Passage(f"{len(left_out):,} of {len(text):,} characters left out{of_lines}", is_printed=False, is_note=True)
    yield Passage(tail, is_printed=True)


def _key(event: Event, request: str) -> tuple[str, ...]:
    name = str(tool.asked_of(event).get("name") or "")
    return event.workflow_namespace, event.workflow_uid or "", event.agent_id, name, request
