"""The pages: the list of runs, one run, the general channel, one message; and the fragments that scripts ask for."""

from datetime import UTC, datetime
from typing import cast
from urllib.parse import urlencode

from flask import Blueprint, abort, current_app, redirect, render_template, request
from flask.blueprints import BlueprintSetupState
from msgspec import Struct
from werkzeug.wrappers import Response

from flows.message import CHANNEL_GENERAL, Event
from web import parameters, render
from web.archive import Archive
from web.problems import Problem
from web.queries import Place, Reader, RunMatch, RunRow, Scope
from web.rights import needs
from web.selection import Selection

bp = Blueprint("pages", __name__)

PAGE = 200
RUNS = 50
RECENT = 12
STATES = ("running", "stale", "failed", "succeeded", "unknown")

Answer = str | tuple[str, int] | Response


class Room(Struct, frozen=True):
    """A conversation that is shown: which messages, and where its pages and its streams are.

    Attributes:
        scope: the messages.
        path: the page's path; fragments lie below it.
        query: what the page's URL keeps asking for.
        api: parameters that name the conversation to the API.
    """

    scope: Scope
    path: str
    query: dict[str, str]
    api: dict[str, str]

    def url(self, below: str = "", **more: str) -> str:
        """Return the URL of the page, or of a fragment below it."""
        query = urlencode({**self.query, **more})
        return f"{self.path}{below}" + (f"?{query}" if query else "")

    def api_url(self, path: str, **more: str) -> str:
        """Return a URL of the API about this conversation."""
        return f"{path}?{urlencode({**self.api, **more})}"


@bp.record_once
def _install(state: BlueprintSetupState) -> None:
    render.install(state.app.jinja_env)


@bp.get("/")
@needs("read")
def home() -> Response:
    """Lead to the runs."""
    return redirect("/agents")


@bp.get("/agents", strict_slashes=False)
@needs("read")
def agents() -> Answer:
    """Show the runs, the newest activity first."""
    asked = {
        "q": parameters.text("q"),
        "state": parameters.choice("state", STATES),
        "workflowNamespace": parameters.text("workflowNamespace"),
    }
    filters = {name: value for name, value in asked.items() if value}
    before = parameters.run_place("before")
    reader = _reader()
    # Before the runs are read, so that what changes meanwhile is sent rather than missed.
    cursor = reader.head()
    runs = reader.runs(
        q=asked["q"], state=asked["state"], namespace=asked["workflowNamespace"], before=before, limit=RUNS + 1
    )
    older = None
    if len(runs) > RUNS:
        older = _url("/agents", {**filters, "before": parameters.run_token(runs[RUNS - 1])})
    return render_template(
        "agents.html",
        here="agents",
        runs=runs[:RUNS],
        filters=filters,
        states=STATES,
        older=older,
        paged=before is not None,
        now=datetime.now(UTC),
        cursor=cursor,
        stream=_url("/api/agents/runs/events", _only(filters, "workflowNamespace")),
        twin=_url("/api/agents/runs", filters),
    )


@bp.get("/agents/general")
@needs("read")
def general() -> Answer:
    """Show the shared room."""
    return _timeline(_general(), "general.html", here="general")


@bp.get("/agents/<path:run>")
@needs("read")
def run(run: str) -> Answer:
    """Show one run, opened at its newest message."""
    match = _match(run)
    if match.run is None:
        return _missing_run(run)
    return _timeline(_room(match.run), "run.html", here="run", **_about(match))


@bp.get("/agents/general/earlier")
@needs("read")
def general_earlier() -> Answer:
    """Return the messages of the shared room before a place, as a fragment."""
    return _earlier(_general())


@bp.get("/agents/<path:run>/earlier")
@needs("read")
def run_earlier(run: str) -> Answer:
    """Return the messages of a run before a place, as a fragment."""
    return _earlier(_room(_found(run)))


@bp.get("/agents/<path:run>/parts")
@needs("read")
def run_parts(run: str) -> Answer:
    """Return the parts of a run's page that its messages change: the head, the summary, the recent runs."""
    match = _match(run)
    if match.run is None:
        abort(404)
    return render_template("_parts.html", here="run", recent=_recent(), **_about(match))


@bp.get("/agents/general/message/<int:seq>")
@needs("read")
def general_message(seq: int) -> Answer:
    """Show one message of the shared room, whole."""
    return _message(_general(), seq, "General")


@bp.get("/agents/<path:run>/message/<int:seq>")
@needs("read")
def run_message(run: str, seq: int) -> Answer:
    """Show one message of a run, whole."""
    found = _found(run)
    return _message(_room(found), seq, found.workflow_name)


def _timeline(room: Room, template: str, **more: object) -> Answer:
    reader = _reader()
    # Before the messages are read, so that what comes between is sent rather than missed.
    cursor = reader.head()
    before = parameters.place("before")
    events, earlier = _page(room, before)
    return render_template(
        template,
        room=room,
        messages=render.timeline_html(events),
        empty=not events,
        earlier=earlier,
        paged=before is not None,
        cursor=cursor,
        stream=room.api_url("/api/agents/events", html="1"),
        twin=room.api_url("/api/agents/messages"),
        recent=_recent(),
        **{"now": datetime.now(UTC), **more},
    )


def _earlier(room: Room) -> Answer:
    before = parameters.place("before")
    if before is None:
        message = "before is missing: it names the place that is read up to."
        raise Problem(message, "before")
    events, earlier = _page(room, before)
    return render_template("_earlier.html", room=room, messages=render.timeline_html(events), earlier=earlier)


def _message(room: Room, seq: int, name: str) -> Answer:
    event = _reader().message(room.scope, seq) if 0 < seq < 2**63 else None
    if event is None:
        abort(404)
    return render_template(
        "message.html",
        room=room,
        here="general" if room.scope.channel == CHANNEL_GENERAL else "run",
        name=name,
        event=event,
        message=render.message_html(event, whole=True),
        recent=_recent(),
        now=datetime.now(UTC),
        twin=room.api_url("/api/agents/messages"),
    )


def _page(room: Room, before: Place | None) -> tuple[list[Event], str | None]:
    """Return a page of messages, and the place before which more would come."""
    excerpt = cast("Archive", current_app.extensions["archive"]).before(Selection(room.scope), before, PAGE)
    return excerpt.events, excerpt.edge and parameters.place_token(excerpt.edge)


def _about(match: RunMatch) -> dict[str, object]:
    return {"run": match.run, "others": match.others, "now": datetime.now(UTC)}


def _missing_run(name: str) -> Answer:
    asked = {"runId": name, **_only(request.args.to_dict(), "workflowNamespace")}
    page = render_template(
        "missing.html",
        here="run",
        name=name,
        stream=_url("/api/agents/events", {**asked, "html": "1"}),
        recent=_recent(),
        now=datetime.now(UTC),
    )
    return page, 404


def _general() -> Room:
    return Room(Scope(channel=CHANNEL_GENERAL), "/agents/general", {}, {"channel": CHANNEL_GENERAL})


def _room(found: RunRow) -> Room:
    namespace, uid = found.key
    path, _, _ = render.run_url(namespace, uid).partition("?")
    query = {"workflowNamespace": namespace}
    scope = Scope(workflow_namespace=namespace, workflow_uid=uid)
    return Room(scope, path, query, {"workflowNamespace": namespace, "workflowUid": uid})


def _match(name: str) -> RunMatch:
    if len(name) > parameters.LONGEST or "\0" in name:
        return RunMatch(None, [])
    return _reader().run(name, parameters.text("workflowNamespace"))


def _found(name: str) -> RunRow:
    match = _match(name)
    if match.run is None:
        abort(404)
    return match.run


def _recent() -> list[RunRow]:
    return _reader().runs(limit=RECENT)


def _reader() -> Reader:
    return cast(Reader, current_app.extensions["reader"])


def _only(query: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in query.items() if name in names}


def _url(path: str, query: dict[str, str]) -> str:
    return f"{path}?{urlencode(query)}" if query else path
