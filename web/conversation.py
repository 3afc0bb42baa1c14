"""The pages of conversations, a run's and the general channel's, and the fragments that their scripts ask for."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import cast

import msgspec
from flask import Blueprint, Response, abort, current_app, render_template
from msgspec import Struct
from psycopg import Connection

from flows.message import CHANNEL_GENERAL, Event
from web import account, changes, parameters, render, tools
from web.archive import Archive
from web.door import person
from web.keeper import Keeper
from web.lanes import Lanes, read_lanes
from web.meant import meant
from web.pages import recent_runs
from web.problems import Problem
from web.queries import Place, Reader, RunMatch, RunRow, Scope
from web.rights import needs
from web.room import GENERAL, KINDS, Filters, Room, general_room, general_url, run_room
from web.selection import Selection
from web.speech import Speech

bp = Blueprint("conversation", __name__)

# So many messages are on a page, and in what its script loads at an end of it: more than a screen, soon drawn.
PAGE = 60
# On either side of a message that a link leads to.
AROUND = 60
# Of what a run comes to no more characters are kept.
MOST_KEPT = 256 * 1024
# Of kinds that only some run knows no more are to choose from.
MOST_KINDS = 40
# What of a page's filters its stream knows; the rest its script goes by.
_OF_STREAM = ("agentId", "kind", "include")

Answer = str | tuple[str, int] | Response


class Sums(Struct, frozen=True):
    """What a run comes to."""

    account: account.Account
    tools: list[tools.ToolTime]
    changes: changes.Changes

    @property
    def is_kept(self) -> bool:
        """Whether it is little enough to be kept."""
        return self.changes.size <= MOST_KEPT


class Window(Struct, frozen=True):
    """Some messages that stand together, and the cursors of what is before and behind; None where nothing is."""

    events: list[Event]
    earlier: str | None
    later: str | None
    # The message that is looked at.
    sought: int | None = None
    # Whether one was to be looked at that isn't here: the newest are shown in its stead.
    lost: bool = False


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


@bp.get("/agents/general/messages")
@needs("read")
def general_messages() -> Answer:
    """Return some messages of the shared room, as a fragment."""
    return _fragment(_general())


@bp.get("/agents/<path:run>/messages")
@needs("read")
def run_messages(run: str) -> Answer:
    """Return some messages of a run, as a fragment."""
    return _fragment(_room(_found(run)))


@bp.get("/agents/general/next")
@needs("read")
def general_next() -> Answer:
    """Return where the next message of the shared room is that is filtered for."""
    return _next(_general())


@bp.get("/agents/<path:run>/next")
@needs("read")
def run_next(run: str) -> Answer:
    """Return where the next message of a run is that is filtered for."""
    return _next(_room(_found(run)))


@bp.get("/agents/<path:run>/parts")
@needs("read")
def run_parts(run: str) -> Answer:
    """Return the parts of a run's page that its messages change: the head, the summary, the recent runs."""
    match = _match(run)
    if match.run is None:
        abort(404)
    room = _room(match.run)
    # What was committed up to here is counted, but for what came in between.
    cursor = _reader().head()
    return render_template("_parts.html", here="run", room=room, cursor=cursor, recent=recent_runs(), **_about(match))


@bp.get("/agents/<path:run>/lanes")
@needs("read")
def run_lanes(run: str) -> Answer:
    """Return a run over time, as a fragment."""
    found = _found(run)
    return render_template("_lanes.html", room=_room(found), run=found, lanes=_lanes(found))


@bp.get("/agents/<path:run>/account")
@needs("read")
def run_account(run: str) -> Answer:
    """Return what a run comes to, as a fragment: where its time went, what it changed, its tokens and sources."""
    found = _found(run)
    return render_template("_account.html", room=_room(found), run=found, **_account(found))


@bp.get("/agents/<path:run>/changes")
@needs("read")
def run_changes(run: str) -> Answer:
    """Show what a run has changed, file by file, and what it comes to."""
    found = _found(run)
    room = _room(found)
    return render_template(
        "changes.html",
        here="run",
        room=room,
        run=found,
        permalink=render.permalink,
        recent=recent_runs(),
        now=datetime.now(UTC),
        twin=room.api_url("/api/agents/messages"),
        **_account(found),
    )


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


@bp.get("/agents/general/message/<int:seq>/<form>")
@needs("read")
def general_message_as(seq: int, form: str) -> Answer:
    """Return one message of the shared room: `whole`, as a fragment, or `raw`, as its bytes."""
    return _message_as(_general(), seq, form)


@bp.get("/agents/<path:run>/message/<int:seq>/<form>")
@needs("read")
def run_message_as(run: str, seq: int, form: str) -> Answer:
    """Return one message of a run: `whole`, as a fragment, or `raw`, as its bytes."""
    return _message_as(_room(_found(run)), seq, form)


def _timeline(room: Room, template: str, **more: object) -> Answer:
    reader = _reader()
    # Before the messages are read, so that what comes between is sent rather than missed.
    cursor = reader.head()
    window = _window(room)
    now = datetime.now(UTC)
    terms = room.selection.terms
    filters = room.filters
    ended = filters.until is not None and filters.until <= now
    only = {name: value for name, value in filters.query.items() if name in _OF_STREAM}
    return render_template(
        template,
        room=room,
        kinds=_kinds(event.kind for event in window.events),
        window=window,
        messages=render.timeline_html(window.events, terms),
        empty=not window.events,
        meant=_meant(room),
        ended=ended,
        may_speak=_may_speak(room.scope.workflow_namespace),
        most_bytes=cast("Speech", current_app.extensions["speech"]).max_bytes,
        cursor=cursor,
        stream=_stream(room, only),
        terms=json.dumps([term.lower() for term in terms]),
        twin=room.api_url("/api/agents/messages"),
        recent=recent_runs(),
        **{"now": now, **more},
    )


def _kinds(found: Iterable[str]) -> list[str]:
    """Return the kinds to choose from: those that every run may have, then what else was found."""
    # Of several in an address the comma parts them.
    others = sorted({kind for kind in found if "," not in kind} - set(KINDS))
    return [*KINDS, *others[:MOST_KINDS]]


def _meant(room: Room) -> str | None:
    """Return where the filters are on that the words of the search name; None where they name none that is here."""
    instead = {name: value for name, value in meant(room.filters.q).items() if name != "workflowNamespace"}
    if not instead.keys() - {"q"}:
        return None
    query = {**room.names, **room.filters.query, **instead}
    return parameters.url(room.path, {name: value for name, value in query.items() if value})


def _fragment(room: Room) -> Answer:
    window = _window(room)
    return render_template(
        "_window.html",
        room=room,
        window=window,
        messages=render.timeline_html(window.events, room.selection.terms),
    )


def _next(room: Room) -> Answer:
    """Return the place of the next message after one, or before one, that the filters let through."""
    after, before = parameters.place("after"), parameters.place("before")
    if (after is None) == (before is None):
        message = "after is missing, or before: one of them names where to look from."
        raise Problem(message, "after")
    read = _archive().after if after else _archive().before
    excerpt = read(room.selection, after or before, 1, patience=2.0)
    found = excerpt.events[0].seq if excerpt.events else None
    body = json.dumps({"seq": found, "more": excerpt.edge is not None})
    return Response(body, mimetype="application/json", headers={"Cache-Control": "no-store"})


def _message(room: Room, seq: int, name: str) -> Answer:
    event = _event(room, seq)
    return render_template(
        "message.html",
        room=room,
        here="general" if room.scope.channel == CHANNEL_GENERAL else "run",
        name=name,
        event=event,
        message=render.message_html(event, whole=True),
        raw_url=room.bare_url(f"/message/{seq}/raw"),
        permalink=render.permalink(event),
        recent=recent_runs(),
        now=datetime.now(UTC),
        twin=room.api_url("/api/agents/messages"),
    )


def _message_as(room: Room, seq: int, form: str) -> Answer:
    event = _event(room, seq)
    if form == "whole":
        return render.message_html(event, whole=True, terms=parameters.terms_of_filter(parameters.text("q")))
    if form != "raw":
        abort(404)
    body = render.raw(event)
    return Response(body.encode("utf-8", "replace"), mimetype="text/plain", headers={"Cache-Control": "no-store"})


def _event(room: Room, seq: int) -> Event:
    event = _reader().message(room.scope, seq) if 0 < seq < 2**63 else None
    if event is None:
        abort(404)
    return event


def _window(room: Room) -> Window:
    """Return the messages that the request asks for: the newest, or those before, after or around a place."""
    archive, selection = _archive(), room.selection
    before, after = parameters.place("before"), parameters.place("after")
    at, when = parameters.number("at"), parameters.moment("when")
    if sum(value is not None for value in (before, after, at, when)) > 1:
        message = "before, after, at and when exclude each other."
        raise Problem(message, "before")
    if after:
        excerpt = archive.after(selection, after, PAGE)
        # Whoever goes to the beginning has nothing before it.
        earlier = excerpt.first or (after[0], after[1] + 1) if after[0].year > 1 else None
        return Window(excerpt.events, _token(earlier), _token(excerpt.edge))
    place: Place | None = None
    lost = False
    if at is not None:
        sought = _reader().message(room.scope, at) if 0 < at < 2**63 else None
        place = (sought.timestamp, sought.seq + 1) if sought else None
        lost = sought is None
        at = sought.seq if sought else None
    elif when is not None:
        place = (when, 0)
    if place is None:
        excerpt = archive.before(selection, before, PAGE)
        # Whoever came from later messages may go back there.
        return Window(excerpt.events, _token(excerpt.edge), _token(before and (before[0], before[1] - 1)), lost=lost)
    above = archive.before(selection, place, AROUND)
    below = archive.after(selection, (place[0], place[1] - 1), AROUND)
    return Window([*above.events, *below.events], _token(above.edge), _token(below.edge), at)


def _token(place: Place | None) -> str | None:
    return place and parameters.place_token(place)


def _about(match: RunMatch) -> dict[str, object]:
    return {"run": match.run, "others": match.others, "now": datetime.now(UTC)}


def _account(run: RunRow) -> dict[str, object]:
    keeper = cast("Keeper[Sums]", current_app.extensions["sums"])

    def read(connection: Connection) -> dict[str, object]:
        sums = keeper.get(
            run,
            lambda: Sums(
                account.account_of(connection, run),
                tools.tools_of(connection, run),
                changes.changes_of(connection, run),
            ),
        )
        # It goes on though the run says nothing any more.
        now = account.reconciliation_of(connection, run)
        return {
            "account": msgspec.structs.replace(sums.account, reconciliation=now),
            "kinds": _kinds(voice.kind for voice in sums.account.voices),
            "tools": sums.tools,
            "changes": sums.changes,
        }

    return _reader().ask(read)


def _lanes(run: RunRow) -> Lanes | None:
    keeper = cast("Keeper[Lanes | None]", current_app.extensions["lanes"])
    return _reader().ask(lambda connection: keeper.get(run, lambda: read_lanes(connection, run)))


def _missing_run(name: str) -> Answer:
    asked = {key: said for key in ("workflowNamespace", "workflowUid") if (said := parameters.text(key))}
    if "workflowUid" not in asked:
        asked["runId"] = name
    page = render_template(
        "missing.html",
        here="run",
        name=name,
        claimed=_claimed_url(asked.get("workflowUid", name), asked.get("workflowNamespace")),
        stream=parameters.url("/api/agents/events", {**asked, "html": "1"}),
        recent=recent_runs(),
        now=datetime.now(UTC),
    )
    return page, HTTPStatus.NOT_FOUND


def _claimed_url(run: str, namespace: str | None) -> str | None:
    """Return where it is shown what the shared room says under the name of a run; None where it says nothing."""
    if not parameters.is_name(run):
        return None
    said = _archive().before(Selection(_in_general(run, namespace)), None, 1)
    return general_url(run, namespace) if said.events else None


def _may_speak(namespace: str | None) -> bool:
    where = person().speak
    return bool(where.namespaces) if namespace is None else namespace in where


def _stream(room: Room, only: dict[str, str]) -> str:
    return parameters.url("/api/agents/events", {**room.api, **only, "html": "1"})


def _general() -> Room:
    filters = Filters.asked(in_run=False)
    run, namespace = parameters.text("runId"), parameters.text("workflowNamespace")
    if run is None:
        return general_room(filters)
    names = {"runId": run, **({"workflowNamespace": namespace} if namespace else {})}
    return general_room(filters, _in_general(run, namespace), names)


def _in_general(run: str, namespace: str | None) -> Scope:
    """Return what is said in the shared room under a run's name."""
    scope = msgspec.structs.replace(GENERAL, workflow_namespace=namespace)
    # In a namespace that isn't to be read nothing is, under whatever name.
    return _reader().resolve(scope, run) or scope


def _room(found: RunRow) -> Room:
    return run_room(found, Filters.asked(in_run=True))


def _match(name: str) -> RunMatch:
    # Our own links name the workflow: a run id is only what a run calls itself, which may be another run's name.
    namespace, uid = parameters.text("workflowNamespace"), parameters.text("workflowUid")
    if not parameters.is_name(uid or name):
        return RunMatch(None, [])
    return _reader().run(name, namespace) if uid is None else _reader().run_of_uid(uid, namespace)


def _found(name: str) -> RunRow:
    match = _match(name)
    if match.run is None:
        abort(404)
    return match.run


def _reader() -> Reader:
    return cast("Reader", current_app.extensions["reader"])


def _archive() -> Archive:
    return cast("Archive", current_app.extensions["archive"])
