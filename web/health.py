"""Whether the process lives, whether it is of use, and what it measures."""

import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

import msgspec
import psycopg
from flask import Blueprint, Response, current_app
from msgspec import Struct
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

import sql
from connectors.migrations import Migrator
from web.link import Link
from web.live import Hub
from web.metrics import REGISTRY

bp = Blueprint("health", __name__)
# All checks together; whoever asks gets an answer within 2 s.
DEADLINE_S = 1.5


class Finding(Struct, omit_defaults=True):
    """What a check found: `ok`, `failing`, or `waiting` where it has no answer yet; and how long it took."""

    state: str
    seconds: float
    error: str | None = None


class _Attempt:
    def __init__(self, ask: Callable[[], None]) -> None:
        self._ask = ask
        self._began = time.monotonic()
        self._done = threading.Event()
        self._finding: Finding | None = None
        threading.Thread(target=self._run, name="check", daemon=True).start()

    @property
    def is_done(self) -> bool:
        return self._done.is_set()

    def wait(self, timeout: float) -> Finding:
        self._done.wait(max(0.0, timeout))
        return self._finding or Finding("waiting", self._seconds(), "no answer yet")

    def _seconds(self) -> float:
        return round(time.monotonic() - self._began, 4)

    def _run(self) -> None:
        try:
            self._ask()
        except Exception as error:  # whatever it is, it is the answer
            text = " ".join(str(error).split()) or type(error).__name__
            self._finding = Finding("failing", self._seconds(), text)
        else:
            self._finding = Finding("ok", self._seconds())
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

    def begin(self) -> Callable[[float], Finding]:
        """Ask in the background; return what waits for the finding, for so many seconds."""
        with self._lock:
            if self._attempt is None or self._attempt.is_done:
                self._attempt = _Attempt(self._ask)
            return self._attempt.wait


def checks(conninfo: str, link: Link) -> list[Check]:
    """Return what must hold for the web to be of use."""
    return [
        Check("nats", lambda: link.ping(DEADLINE_S)),
        Check("postgres", lambda: _ask_postgres(conninfo)),
        Check("migrations", lambda: _ask_migrations(conninfo)),
    ]


def _ask_postgres(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SELECT 1")


def _ask_migrations(conninfo: str) -> None:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        pending = Migrator(sql.MIGRATIONS, sql.SCHEMA).pending(connection)
    if pending:
        message = f"{len(pending)} to apply, the first is {pending[0].name}: run `agent-comms migrate`"
        raise RuntimeError(message)


@bp.get("/healthz")
def healthz() -> Response:
    """Say that the process answers, whatever it depends on."""
    return _json({"status": "ok"}, HTTPStatus.OK)


@bp.get("/readyz")
def readyz() -> Response:
    """Say of each dependency whether it is there; 503 where one isn't, or where the process is about to end."""
    deadline = time.monotonic() + DEADLINE_S
    begun = [(check.name, check.begin()) for check in cast("list[Check]", current_app.extensions["checks"])]
    findings = {name: wait(deadline - time.monotonic()) for name, wait in begun}
    draining = cast("Hub", current_app.extensions["hub"]).draining
    ready = not draining and all(finding.state == "ok" for finding in findings.values())
    return _json(
        {"ready": ready, "draining": draining, "checks": findings},
        HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE,
    )


@bp.get("/metrics")
def metrics() -> Response:
    """Return the metrics of this process as Prometheus text."""
    return Response(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)


def _json(body: object, status: HTTPStatus) -> Response:
    return Response(
        msgspec.json.encode(body), status, mimetype="application/json", headers={"Cache-Control": "no-store"}
    )
