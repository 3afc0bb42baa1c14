"""The API's reading half: messages, runs and dead letters as they are stored."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import cast
from urllib.parse import urlencode

import msgspec
from flask import Blueprint, Response, current_app, request

from web import parameters
from web.archive import NOTHING, Archive, Excerpt
from web.problems import Problem
from web.queries import Place, Reader
from web.selection import Selection

bp = Blueprint("reading", __name__, url_prefix="/api/agents")

MESSAGES = 100
MOST_MESSAGES = 1_000
RUNS = 50
MOST_RUNS = 500
STATES = ("running", "succeeded", "failed", "unknown", "stale")
FORMATS = ("json", "jsonl", "md")
# As long as somebody is told whether there is more in the other direction.
GLANCE_S = 0.05

SELECTION = (
    "runId", "workflowUid", "workflowName", "workflowNamespace", "channel", "include", "agentId", "kind", "repository",
    "issue", "branch", "since", "until", "q",
)  # fmt: skip


@bp.get("/messages")
def messages() -> Response:
    """Return messages in reading order, with the URLs of the pages before and after."""
    parameters.only(*SELECTION, "limit", "before", "after", "format")
    wanted, run = parameters.selection()
    limit = parameters.limit(MESSAGES, MOST_MESSAGES)
    before, after = parameters.place("before"), parameters.place("after")
    if before and after:
        message = "before and after exclude each other."
        raise Problem(message, "after")
    selection = _archive().resolve(wanted, run)
    if selection is None:
        return _json(_page(NOTHING, None, None))
    if after:
        excerpt = _archive().after(selection, after, limit)
        return _json(_page(excerpt, _behind(selection, excerpt, after), excerpt.edge))
    excerpt = _archive().before(selection, before, limit)
    return _json(_page(excerpt, excerpt.edge, before and _ahead(selection, excerpt, before)))


@bp.get("/runs")
def runs() -> Response:
    """Return the list of runs, the newest activity first."""
    limit = parameters.limit(RUNS, MOST_RUNS)
    found = _reader().runs(
        namespace=parameters.text("workflowNamespace"),
        state=parameters.choice("state", STATES),
        q=parameters.text("q"),
        before=parameters.run_place("before"),
        limit=limit + 1,
    )
    more = _url({"before": parameters.run_token(found[limit - 1])}) if len(found) > limit else None
    return _json({"runs": found[:limit], "next": more})


@bp.get("/runs/<path:run>")
def one_run(run: str) -> Response:
    """Return one run by any of its names, and the others that the name fits."""
    match = _reader().run(run, parameters.text("workflowNamespace"))
    if match.run is None:
        message = "No run has this name."
        raise Problem(message, "run", HTTPStatus.NOT_FOUND)
    return _json({**msgspec.structs.asdict(match.run), "others": match.others})


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
