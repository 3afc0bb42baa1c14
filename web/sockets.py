"""`/api/agents/ws`: one socket, many subscriptions, each an exact stream like those of `events`.

What a stream says is written as text frames that are made once for all who watch the
same. Beside the messages, which are the objects that the events carry, everything that
is sent is an object with an `op`.
"""

import base64
import binascii
import itertools
import math
import threading
import time
from contextlib import suppress
from contextvars import copy_context
from http import HTTPStatus
from typing import cast

import msgspec
from flask import Blueprint, Flask, Response, current_app, g, request
from flask_sock import Sock
from simple_websocket import ConnectionClosed, Server
from wsproto.utilities import ProtocolError

from web import operation, sight
from web.door import check_right, door, source, visit
from web.gate import Gate
from web.history import UNANSWERED, History
from web.intake import check_origin
from web.live import Hub
from web.operation import Ping, Publish, Subscribe, Unsubscribe
from web.problems import Problem
from web.rights import needs
from web.speech import Speech
from web.stream import SIGNED_OUT, MessageStream, Pace
from web.wire import Frames, Line, Wire, object_frame

bp = Blueprint("sockets", __name__, url_prefix="/api/agents")
sock = Sock()

MESSAGES = 100
MOST_HISTORY = 1_000_000
MOST_SUBSCRIPTIONS = 100
# A frame may hold a message of the largest size, and what is said beside it.
ROOM_BYTES = 64 * 1024
TICK_S = 20.0
JOIN_S = 3.0
GOING_AWAY = 1001
POLICY_VIOLATION = 1008
SERVICE_RESTART = 1012


def install(app: Flask, *, heartbeat: float, most_bytes: int) -> None:
    """Have an app serve sockets.

    Args:
        app: the application.
        heartbeat: seconds between two pings of a quiet socket.
        most_bytes: of a message that somebody publishes.
    """
    app.config["SOCK_SERVER_OPTIONS"] = {"ping_interval": heartbeat, "max_message_size": most_bytes + ROOM_BYTES}
    app.register_blueprint(bp)


class _Subscription(msgspec.Struct, frozen=True):
    """What is watched, and who follows it."""

    asked: Subscribe
    stream: MessageStream
    thread: threading.Thread


class Session:
    """What a client watches over its socket.

    Args:
        wire: to the client.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._hub = cast("Hub", current_app.extensions["hub"])
        self._history = cast("History", current_app.extensions["history"])
        self._speech = cast("Speech", current_app.extensions["speech"])
        # The socket's life is the subscription's.
        self._pace = msgspec.structs.replace(cast("Pace", current_app.extensions["pace"]), lifetime=math.inf)
        self._person, self._source = visit().person, source()
        self._streams: dict[str, _Subscription] = {}
        self._numbers = itertools.count(1)

    def handle(self, frame: str | bytes) -> None:
        """Do what a frame asks for, or say what is wrong with it."""
        op: str | None = None
        try:
            asked = operation.read(frame)
            op = type(asked).__name__.lower()
            match asked:
                case Subscribe():
                    self._subscribe(asked)
                case Unsubscribe():
                    self._unsubscribe(asked)
                case Publish():
                    self._say("published", message_id=self._publish(asked))
                case Ping():
                    self._say("pong")
        except operation.Unreadable as problem:
            self._say(problem.op, error=problem.error, parameter=problem.parameter)
        except Problem as problem:
            self._say(op, error=problem.error, parameter=problem.parameter)
        except UNANSWERED:
            self._say(op, error="The database doesn't answer at the moment. Try again.", parameter=None)

    def sign_out(self) -> None:
        """End all subscriptions and say why."""
        for watched in [*self._streams.values()]:
            watched.stream.end()
        with suppress(OSError):
            self._say("signed-out", reason=SIGNED_OUT)

    def close(self) -> None:
        """End all subscriptions."""
        streams = [*self._streams.values()]
        for watched in streams:
            watched.stream.end()
        # A writer that is stuck goes on no longer.
        self._wire.cut()
        for watched in streams:
            watched.thread.join(JOIN_S)

    def _subscribe(self, asked: Subscribe) -> None:
        if len(self._streams) >= MOST_SUBSCRIPTIONS:
            message = f"id: a socket has at most {MOST_SUBSCRIPTIONS} subscriptions; unsubscribe, or open another."
            raise Problem(message, "id")
        name = asked.id or next(number for number in map(str, self._numbers) if number not in self._streams)
        if name in self._streams:
            message = f"id: {name!r} is subscribed already."
            raise Problem(message, "id")
        form = Frames(asked.id)
        stream = MessageStream(
            self._hub,
            self._history,
            self._pace,
            asked.start(),
            form,
            scope=asked.scope(),
            run=asked.run or None,
            limit=min(asked.limit or MESSAGES, MOST_HISTORY),
        )
        # It sees what we see.
        follow = copy_context().run
        thread = threading.Thread(target=follow, args=(self._follow, name, stream), name="subscription", daemon=True)
        self._streams[name] = _Subscription(asked, stream, thread)
        thread.start()

    def _publish(self, asked: Publish) -> str:
        check_right(self._person, "speak")
        with sight.seeing(self._person.speak):
            try:
                return self._speech.say(asked.body, self._person, self._source)
            except Problem as problem:
                if asked.by_run and problem.parameter == "run_id":
                    # In the word in which it was written.
                    raise Problem(problem.error.replace("run_id", "run", 1), "run", problem.status) from problem
                raise

    def _unsubscribe(self, asked: Unsubscribe) -> None:
        if asked.id is None and not asked.names_a_place:
            message = "id is missing: name a subscription by its id, or in the words in which it was subscribed."
            raise Problem(message, "id")
        names = [name for name, watched in self._streams.items() if asked.is_of(name, watched.asked)]
        if not names:
            raise _no_subscription(asked)
        for name in names:
            watched = self._streams.pop(name)
            watched.stream.end()
            watched.thread.join(JOIN_S)
            self._say("unsubscribed", subscription=name)

    def _follow(self, name: str, stream: MessageStream) -> None:
        # The socket is gone: its end is everybody's.
        with suppress(OSError):
            cursor = None
            with suppress(*UNANSWERED):
                cursor = stream.settle()
            self._say("subscribed", subscription=name, resumed_from=cursor)
            for piece in stream.frames(Line(self._wire)):
                if piece:
                    self._wire.send(piece)

    def _say(self, op: str | None, **fields: object) -> None:
        self._wire.send(object_frame(op, **fields))


@bp.before_request
def _admit() -> Response | None:
    """Look at the handshake before the socket is one, since then there is no answer any more."""
    check_origin(request)
    if request.headers.get("Sec-WebSocket-Version") != "13":
        message = "Sec-WebSocket-Version: it takes 13."
        headers = {"Sec-WebSocket-Version": "13"}
        raise Problem(message, "Sec-WebSocket-Version", HTTPStatus.UPGRADE_REQUIRED, headers)
    if not _is_key(request.headers.get("Sec-WebSocket-Key", "")):
        message = "Sec-WebSocket-Key: it takes 16 bytes in base64."
        raise Problem(message, "Sec-WebSocket-Key")
    g.leave = cast("Gate", current_app.extensions["gate"]).enter()
    for name in [name for name in request.environ if name.startswith("HTTP_") and name not in _HANDSHAKE]:
        # Compression above all: it would be made anew for each client, and a little of it can swell to much.
        del request.environ[name]
    for server in ("gunicorn.socket", "werkzeug.socket"):
        if server in request.environ:
            g.wire = request.environ[server] = Wire(request.environ[server])
    return None


_HANDSHAKE = (
    "HTTP_HOST",
    "HTTP_CONNECTION",
    "HTTP_UPGRADE",
    "HTTP_SEC_WEBSOCKET_KEY",
    "HTTP_SEC_WEBSOCKET_VERSION",
)


@bp.teardown_request
def _count_out(_: BaseException | None) -> None:
    leave = g.pop("leave", None)
    if leave is not None:
        leave()


@bp.errorhandler(ProtocolError)
def _refuse(error: ProtocolError) -> Response:
    problem = Problem(f"This is no handshake: {error}.")
    return Response(problem.body(), problem.status, mimetype="application/problem+json")


@sock.route("/ws", bp=bp)  # type: ignore[untyped-decorator]
@needs("read")
def serve(ws: Server) -> None:
    """Serve a client until it goes, its time is over, or the process ends."""
    wire = cast("Wire", g.wire)
    wire.waiting = ws.input_buffer.__len__
    hub = cast("Hub", current_app.extensions["hub"])

    def leave(code: int = SERVICE_RESTART, reason: str = "come again") -> None:
        with suppress(ConnectionClosed, OSError):
            ws.close(code, reason)
        ws.event.set()

    pace = cast("Pace", current_app.extensions["pace"])
    deadline = pace.deadline()
    session = Session(wire)

    def turn_out(over: bool) -> None:
        if over:
            session.sign_out()
        leave(POLICY_VIOLATION if over else SERVICE_RESTART, "signed out" if over else "come again")

    # Each in its own thread: a client that doesn't read keeps the others waiting otherwise.
    forget = door().watch(
        visit(), lambda over: threading.Thread(target=turn_out, args=(over,), name="farewell", daemon=True).start()
    )
    try:
        with hub.farewell(leave):
            while ws.thread.is_alive() and not hub.draining and (left := deadline - time.monotonic()) > 0:
                frame = ws.receive(min(left, TICK_S))
                wire.make_room()
                if frame is not None:
                    session.handle(frame)
        leave(SERVICE_RESTART if hub.draining else GOING_AWAY)
    except (ConnectionClosed, OSError):
        pass
    finally:
        forget()
        session.close()


def _no_subscription(asked: Unsubscribe) -> Problem:
    if asked.id is not None:
        where = " in these words" if asked.names_a_place else ""
        return Problem(f"id: there is no subscription {asked.id!r}{where}.", "id")
    run, _ = asked.place
    field = "run" if run else "channel"
    return Problem(f"{field}: nothing is subscribed in these words; name it by its id, or as it was subscribed.", field)


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False
