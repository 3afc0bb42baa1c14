"""The API's reading half: messages and runs as they are stored."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import cast
from urllib.parse import urlencode

import msgspec
from flask import Blueprint, Response, current_app, request

from flows.message import Event
from web import parameters
from web.problems import Problem
from web.queries import Place, Reader, Scope

bp = Blueprint("reading", __name__, url_prefix="/api/agents")

MESSAGES = 100
MOST_MESSAGES = 1_000
RUNS = 50
MOST_RUNS = 500
STATES = ("running", "succeeded", "failed", "unknown", "stale")


@bp.get("/messages")
def messages() -> Response:
    """Return messages in reading order, with the URLs of the pages before and after."""
    wanted, run = parameters.scope()
    limit = parameters.limit(MESSAGES, MOST_MESSAGES)
    before, after = parameters.place("before"), parameters.place("after")
    if before and after:
        message = "before and after exclude each other."
        raise Problem(message, "after")
    scope = _reader().resolve(wanted, run)
    if scope is None:
        return _json({"messages": [], "prev": None, "next": None})
    found = _page(scope, before, after, limit)
    return _json({"messages": found, **_neighbours(scope, found, before, after)})


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
    more = _url({"before": parameters.run_token(found[limit - 1])}, "before") if len(found) > limit else None
    return _json({"runs": found[:limit], "next": more})


@bp.get("/runs/<path:run>")
def one_run(run: str) -> Response:
    """Return one run by any of its names, and the others that the name fits."""
    match = _reader().run(run, parameters.text("workflowNamespace"))
    if match.run is None:
        message = "No run has this name."
        raise Problem(message, "run", HTTPStatus.NOT_FOUND)
    return _json({**msgspec.structs.asdict(match.run), "others": match.others})


def _page(scope: Scope, before: Place | None, after: Place | None, limit: int) -> list[Event]:
    if after:
        return _reader().newer(scope, after, limit)
    return _reader().older(scope, before, limit) if before else _reader().newest(scope, limit)


def _neighbours(scope: Scope, found: list[Event], before: Place | None, after: Place | None) -> dict[str, str | None]:
    """Return the URLs of the pages before and after, None where nothing is; asked, since a page may end early."""
    first = (found[0].timestamp, found[0].seq) if found else after
    last = (found[-1].timestamp, found[-1].seq) if found else before
    older = first and _reader().older(scope, first, 1)
    newer = last and _reader().newer(scope, last, 1)
    drop = ("before", "after")
    return {
        "prev": _url({"before": parameters.place_token(first)}, *drop) if first and older else None,
        "next": _url({"after": parameters.place_token(last)}, *drop) if last and newer else None,
    }


def _json(body: object) -> Response:
    return Response(msgspec.json.encode(body), mimetype="application/json", headers={"Cache-Control": "no-store"})


def _url(more: Mapping[str, str], *without: str) -> str:
    return f"{request.path}?{urlencode({**parameters.kept(*without), **more})}"


def _reader() -> Reader:
    return cast("Reader", current_app.extensions["reader"])
