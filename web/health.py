"""Whether the process lives, whether it is of use, and what it measures."""

import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

import msgspec
from flask import Blueprint, Flask, Response, current_app, request
from msgspec import Struct

from flows.expiry import Expiries
from flows.schema import lacking
from web.figures import Figures
from web.link import Link
from web.live import Hub
from web.metrics import CONNECTED_TO, QUEUED, exposition
from web.pool import Connection
from web.reach import check_apart
from web.rights import needs

bp = Blueprint("health", __name__)
# All checks together; whoever asks gets an answer within 2 s.
DEADLINE_S = 1.5
# A scrape of the metrics waits no longer for what Postgres has to count.
COUNT_S = 0.5


class Finding(Struct, omit_defaults=True):
    """What a check found.

    Attributes:
        state: `ok`, `failing`, or `waiting` where there is no answer yet.
        seconds: how long it took.
        age: how many seconds ago the dependency was last seen to work; null where it never was.
        error: what is wrong, for a person.
    """

    state: str
    seconds: float
    age: float | None
    error: str | None = None


class _Attempt:
    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._began = time.monotonic()
        self._done = threading.Event()
        self._error: str | None = None
        self.seconds: float | None = None
        threading.Thread(target=self._run, name="check", daemon=True).start()

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    def wait(self, timeout: float) -> tuple[str, float, str | None]:
        """Return the state, how long it took, and what is wrong."""
        self._done.wait(max(0.0, timeout))
        if self.seconds is None:
            return "waiting", time.monotonic() - self._began, "no answer yet"
        return "ok" if self._error is None else "failing", self.seconds, self._error

    def _run(self) -> None:
        try:
            self._ask()
        except Exception as error:  # whatever it is, it is the answer
            self._error = " ".join(str(error).split()) or type(error).__name__
        self.seconds = time.monotonic() - self._began
        self._done.set()


class Check:
    """A question to a dependency; only one is under way at a time, however often it is asked.

    Args:
        name: the dependency's.
        ask: raises where it isn't as it should be.
    """

    def __init__(self, name: str, ask: Callable[[], None]) -> None:
        self.name = name
        self._ask = ask
        self._lock = threading.Lock()
        self._attempt: _Attempt | None = None
        self._worked_at: float | None = None

    def begin(self) -> Callable[[float], Finding]:
        """Ask in the background; return what waits for the finding, for so many seconds."""
        with self._lock:
            attempt = self._attempt
            if attempt is None or attempt.is_done:
                attempt = self._attempt = _Attempt(self._ask)
        return lambda timeout: self._find(attempt, timeout)

    def _find(self, attempt: _Attempt, timeout: float) -> Finding:
        state, seconds, error = attempt.wait(timeout)
        now = time.monotonic()
        if state == "ok":
            self._worked_at = now
        age = None if self._worked_at is None else round(now - self._worked_at, 3)
        return Finding(state, round(seconds, 4), age, error)


def checks(conninfo: str, link: Link, hub: Hub, *, apart: bool) -> list[Check]:
    """Return what must hold for the web to be of use; `apart` is whether those who ask are to see different rows."""
    return [
        Check("nats", lambda: link.ping(DEADLINE_S)),
        Check("live", lambda: _ask_hub(hub)),
        Check("postgres", lambda: _ask_postgres(conninfo)),
        Check("migrations", lambda: _ask_migrations(conninfo)),
        *([Check("readers", lambda: _ask_apart(conninfo))] if apart else []),
    ]


def note_vitals(app: Flask) -> None:
    """Note how this process stands, where that is no event that could be counted."""
    link, hub = cast("Link", app.extensions["link"]), cast("Hub", app.extensions["hub"])
    CONNECTED_TO.labels("nats").set(link.is_connected)
    CONNECTED_TO.labels("postgres").set(hub.stale_since is None)
    QUEUED.set(hub.queued)


def _ask_hub(hub: Hub) -> None:
    if hub.stale_since is not None:
        message = f"nothing was heard of Postgres since {hub.stale_since:%H:%M:%S} UTC"
        raise RuntimeError(message)


def _ask_postgres(conninfo: str) -> None:
    with Connection.open(conninfo) as connection:
        connection.execute("SELECT 1")


def _ask_migrations(conninfo: str) -> None:
    with Connection.open(conninfo) as connection:
        wrong = lacking(connection)
    if wrong:
        raise RuntimeError(wrong)


def _ask_apart(conninfo: str) -> None:
    with Connection.open(conninfo) as connection:
        check_apart(connection)


@bp.get("/healthz")
@needs("open")
def healthz() -> Response:
    """Say that the process answers, whatever it depends on."""
    return _json({"status": "ok"}, HTTPStatus.OK)


@bp.get("/readyz")
@needs("open")
def readyz() -> Response:
    """Say of each dependency whether it is there; 503 where one isn't, or where the process is about to end."""
    draining = cast("Hub", current_app.extensions["hub"]).draining
    # Who is about to end doesn't ask first.
    deadline = time.monotonic() + (0.0 if draining else DEADLINE_S)
    begun = [(check.name, check.begin()) for check in cast("list[Check]", current_app.extensions["checks"])]
    findings = {name: wait(deadline - time.monotonic()) for name, wait in begun}
    ready = not draining and all(finding.state == "ok" for finding in findings.values())
    return _json(
        {"ready": ready, "draining": draining, "checks": findings},
        HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE,
    )


@bp.get("/metrics")
@needs("operate")
def metrics() -> Response:
    """Return the metrics of all of the web's processes as Prometheus or OpenMetrics text."""
    note_vitals(current_app)
    figures = cast("Figures", current_app.extensions["figures"])
    counted = cast("Check", current_app.extensions["count"]).begin()(COUNT_S).state == "ok"
    more = [*cast("Expiries", current_app.extensions["expiries"]).collect(), *(figures.collect() if counted else ())]
    body, content_type = exposition(request.headers.get("Accept", ""), more)
    return Response(body, content_type=content_type)


def _json(body: object, status: HTTPStatus) -> Response:
    return Response(
        msgspec.json.encode(body), status, mimetype="application/json", headers={"Cache-Control": "no-store"}
    )
