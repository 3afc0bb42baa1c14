"""Events and runs as HTML fragments: the one place where a message gets its looks.

Pure functions: the first page, a live update and "earlier messages" all show
what these return. Everything a publisher may have written is escaped or sanitized.
"""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, Template
from markupsafe import Markup, escape
from msgspec import Struct

from flows.message import CHANNEL_GENERAL, PERSON, Event
from web import ansi, bidi, block, emphasis, fold, mark, markdown, parameters, printed, spark, tool, words
from web.queries import RunRow
from web.room import claimed_url, run_place, run_url

_TOOL_KINDS = ("tool_call", "tool_result")
# What `agent-comms run` says of a command.
_RUN_KINDS = ("run-started", "run-finished")
# A status of more than this is a text, not a word on a line.
_STATUS_LENGTH = 160
_QUIET_LENGTH = 600
_EXCERPT = 240
# After so long an agent is named again; static/place.js has the same rule.
_PAUSE = timedelta(minutes=5)
# A change of so few lines is shown at once.
_SMALL_DIFF = 24
_LINE_END = re.compile(r">\n+(?=<|\{%)")
# A longer text is shown by its beginning, and whole on a page of its own.
_PREVIEW = 64 * 1024


class Answer(Struct, frozen=True):
    """What came of a tool call, where its result stands further below."""

    seq: int
    outcome: tool.Outcome
    said: str
    duration: str


def message_html(
    event: Event,
    *,
    continues: bool = False,
    joined: bool = False,
    answered: bool = False,
    flow: Sequence[str] = (),
    whole: bool = False,
    terms: tuple[str, ...] = (),
    answer: Answer | None = None,
) -> str:
    """Return a message as an `<article>`.

    Args:
        event: the stored message.
        continues: the message above is the same agent's, who need not be named again.
        joined: the message above is the tool call of which this is the result.
        answered: the message below is the result of this tool call.
        flow: how it goes on from the message above, where both are lines that were printed, as classes.
        whole: nothing is folded or left out, however long it is.
        terms: what was looked for and is to be marked.
        answer: what came of a tool call further below.
    """
    shape = _shape(event)
    view = _view(event, shape, whole)
    recovered = event.attrs.get("source") == "backfill"
    told = {"same": continues, "joined": joined, "answered": answered, "is-recovered": recovered}
    told_of = [name for name, is_so in told.items() if is_so]
    classes = [f"is-{shape}", f"hue-{mark.hue(event.agent_id)}", *told_of, *flow]
    html = _template("_message.html").render(
        event=event,
        shape=shape,
        classes=" ".join(classes),
        stamp=parameters.stamp(event.timestamp),
        link=_link(event),
        permalink=permalink(event),
        wrong=tool.is_wrong(event),
        recovered=recovered,
        answer=answer,
        **view,
    )
    return emphasis.mark(bidi.visible(html), terms)


def timeline_html(events: Sequence[Event], terms: tuple[str, ...] = ()) -> str:
    """Return messages in reading order, with a line where a day begins."""
    parts: list[str] = []
    before: Event | None = None
    answers = _answers(events)
    joins = [*(_joins(*pair) and _is_of_one_day(*pair) for pair in pairwise(events)), False]
    for place, event in enumerate(events):
        if before is None or not _is_of_one_day(before, event):
            parts.append(_template("_day.html").render(day=event.timestamp.astimezone(UTC)))
            before = None
        joined = place > 0 and joins[place - 1]
        continues = joined or (before is not None and _continues(before, event))
        parts.append(
            message_html(
                event,
                continues=continues,
                joined=joined,
                answered=joins[place],
                flow=_flow(before, event) if continues and before else (),
                terms=terms,
                answer=answers.get(event.seq),
            )
        )
        before = event
    return "".join(parts)


def run_html(run: RunRow, now: datetime | None = None, rate: Sequence[int] = ()) -> str:
    """Return a run as an `<li>` of the list of runs.

    Args:
        run: the run.
        now: what is said of times goes by it.
        rate: how much it said in each slice of the half hour before its last message.
    """
    said = f"{words.count(sum(rate), 'message')} in the half hour before its last one"
    line = spark.sparkline(rate, said) if rate else ""
    html = _template("_run.html").render(run=run, now=now or datetime.now(UTC), words=run_words(run), rate=line)
    return bidi.visible(html)


def run_words(run: RunRow) -> str:
    """Return the last words of a run on one line."""
    return _excerpt(markdown.plain(ansi.strip((run.last_content or "")[:2_000])))


def permalink(event: Event) -> str:
    """Return where a message stands among those around it."""
    at = {"at": f"{event.seq}"}
    if event.channel == CHANNEL_GENERAL:
        return f"/agents/general?{urlencode(at)}#m-{event.seq}"
    return f"{run_url(event.workflow_namespace, _uid(event), **at)}#m-{event.seq}"


def raw(event: Event) -> str:
    """Return what a message says, as it was published: the output of a tool, else its content; empty for neither."""
    said = tool.asked_of(event)
    output = said.get("output") if event.kind == "tool_result" else None
    if isinstance(output, str) and output:
        return output
    if isinstance(output, dict | list) and output:
        return json.dumps(output, indent=2, ensure_ascii=False, default=str)
    return "" if event.kind == "tool_result" and tool.is_unsaid(event) else event.content


class _Dense(PackageLoader):
    """Loads templates without the line ends between tags: each would be a node of the page, in every message."""

    def get_source(self, environment: Environment, template: str) -> tuple[str, str, Callable[[], bool] | None]:
        source, file, is_current = super().get_source(environment, template)
        return _LINE_END.sub(">", source), file, is_current


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=_Dense("web"), autoescape=True, trim_blocks=True, lstrip_blocks=True, auto_reload=False
    )
    install(environment)
    return environment


def install(environment: Environment) -> None:
    """Give an environment what the templates of this package use."""
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.globals.update(
        hue=mark.hue,
        letter=mark.letter,
        count=words.count,
        span=words.span,
        ago=words.ago,
        moment=words.moment,
        stamp=parameters.stamp,
        run_url=run_url,
        claimed_url=claimed_url,
        run_html=run_html,
        url=parameters.url,
        size=words.size,
        sparkline=spark.sparkline,
    )
    environment.filters["name"] = words.name
    environment.filters["plainly"] = lambda text: _visible(escape(ansi.strip(text)))
    environment.filters["visible"] = _visible


def _visible(html: str) -> Markup:
    return Markup(bidi.visible(html))  # noqa: S704  # it is as safe as what it is given


@cache
def _template(name: str) -> Template:
    return _environment().get_template(name)


def _shape(event: Event) -> str:
    """Return the form a message is shown in."""
    if event.kind == "error":
        return "error"
    if event.kind in _TOOL_KINDS:
        return "call" if event.kind == "tool_call" else "result"
    if printed.is_printed(event):
        return "output"
    if event.kind in _RUN_KINDS:
        return "status"
    item = event.attrs.get("item_type") or event.attrs.get("itemType")
    if item == "reasoning":
        return "reasoning"
    if event.kind == "status":
        if item == "todo_list" or _is_list(event.content):
            return "todo"
        return "status" if len(event.content) <= _STATUS_LENGTH and "\n" not in event.content.strip() else "note"
    if event.kind == "log" or ansi.has_escape(event.content):
        return "log"
    return "person" if event.role == "user" or event.agent_id == PERSON else "message"


def _view(event: Event, shape: str, whole: bool) -> dict[str, Any]:
    if shape in ("call", "result"):
        return _tool_view(event, whole)
    content = event.content
    preview = not whole and len(content) > _PREVIEW
    if shape in ("error", "log", "output"):
        return {"blocks": [block.text(content, whole=whole)]}
    if shape == "status":
        if command := printed.command(event):
            return {"line": "started:", "command": ansi.strip(command)}
        return {"line": " ".join(ansi.strip(content).split())}
    if preview:
        return {"body": markdown.html(fold.first(content).shown), "size_of": len(content), "preview": True}
    body = markdown.html(ansi.strip(content), whole=whole)
    if shape == "todo":
        boxes = content.count("- [")
        return {"body": body, "done": content.lower().count("- [x]"), "boxes": boxes}
    if shape == "reasoning" and len(content) > _QUIET_LENGTH and not whole:
        return {"body": body, "gist": _excerpt(markdown.plain(content))}
    return {"body": body}


def _tool_view(event: Event, whole: bool) -> dict[str, Any]:
    read = tool.read(event)
    is_result = event.kind == "tool_result"
    blocks = block.source(read.source, whole=whole)
    results = block.output(read.output, whole=whole) if is_result else []
    gist = tool.gist(read.output) if is_result else ""
    if not whole and isinstance(read.output, str) and ansi.strip(read.output).strip() == gist:
        # The line says it all, unless it may be cut off and reads better as a tree.
        results = [b for b in results if b.kind == "tree" and len(gist) > tool.LINE_LENGTH]
    added = sum(b.added for b in (*blocks, *results))
    removed = sum(b.removed for b in (*blocks, *results))
    small_diff = 0 < added + removed <= _SMALL_DIFF
    return {
        "tool": read,
        # The call above shows what was asked.
        "blocks": [] if is_result and not whole else blocks,
        "results": results,
        "gist": gist,
        "open": whole or small_diff or (is_result and read.outcome == "wrong"),
        "added": added,
        "removed": removed,
    }


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT else text[: _EXCERPT - 1].rstrip() + "…"


def _is_list(content: str) -> bool:
    lines = [line for line in content[:4_000].splitlines() if line.strip()]
    return bool(lines) and all(line.lstrip().lower().startswith(("- [ ]", "- [x]", "* [ ]", "* [x]")) for line in lines)


def _goes_on(before: Event, event: Event) -> bool:
    same = before.agent_id == event.agent_id and before.workflow_uid == event.workflow_uid
    # A line of status is no speech; and behind `person` there may be two of them.
    return same and event.agent_id != PERSON and _shape(before) != "status"


def _continues(before: Event, event: Event) -> bool:
    return _goes_on(before, event) and event.timestamp - before.timestamp < _PAUSE


def _joins(before: Event, event: Event) -> bool:
    if before.kind != "tool_call" or event.kind != "tool_result" or not _goes_on(before, event):
        return False
    call, result = tool.read(before), tool.read(event)
    return call.name == result.name and (call.call == result.call or not result.call or not call.call)


def _flow(before: Event, event: Event) -> list[str]:
    """Return how a line that was printed goes on from the one above; static/place.js has the same rule."""
    if not _shape(before) == _shape(event) == "output":
        return []
    is_next = before.attrs["artifact"] == event.attrs["artifact"] and before.attrs["line"] + 1 == event.attrs["line"]
    at_once = before.timestamp.replace(microsecond=0) == event.timestamp.replace(microsecond=0)
    return [name for name, is_so in {"flows": is_next, "at-once": at_once}.items() if is_so]


def _is_of_one_day(before: Event, event: Event) -> bool:
    return before.timestamp.date() == event.timestamp.date()


def _answers(events: Sequence[Event]) -> dict[int, Answer]:
    """Return by its call what came of each tool call whose result isn't the next message."""
    calls: dict[tuple[str | None, str, str, str], int] = {}
    found: dict[int, Answer] = {}
    for place, event in enumerate(events):
        if event.kind not in _TOOL_KINDS:
            continue
        read = tool.read(event)
        key = event.workflow_uid, event.agent_id, read.name, read.call
        if not read.call:
            continue
        if event.kind == "tool_call":
            calls[key] = place
        elif (call := calls.pop(key, None)) is not None and call != place - 1:
            found[events[call].seq] = Answer(event.seq, read.outcome, read.said, read.duration)
    return found


def _link(event: Event) -> str:
    """Return the page that shows this message alone and whole."""
    if event.channel == CHANNEL_GENERAL:
        return f"/agents/general/message/{event.seq}"
    path, names = run_place(event.workflow_namespace, _uid(event))
    return f"{path}/message/{event.seq}?{urlencode(names)}"


def _uid(event: Event) -> str:
    return event.workflow_uid or event.workflow_name or "-"
