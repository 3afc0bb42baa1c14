"""The pages beside the conversations: the list of runs, what is found across runs, and how fresh it all is."""

from datetime import UTC, datetime
from typing import cast

import msgspec
from flask import Blueprint, Response, current_app, redirect, render_template
from flask.blueprints import BlueprintSetupState
from werkzeug.wrappers import Response as Redirect

from web import attention, parameters, render, terms
from web.archive import Archive, Excerpt, Quote
from web.days import OFFERS
from web.freshness import freshness
from web.meant import meant
from web.queries import Key, Reader, RunRow, Scope
from web.rights import needs
from web.selection import Selection

bp = Blueprint("pages", __name__)

RUNS = 50
RECENT = 12
FOUND = 40
STATES = ("running", "stale", "failed", "succeeded", "unknown")


@bp.record_once
def _install(state: BlueprintSetupState) -> None:
    render.install(state.app.jinja_env)


@bp.get("/")
@needs("read")
def home() -> Redirect:
    """Lead to the runs."""
    return redirect("/agents")


@bp.get("/agents", strict_slashes=False)
@needs("read")
def agents() -> str:
    """Show the runs, what needs attention first."""
    filters = _run_filters()
    query = _query_of(filters)
    place = parameters.run_place("before")
    shelf = parameters.choice("shelf", attention.NAMES) or attention.ALL.name
    reader = _reader()
    now = datetime.now(UTC)
    # Before the runs are read, so that what changes meanwhile is sent rather than missed.
    cursor = reader.head()
    page = attention.page(reader, filters, RUNS, now, (shelf, place) if place else None)
    older = None
    if page.next:
        older = parameters.url(
            "/agents", {**query, "shelf": page.next[0], "before": parameters.run_token(page.next[1])}
        )
    namespaces = reader.ask(attention.namespaces)
    busy = [run for run in page.runs if attention.shelf_of(run, now) != "rest"]
    return render_template(
        "agents.html",
        here="agents",
        shelves=attention.SHELVES if not filters.state else (attention.ALL,),
        filled={filled.shelf.name: filled for filled in page.shelves},
        totals=[] if place else attention.totals(reader, filters, now),
        shelf_url=lambda of: _shelf_url(of, filters, now),
        apart=len(namespaces) > 1 and not filters.namespace,
        any_runs=bool(page.runs),
        filters=query,
        since=filters.since,
        until=filters.until,
        states=STATES,
        offers=OFFERS,
        namespaces=namespaces,
        rates=_rates(busy),
        older=older,
        paged=place is not None,
        now=now,
        cursor=cursor,
        stream=parameters.url("/api/agents/runs/events", _only(query, "workflowNamespace")),
        twin=parameters.url("/api/agents/runs", query),
    )


@bp.get("/shelves")
@needs("read")
def shelves() -> str:
    """Return how many runs are on each shelf of the list, as a fragment."""
    filters = _run_filters()
    now = datetime.now(UTC)
    return render_template(
        "_totals.html",
        totals=attention.totals(_reader(), filters, now),
        shelf_url=lambda of: _shelf_url(of, filters, now),
    )


def _run_filters() -> attention.Filters:
    since, until = parameters.stretch()
    return attention.Filters(
        q=parameters.text("q"),
        state=parameters.choice("state", STATES),
        namespace=parameters.text("workflowNamespace"),
        since=since,
        until=until,
    )


def _query_of(filters: attention.Filters) -> dict[str, str]:
    said = {
        "q": filters.q,
        "state": filters.state,
        "workflowNamespace": filters.namespace,
        "since": filters.since and parameters.stamp(filters.since),
        "until": filters.until and parameters.stamp(filters.until),
    }
    return {name: value for name, value in said.items() if value}


def _shelf_url(shelf: attention.Shelf, filters: attention.Filters, now: datetime) -> str:
    """Return the address of all runs of a shelf."""
    of_it = msgspec.structs.replace(filters, state=shelf.state, since=shelf.since(filters, now))
    return parameters.url("/agents", _query_of(of_it))


@bp.get("/search")
@needs("read")
def search() -> str:
    """Show what was found across runs, the newest first."""
    asked = {
        "q": parameters.text("q"),
        "workflowNamespace": parameters.text("workflowNamespace"),
        "agentId": parameters.text("agentId"),
        "kind": ",".join(parameters.several("kind")) or None,
    }
    filters = {name: value for name, value in asked.items() if value}
    sought = parameters.terms_of_filter(asked["q"])
    before = parameters.place("before")
    excerpt = _found(sought, before) if sought else None
    instead = meant(asked["q"])
    quotes = [event for event in reversed(excerpt.events) if isinstance(event, Quote)] if excerpt else []
    older = (
        excerpt
        and excerpt.edge
        and parameters.url("/search", {**filters, "before": parameters.place_token(excerpt.edge)})
    )
    return render_template(
        "search.html",
        here="search",
        filters=filters,
        quotes=quotes,
        terms=len(sought),
        around=terms.AROUND,
        sight=excerpt and excerpt.sight,
        older=older,
        paged=before is not None,
        meant=instead["q"] and parameters.url("/search", {**filters, **instead}) if instead else None,
        permalink=render.permalink,
        now=datetime.now(UTC),
        recent=recent_runs(),
        twin=parameters.url("/api/agents/messages", filters) if sought else "/api/agents/runs",
    )


@bp.get("/freshness")
@needs("read")
def fresh() -> Response:
    """Tell how far the ingest is."""
    body = msgspec.json.encode(_reader().ask(freshness))
    return Response(body, mimetype="application/json", headers={"Cache-Control": "no-store"})


def recent_runs() -> list[RunRow]:
    """Return the runs that the side of each page lists."""
    return _reader().runs(limit=RECENT).runs


def _found(terms: tuple[str, ...], before: tuple[datetime, int] | None) -> Excerpt:
    scope = Scope(
        workflow_namespace=parameters.text("workflowNamespace"),
        agent_id=parameters.text("agentId"),
        kinds=parameters.several("kind"),
    )
    archive = cast("Archive", current_app.extensions["archive"])
    return archive.before(Selection(scope, general=True, terms=terms), before, FOUND, patience=1.0)


def _rates(runs: list[RunRow]) -> dict[Key, list[int]]:
    return _reader().ask(lambda connection: attention.rates(connection, runs)) if runs else {}


def _reader() -> Reader:
    return cast("Reader", current_app.extensions["reader"])


def _only(query: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in query.items() if name in names}
