"""A tool call or its result, as a reader wants it: what was asked, what came of it."""

import json
import shlex
from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from flows import unsaid
from flows.message import Event
from web import ansi, diff, jsontext, mcp, words

Outcome = Literal["good", "wrong", "waiting", "unknown"]

_ASKED = ("command", "cmd", "query", "path", "file_path", "file", "pattern", "url", "uri", "prompt", "name", "title")
_SHELLS = ("bash", "sh", "zsh", "/bin/bash", "/bin/sh", "/usr/bin/bash", "/bin/zsh")
_WRONG = {"failed", "error", "declined", "interrupted", "timeout", "timed_out", "cancelled", "canceled", "denied"}
_GOOD = {"completed", "ok", "success", "succeeded", "done"}
_WAITING = {"in_progress", "running", "pending", "started"}
# The first of these words that a tool's name holds tells its glyph.
_GLYPHS = {
    "people": ("collab", "spawn", "agent"),
    "edit": ("patch", "edit", "write"),
    "prompt": ("shell", "bash", "exec", "command", "terminal"),
    "globe": ("web", "fetch", "http", "browser"),
    "lens": ("search", "grep", "glob", "find"),
    "page": ("read", "file", "cat"),
    "list": ("todo", "plan"),
}
_ASKED_LENGTH = 300
# A line that is longer may be cut off, on a phone at any rate.
LINE_LENGTH = 40
# So much of an output's end is looked through for its last line.
_TAIL = 2_000


class Tool(Struct, frozen=True):
    """One message about a tool.

    Attributes:
        call: what a call and its result have in common; empty where they can't be matched.
        asked: the request on one line.
        glyph: the name of an icon.
        outcome: how it went, and `said` the word for it; both empty-handed for a call that waits.
        source: the input where it says more than the line, as text or JSON.
        output: what came back, as text or JSON.
    """

    call: str
    name: str
    asked: str
    glyph: str
    outcome: Outcome
    said: str
    duration: str
    source: Any
    output: Any


def read(event: Event) -> Tool:
    """Read what an event says about a tool, whatever its publisher made of it."""
    tool = _tool(event)
    source = tool.get("input")
    asked = _line(source)
    content = "" if is_unsaid(event) else event.content
    is_call = event.kind == "tool_call"
    if not asked and is_call:
        asked = _short(content.removeprefix("$ "))
    name = str(tool.get("name") or "tool")
    outcome, said = _outcome(tool, event)
    return Tool(
        call=_call(event, tool, name, asked),
        name=name,
        asked=asked,
        glyph=_glyph(name),
        outcome=outcome,
        said=said,
        duration=_duration(tool.get("duration_ms", event.attrs.get("duration_ms"))),
        source=_source(source, content if is_call else "", asked),
        output=None if is_call else _output(tool.get("output"), content),
    )


def is_wrong(event: Event) -> bool:
    """Say whether a message tells that something went wrong; `workflow_comms.is_wrong` has the same rule."""
    return event.kind == "error" or (event.kind == "tool_result" and _outcome(_tool(event), event)[0] == "wrong")


def asked_of(event: Event) -> Mapping[str, Any]:
    """Return what a message says about a tool as it was published; empty where it says nothing."""
    return _tool(event)


def is_unsaid(event: Event) -> bool:
    """Say whether a message's content is only the name of a tool that was asked, or answered, nothing."""
    return unsaid.is_unsaid(event.kind, event.content, _tool(event))


def gist(output: Any) -> str:
    """Return what says most of an output in one line.

    Of a diff how much it changes, of JSON its beginning, else the last line of a text.
    """
    if not isinstance(output, str):
        answer = mcp.read(output)
        return gist(answer.texts[-1]) if answer else _line(output)
    if diff.looks_like(output):
        return f"{words.count(len(diff.files(output)) or 1, 'file')} changed"
    if jsontext.read(output) is not None:
        return _short(output)
    tail = output[-_TAIL:]
    first, *others = tail.splitlines() or [""]
    for line in reversed(others):
        if shown := _short(line.lstrip()).strip("=- "):
            return shown
    # A long line is told by its beginning: what stands in its middle begins with half a word.
    cut = len(output) - len(tail)
    start = max(output.rfind(end, 0, cut) for end in "\n\r") + 1
    beginning = output[start : start + _TAIL] if start < cut else first
    return _short(beginning).strip("=- ") or _short(first.lstrip()).strip("=- ")


def _tool(event: Event) -> Mapping[str, Any]:
    raw = event.tool if isinstance(event.tool, dict) else event.attrs.get("tool")
    return raw if isinstance(raw, dict) else {"name": raw} if isinstance(raw, str) else {}


def _call(event: Event, tool: Mapping[str, Any], name: str, asked: str) -> str:
    for value in (
        tool.get("id"),
        tool.get("call_id"),
        *(event.attrs.get(key) for key in ("call_id", "callId", "item_id", "itemId")),
    ):
        if isinstance(value, str | int) and value:
            return f"{value}"[:200]
    return f"{name} {asked}"[:200] if asked else ""


def _line(source: Any) -> str:
    """Return the gist of an input on one line."""
    if source is None or source == {} or source == []:
        return ""
    if isinstance(source, str):
        return _short(source)
    if isinstance(source, list):
        return _short(_command(source))
    if isinstance(source, dict):
        if isinstance(changes := source.get("changes"), list | dict) and changes:
            return _changes(changes)
        for key in _ASKED:
            value = source.get(key)
            if isinstance(value, list) and value:
                return _short(_command(value))
            if isinstance(value, str) and value.strip():
                return _short(_unwrapped(value))
    return _short(json.dumps(source, ensure_ascii=False, default=str))


def _command(parts: list[Any]) -> str:
    texts = [str(part) for part in parts]
    if len(texts) == 3 and texts[0] in _SHELLS and texts[1].startswith("-"):
        return texts[2]
    return shlex.join(texts)


def _unwrapped(command: str) -> str:
    """Return what a shell was asked, without the shell."""
    if len(command) > 4_000 or not command.startswith(_SHELLS):
        return command
    try:
        parts = shlex.split(command)
    except ValueError:
        return command
    return (
        parts[2] if len(parts) == 3 and parts[0] in _SHELLS and parts[1] in ("-c", "-lc", "-l -c", "-ic") else command
    )


def _changes(changes: list[Any] | dict[str, Any]) -> str:
    paths = [str(change.get("path", "")) if isinstance(change, dict) else str(change) for change in changes]
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return _short(paths[0]) + more


def _short(text: str) -> str:
    line = " ".join(ansi.strip(text[: 4 * _ASKED_LENGTH]).split())
    return line if len(line) <= _ASKED_LENGTH else line[: _ASKED_LENGTH - 1] + "…"


def _outcome(tool: Mapping[str, Any], event: Event) -> tuple[Outcome, str]:
    status = str(tool.get("status") or "").lower()
    code = tool.get("exit_code", event.attrs.get("exit_code"))
    if event.kind == "tool_call":
        return ("wrong", status) if status in _WRONG else ("waiting", "")
    if isinstance(code, int | float) and not isinstance(code, bool):
        return ("good", "exit 0") if code == 0 else ("wrong", f"exit {code}")
    if status in _WRONG:
        return "wrong", status.replace("_", " ")
    if status in _GOOD:
        return "good", "done"
    if status in _WAITING:
        return "waiting", "running"
    return "unknown", status[:40]


def _glyph(name: str) -> str:
    lowered = name.lower()
    for glyph, name_words in _GLYPHS.items():
        if any(word in lowered for word in name_words):
            return glyph
    return "plug" if "." in lowered else "wrench"


def _duration(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        return ""
    return words.span(value / 1000)


def _source(source: Any, content: str, asked: str) -> Any:
    """Return the input, or the call's own text, where it says more than the line."""
    if isinstance(source, dict) and len(source) == 1:
        # The one value is all there is: show it as it is, not as JSON.
        source = next(iter(source.values()))
    if isinstance(source, str) and _unwrapped(source).strip() == asked:
        return asked if len(asked) > LINE_LENGTH else None
    if source is not None and source != {} and source != []:
        return source
    text = content.strip().removeprefix("$ ")
    if _unwrapped(text).strip() == asked:
        return asked if len(asked) > LINE_LENGTH else None
    return content if text else None


def _output(output: Any, content: str) -> Any:
    answer = mcp.read(output)
    if answer and len(answer.parts) == 1 and not answer.beside:
        return answer.texts[0]
    if output in (None, "", {}, []):
        return content
    if isinstance(output, str):
        return output if output.strip() or not content.strip() else content
    return output
