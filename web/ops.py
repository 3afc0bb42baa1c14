"""The page for whoever runs all this: how far the ingest is, what could not be stored, what waits for its artifacts."""

from http import HTTPStatus
from typing import cast
from uuid import UUID

import msgspec
import psycopg
from flask import Blueprint, Response, abort, current_app, render_template
from msgspec import Struct
from psycopg import Connection

from flows import backlog
from flows.letters import Letter
from web import parameters, words
from web.audit import Audit
from web.door import person, source
from web.freshness import SILENT_S, Flow, Freshness, flows, judge
from web.pages import recent_runs
from web.previews import Preview, previews
from web.problems import Problem
from web.queries import Reader
from web.replays import Outcome, Replays, letter_of
from web.rights import needs

bp = Blueprint("ops", __name__, url_prefix="/agents/ops")

LETTERS = 25
QUEUE = 50
# How old a flow's word may be to be shown at all.
GONE_S = 3_600.0

REASONS = {
    "not_json": "it is no JSON",
    "no_content": "it says nothing",
    "unknown_subject": "its subject names no workflow",
    "too_large": "it is larger than AGENT_COMMS_MAX_MESSAGE_BYTES",
    "refused_by_postgres": "Postgres refused it",
}


class Trouble(Struct, frozen=True):
    """Something that is wrong, and what to do about it.

    Attributes:
        command: with which that is done, on a shell.
    """

    what: str
    do: str
    command: str = ""


class State(Struct, frozen=True):
    """How everything is."""

    freshness: Freshness
    flows: list[Flow]
    letters: list[Preview]
    more_letters: bool
    queue: dict[str, int]
    waiting: list[backlog.Waiting]

    @property
    def troubles(self) -> list[Trouble]:
        """What is wrong, in plain words, the worst first."""
        found = [*_of_ingest(self.freshness)]
        if self.letters:
            number = f"{len(self.letters)}{'+' if self.more_letters else ''}"
            noun = "message" if number == "1" else "messages"
            found.append(
                Trouble(
                    f"{number} {noun} could not be stored.",
                    "Read why below. Once the cause is gone, replay them; nothing is lost until they are discarded.",
                )
            )
        if failed := self.queue.get("failed", 0):
            found.append(
                Trouble(
                    f"{words.count(failed, 'run')} could not be reconciled with its artifacts."
                    if failed == 1
                    else f"{words.count(failed, 'run')} could not be reconciled with their artifacts.",
                    "See the error below. To queue what was given up again:",
                    "agent-comms reconcile --retry-failed",
                )
            )
        return found


@bp.get("", strict_slashes=False)
@needs("operate")
def show() -> str:
    """Show how everything is."""
    return render_template(
        "ops.html", here="ops", recent=recent_runs(), twin="/api/agents/dead-letters", **_told(), reasons=REASONS
    )


@bp.get("/parts")
@needs("operate")
def parts() -> str:
    """Return what changes of the page, as a fragment."""
    return render_template("_ops.html", **_told(), reasons=REASONS)


@bp.get("/letters/<uuid:identity>")
@needs("operate")
def letter(identity: UUID) -> Response:
    """Return the bytes of a dead letter."""
    found = _letter(identity)
    if found is None:
        abort(HTTPStatus.NOT_FOUND)
    headers = {"Content-Disposition": f'attachment; filename="dead-letter-{identity}"', "Cache-Control": "no-store"}
    return Response(found.payload, mimetype="application/octet-stream", headers=headers)


@bp.post("/letters/<uuid:identity>/replay")
@needs("operate")
def replay(identity: UUID) -> Response:
    """Try a dead letter again."""
    # Whoever asks need not see every letter.
    outcome = _replay(identity) if _letter(identity) else None
    if outcome is None:
        message = "No dead letter with this id waits: it may have been replayed or discarded meanwhile."
        raise Problem(message, "id", HTTPStatus.NOT_FOUND)
    audit = cast("Audit", current_app.extensions["audit"])
    audit.note("replayed-dead-letters", person(), source(), None, str(identity), state=outcome.state)
    return Response(msgspec.json.encode(outcome), mimetype="application/json", headers={"Cache-Control": "no-store"})


def _letter(identity: UUID) -> Letter | None:
    return _reader().ask(lambda connection: letter_of(connection, str(identity)))


def _replay(identity: UUID) -> Outcome | None:
    try:
        return _replays().replay(str(identity))
    except psycopg.errors.InsufficientPrivilege as error:
        message = "The web's database user may not store messages; on a shell: agent-comms dead-letters replay."
        raise Problem(message, None, HTTPStatus.FORBIDDEN) from error


def _told() -> dict[str, object]:
    return {"state": _reader().ask(_state), "silent_s": SILENT_S, "reason_of": parameters.text("reason")}


def _state(connection: Connection) -> State:
    said = flows(connection)
    letters = previews(
        connection,
        reason=parameters.text("reason"),
        subject=None,
        replayed=False,
        since=None,
        until=None,
        before=None,
        limit=LETTERS + 1,
    )
    return State(
        freshness=judge(said),
        flows=[flow for flow in said if flow.seconds_ago < GONE_S],
        letters=letters[:LETTERS],
        more_letters=len(letters) > LETTERS,
        queue=backlog.counts(connection),
        waiting=backlog.waiting(connection, QUEUE),
    )


def _of_ingest(freshness: Freshness) -> list[Trouble]:
    match freshness.state:
        case "down":
            silent = words.span(freshness.silent_seconds or 0)
            return [
                Trouble(
                    f"Nothing is being stored: no flow has said anything for {silent}.",
                    "Messages wait in the stream and are stored once a flow runs:",
                    "python -m bytewax.run flows.ingest",
                )
            ]
        case "behind" if freshness.waiting is None:
            return [
                Trouble(
                    "The flow doesn't reach NATS, so nothing new is stored.",
                    "It tries again by itself; look whether NATS is up, and at NATS_URL.",
                )
            ]
        case "behind":
            waiting = words.count(freshness.waiting or 0, "message")
            oldest = freshness.oldest_seconds
            return [
                Trouble(
                    f"Ingest is {'' if oldest is None else words.span(oldest) + ' '}behind; {waiting} to store.",
                    "It catches up by itself if its rate is higher than what comes; else start another flow.",
                )
            ]
        case "unknown":
            return [
                Trouble(
                    "No flow has ever said how far it is.",
                    "Start one:",
                    "python -m bytewax.run flows.ingest",
                )
            ]
    return []


def _reader() -> Reader:
    return cast("Reader", current_app.extensions["reader"])


def _replays() -> Replays:
    return cast("Replays", current_app.extensions["replays"])
