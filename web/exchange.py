"""`/live`: one connection for all that a browser's tabs watch; each topic is an exact stream with its own cursor.

A topic is the address of one of the API's streams. What is sent of it carries the topic and the cursor that it
leads to, and is made once for all who watch the same.
"""

import queue
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import ExitStack, suppress
from contextvars import copy_context
from typing import cast
from urllib.parse import parse_qsl, urlsplit

import msgspec
from flask import Blueprint, Response, current_app, request

from flows.message import CHANNEL_GENERAL, CHANNEL_RUN
from web import parameters
from web.door import door, visit
from web.frame import SSE_WITH_HTML, Item
from web.gate import Gate
from web.history import History
from web.live import Hub
from web.peer import Peer
from web.problems import Problem
from web.queries import Scope
from web.rights import needs
from web.stream import MessageStream, Pace, RunStream, Start, Stream

bp = Blueprint("exchange", __name__)

MOST_TOPICS = 64
# Of pieces that wait to be sent; then their streams wait, too.
MOST_WAITING = 64
GLANCE_S = 0.5
_MESSAGES = "/api/agents/events"
_RUNS = "/api/agents/runs/events"
_STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

_encode = msgspec.json.Encoder().encode


class Tagged:
    """Server-sent events that say of which topic they are, and which cursor they lead to.

    Args:
        topic: as the client named it.
    """

    def __init__(self, topic: str) -> None:
        self.shared: Hashable = ("topic", topic)
        self._topic = topic
        self._line = topic.encode()

    def item(self, item: Item) -> bytes:
        """Return an event: the cursor and the topic, then the object with its fragment of the page."""
        html = item.html()
        return html and b'data: %d %b\ndata: %b,"html":%b}\n\n' % (item.seq, self._line, item.data[:-1], html)

    def control(self, name: str, cursor: int | None, data: object) -> bytes:
        """Return an event with a name."""
        more = data if isinstance(data, dict) else {}
        told = {**more, "topic": self._topic, "cursor": None if cursor is None else str(cursor)}
        return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode(told))

    def caught_up(self, cursor: int | None) -> bytes:
        """Return an event: who watches the topic has all of it."""
        return self.control("caught-up", cursor, {})

    def beat(self) -> bytes:
        """Return nothing: the connection says for all that it is alive."""
        return b""

    def retry(self, least: float, most: float) -> bytes:  # noqa: ARG002  # as its like
        """Return nothing: the client goes by its own time."""
        return b""


class Outlet(Peer):
    """One stream's part of a connection."""

    def __init__(self, cut: Callable[[], None]) -> None:
        super().__init__({})
        self._cut = cut

    def cut(self) -> None:
        """End the whole connection at once."""
        self._cut()


class Exchange:
    """Several streams on one connection.

    Args:
        streams: what is watched.
        pace: how often the connection says that it is alive.
    """

    def __init__(self, streams: list[Stream], pace: Pace) -> None:
        self._streams = streams
        self._pace = pace
        self._waiting: queue.Queue[bytes | None] = queue.Queue(MOST_WAITING)
        self._ended = threading.Event()
        self._signed_out = False

    def frames(self, peer: Peer) -> Iterator[bytes]:
        """Return the bytes of all streams, as they come, until one of them ends."""
        # They see what we see.
        threads = [
            threading.Thread(
                target=copy_context().run,
                args=(self._follow, stream, Outlet(peer.cut)),
                name="topic",
                daemon=True,
            )
            for stream in self._streams
        ]
        try:
            yield SSE_WITH_HTML.beat()
            for thread in threads:
                thread.start()
            while True:
                try:
                    piece = self._waiting.get(timeout=self._pace.beat)
                except queue.Empty:
                    yield SSE_WITH_HTML.beat()
                    continue
                if piece is None:
                    break
                yield piece
            if not self._signed_out:
                yield b"event: again\ndata: {}\n\n"
        finally:
            self._ended.set()
            self.end()

    def end(self) -> None:
        """End all streams; the client is to come again."""
        for stream in self._streams:
            stream.end()

    def sign_out(self) -> None:
        """End all streams and say why: nobody knows any longer who is at the other end."""
        self._signed_out = True
        for stream in self._streams:
            stream.sign_out()

    def _follow(self, stream: Stream, outlet: Outlet) -> None:
        for piece in stream.frames(outlet):
            if piece and not self._put(piece):
                return
        self._put(None)

    def _put(self, piece: bytes | None) -> bool:
        while not self._ended.is_set():
            with suppress(queue.Full):
                self._waiting.put(piece, timeout=GLANCE_S)
                return True
        return False


@bp.get("/live")
@needs("read")
def live() -> Response:
    """Stream several topics at once; each `watch` is a cursor, a space, and the address of a stream."""
    wishes = request.args.getlist("watch")
    if not 0 < len(wishes) <= MOST_TOPICS:
        message = f"watch is there once for each topic, and at most {MOST_TOPICS} times."
        raise Problem(message, "watch")
    streams = [_stream(*_wish(text)) for text in dict.fromkeys(wishes)]
    with ExitStack() as inside:
        inside.callback(cast("Gate", current_app.extensions["gate"]).enter())
        exchange = Exchange(streams, _pace())
        inside.callback(door().watch(visit(), lambda over: exchange.sign_out() if over else exchange.end()))
        frames = Peer(request.environ).stream(exchange.frames)
        response = Response(frames, mimetype="text/event-stream", headers=_STREAM_HEADERS)
        response.headers["Content-Type"] = "text/event-stream"
        response.call_on_close(inside.pop_all().close)
    return response


def _wish(text: str) -> tuple[int, str]:
    digits, _, topic = text.partition(" ")
    cursor, unknown = parameters.cursor(digits)
    if cursor is None or unknown or len(topic) > 4 * parameters.LONGEST or not topic.isprintable():
        message = "watch is a cursor, a space, and the address of a stream."
        raise Problem(message, "watch")
    return cursor, topic


def _stream(cursor: int, topic: str) -> Stream:
    address = urlsplit(topic)
    query = dict(parse_qsl(address.query))
    hub, history = cast("Hub", current_app.extensions["hub"]), cast("History", current_app.extensions["history"])
    start, form = Start(cursor), Tagged(topic)
    if address.path == _RUNS:
        return RunStream(hub, history, _pace(), start, form, namespace=query.get("workflowNamespace"))
    if address.path != _MESSAGES:
        message = f"watch names {_MESSAGES} or {_RUNS}."
        raise Problem(message, "watch")
    channel = query.get("channel", CHANNEL_RUN)
    scope = Scope(
        channel=channel,
        workflow_namespace=query.get("workflowNamespace"),
        workflow_uid=query.get("workflowUid"),
        agent_id=query.get("agentId"),
        kinds=tuple(filter(None, query.get("kind", "").split(","))),
        general=channel == CHANNEL_RUN and query.get("include") == CHANNEL_GENERAL,
    )
    if channel not in parameters.CHANNELS or (channel == CHANNEL_RUN and scope.key is None):
        message = "watch names a run by workflowNamespace and workflowUid, or channel=general."
        raise Problem(message, "watch")
    if "\0" in topic or "\0" in "".join(query.values()):
        message = "watch holds a NUL, which nothing here does."
        raise Problem(message, "watch")
    run = query.get("runId") if channel == CHANNEL_GENERAL else None
    return MessageStream(hub, history, _pace(), start, form, scope=scope, run=run, limit=1)


def _pace() -> Pace:
    return cast("Pace", current_app.extensions["pace"])
