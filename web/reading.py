"""The API's reading half: messages, runs and dead letters as they are stored."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from http import HTTPMethod, HTTPStatus
from itertools import chain
from typing import Any, cast
from urllib.parse import urlencode

import msgspec
from flask import Blueprint, Response, current_app, request
from werkzeug.exceptions import MethodNotAllowed

from flows.message import Event
from web import parameters
from web.account import account_of
from web.archive import NOTHING, Archive, Excerpt
from web.freshness import flows
from web.passages import Asked
from web.previews import previews
from web.problems import Problem
from web.queries import Place, Reader
from web.rights import needs
from web.selection import Selection
from web.transcript import json_lines, markdown
from web.usage import without_sum

bp = Blueprint("reading", __name__, url_prefix="/api/agents")

MESSAGES = 100
MOST_MESSAGES = 1_000
# Of a whole; without a limit it is everything.
MOST_EXPORTED = 10_000_000
RUNS = 50
MOST_RUNS = 500
LETTERS = 50
MOST_LETTERS = 500
STATES = ("running", "succeeded", "failed", "unknown", "stale")
FORMATS = ("json", "jsonl", "md")
# The end of the address at which a run is said to be complete; a run may be called so, too.
_COMPLETE = "/complete"
# As long as somebody is told whether there is more in the other direction.
GLANCE_S = 0.05

Write = Callable[[Iterable[Event]], Iterator[bytes]]
_WRITERS: dict[str, tuple[Callable[[], Write], str]] = {
    "jsonl": (lambda: json_lines, "application/jsonl"),
    # An answer need not say what was asked in a batch before.
    "md": (lambda: partial(markdown, asked=Asked()), "text/markdown"),
}

MESSAGE_PARAMETERS = (
    "runId", "workflowUid", "workflowName", "workflowNamespace", "channel", "include", "agentId", "kind", "repository",
    "issue", "branch", "since", "until", "errors", "q", "limit", "before", "after", "format",
)  # fmt: skip
RUN_PARAMETERS = ("workflowNamespace", "state", "agentId", "q", "since", "until", "limit", "before")
LETTER_PARAMETERS = ("reason", "subject", "replayed", "since", "until", "limit", "before")


@bp.get("/messages")
@needs("read")
def messages() -> Response:
    """Return messages in reading order, with the URLs of the pages before and after."""
    parameters.only(*MESSAGE_PARAMETERS)
    wanted, run = parameters.selection()
    form = parameters.choice("format", FORMATS) or "json"
    limit = parameters.limit(MESSAGES, MOST_MESSAGES)
    before, after = parameters.place("before"), parameters.place("after")
    if before and after:
        message = "before and after exclude each other."
        raise Problem(message, "after")
    selection = _archive().resolve(wanted, run)
    if form != "json":
        return _whole(selection, form, after, before)
    if selection is None:
        return _json(_page(NOTHING, None, None))
    if after:
        excerpt = _archive().after(selection, after, limit)
        return _json(_page(excerpt, _behind(selection, excerpt, after), excerpt.edge))
    excerpt = _archive().before(selection, before, limit)
    return _json(_page(excerpt, excerpt.edge, before and _ahead(selection, excerpt, before)))


@bp.get("/runs")
@needs("read")
def runs() -> Response:
    """Return the list of runs, the newest activity first."""
    parameters.only(*RUN_PARAMETERS)
    limit = parameters.limit(RUNS, MOST_RUNS)
    since, until = parameters.stretch()
    found = _reader().runs(
        namespace=parameters.text("workflowNamespace"),
        state=parameters.choice("state", STATES),
        agent=parameters.text("agentId"),
        q=parameters.text("q"),
        since=since,
        until=until,
        before=parameters.run_place("before"),
        limit=limit,
    )
    more = _url({"before": parameters.run_token(found.next)}) if found.next else None
    return _json({"runs": [without_sum(run) for run in found.runs], "next": more})


@bp.get("/runs/<path:run>")
@needs("read")
def one_run(run: str) -> Response:
    """Return one run by any of its names, what it comes to, and the others that the name fits."""
    parameters.only("workflowNamespace")
    match = _reader().run(run, parameters.text("workflowNamespace"))
    found = match.run
    if found is None:
        if run.endswith(_COMPLETE):
            raise MethodNotAllowed([HTTPMethod.POST])
        message = "No run has this name."
        raise Problem(message, "run", HTTPStatus.NOT_FOUND)
    account = _reader().ask(lambda connection: account_of(connection, found))
    others = [without_sum(other) for other in match.others]
    return _json({**msgspec.structs.asdict(without_sum(found)), **msgspec.structs.asdict(account), "others": others})


@bp.get("/dead-letters")
@needs("read")
def dead_letters() -> Response:
    """Return what could not become a message, newest first, with its reason and the beginning of its payload."""
    parameters.only(*LETTER_PARAMETERS)
    limit = parameters.limit(LETTERS, MOST_LETTERS)
    since, until = parameters.stretch()
    choice: dict[str, Any] = {
        "reason": parameters.text("reason"),
        "subject": parameters.text("subject"),
        "replayed": parameters.flag("replayed"),
        "since": since,
        "until": until,
        "before": parameters.letter_place("before"),
    }
    found = _reader().ask(lambda connection: previews(connection, limit=limit + 1, **choice))
    more = _url({"before": parameters.letter_token(found[limit - 1].place)}) if len(found) > limit else None
    return _json({"dead_letters": found[:limit], "next": more})


@bp.get("/flows")
@needs("operate")
def flow_words() -> Response:
    """Return what each flow said of itself last, the newest word first."""
    parameters.only()
    return _json({"flows": _reader().ask(flows)})


def _whole(selection: Selection | None, form: str, after: Place | None, before: Place | None) -> Response:
    """Answer with all that is asked for, however much it is: a batch at a time, as fast as it is taken."""
    batches = _batches(selection, after, before) if selection else iter([])
    # The first one is read before anything is answered, so that what fails at once is an error, not half a text.
    batches = chain([next(batches, [])], batches)
    writer, mimetype = _WRITERS[form]
    write = writer()
    pieces = (b"".join(write(batch)) for batch in batches)
    whole = () if request.method == "HEAD" else filter(None, pieces)
    return Response(whole, mimetype=mimetype, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})


def _batches(selection: Selection, after: Place | None, before: Place | None) -> Iterator[list[Event]]:
    archive = _archive()
    if "limit" not in request.args:
        return archive.batches(selection, after, before)
    limit = parameters.limit(MESSAGES, MOST_EXPORTED)
    if after is None:
        return archive.batches(selection, archive.start_of_last(selection, limit, before), before)
    return _first(archive.batches(selection, after, before), limit)


def _first(batches: Iterator[list[Event]], limit: int) -> Iterator[list[Event]]:
    for batch in batches:
        yield batch[:limit]
        limit -= len(batch)
        if limit <= 0:
            return


def _page(excerpt: Excerpt, older: Place | None, newer: Place | None) -> dict[str, object]:
    page: dict[str, object] = {
        "messages": excerpt.events,
        "prev": older and _url({"before": parameters.place_token(older)}),
        "next": newer and _url({"after": parameters.place_token(newer)}),
    }
    return page if excerpt.sight is None else {**page, "search": excerpt.sight}


def _behind(selection: Selection, excerpt: Excerpt, after: Place) -> Place | None:
    """Return the place before which there are messages, of a page that was read forwards."""
    first = excerpt.first or (after[0], after[1] + 1)
    return None if _archive().is_empty("before", selection, first, GLANCE_S) else first


def _ahead(selection: Selection, excerpt: Excerpt, before: Place) -> Place | None:
    """Return the place after which there are messages, of a page that was read backwards."""
    last = excerpt.last or (before[0], before[1] - 1)
    return None if _archive().is_empty("after", selection, last, GLANCE_S) else last


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), mimetype="application/json", headers={"Cache-Control": "no-store"})


def _url(cursor: Mapping[str, str]) -> str:
    return f"{request.path}?{urlencode({**parameters.kept('before', 'after'), **cursor})}"


def _reader() -> Reader:
    return cast("Reader", current_app.extensions["reader"])


def _archive() -> Archive:
    return cast("Archive", current_app.extensions["archive"])
