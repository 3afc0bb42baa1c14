"""The API's live half: messages and runs as server-sent events."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import cast

from flask import Blueprint, Response, current_app, request

from flows.message import CHANNEL_RUN
from web import parameters
from web.door import door, visit
from web.frame import SSE, SSE_WITH_HTML
from web.gate import Gate
from web.history import UNANSWERED, History
from web.live import Hub
from web.peer import Peer
from web.rights import needs
from web.stream import MessageStream, Pace, RunStream, Start, Stream

bp = Blueprint("api", __name__, url_prefix="/api/agents")

MESSAGES = 100
MOST_HISTORY = 1_000_000
SCOPE = ("runId", "channel", "workflowUid", "workflowNamespace", "workflowName", "agentId", "kind")
RESUMED_FROM = "X-Agent-Comms-Resumed-From"
_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@bp.get("/events")
@needs("read")
def events() -> Response:
    """Stream the messages of a run or of the general channel: the newest of what was said, then what is being said."""
    parameters.only(*SCOPE, "include", "limit", "lastEventId", "html")
    scope, run = parameters.scope()
    limit = parameters.limit(MESSAGES, MOST_HISTORY)
    form = SSE_WITH_HTML if parameters.flag("html") else SSE
    return _answer(
        lambda start: MessageStream(_hub(), _history(), _pace(), start, form, scope=scope, run=run, limit=limit)
    )


@bp.get("/runs/events")
@needs("read")
def run_events() -> Response:
    """Stream the runs that change, each with its fragment of the list."""
    parameters.only("workflowNamespace", "lastEventId")
    namespace = parameters.text("workflowNamespace")
    return _answer(lambda start: RunStream(_hub(), _history(), _pace(), start, SSE_WITH_HTML, namespace=namespace))


def _answer(stream: Callable[[Start], Stream]) -> Response:
    if request.method == "HEAD":
        return _response(_start(), iter(()))
    with ExitStack() as inside:
        ticket = cast("Gate", current_app.extensions["gate"]).enter()
        inside.callback(ticket)
        start = _start()
        begun, peer = stream(start), Peer(request.environ)
        ticket.note(lambda: _end_if_left(peer, begun))
        inside.callback(door().watch(visit(), lambda over: begun.sign_out() if over else begun.end()))
        response = _response(start, peer.stream(begun.frames))
        response.call_on_close(inside.pop_all().close)
    return response


def _end_if_left(peer: Peer, stream: Stream) -> bool:
    left = peer.has_left
    if left:
        stream.end()
    return left


def _start() -> Start:
    """Return where the client goes on."""
    cursor, gap = parameters.last_event_id()
    start = Start(cursor, gap)
    if _hub().stale_since is None:
        # Without Postgres the stream finds out when it is back.
        with suppress(*UNANSWERED):
            channel = parameters.choice("channel", parameters.CHANNELS) or CHANNEL_RUN
            return start.settle(channel, _hub(), _history())
    return start


def _response(start: Start, frames: Iterator[bytes]) -> Response:
    response = Response(frames, mimetype="text/event-stream", headers=_STREAM_HEADERS)
    response.headers["Content-Type"] = "text/event-stream"
    if start.cursor is not None:
        response.headers[RESUMED_FROM] = str(start.cursor)
    return response


def _hub() -> Hub:
    return cast("Hub", current_app.extensions["hub"])


def _history() -> History:
    return cast("History", current_app.extensions["history"])


def _pace() -> Pace:
    return cast("Pace", current_app.extensions["pace"])
