"""gunicorn -c web/gunicorn.conf.py 'web:create_app()': one process, a greenlet a connection."""

import fcntl
import gc
import logging
import os
import resource
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import gevent
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.http.errors import ExpectationFailed, LimitRequestHeaders, LimitRequestLine, ParseException
from gunicorn.workers.ggevent import GeventWorker

from flows.logs import dress, set_up
from flows.settings import SettingError, Settings
from flows.tracing import Tracing
from web import close_app
from web.access import check_access

_STATUS = {
    LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
}
_TICK_S = 0.1
# How often each process notes how it stands, for whichever of them is asked.
_VITALS_S = 1.0
_METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_METRICS_NAME = "agent-comms-web-metrics-"
_SETTLED_S = 1.0
# Descriptors beside those of live connections: pages, probes, servers, files.
_OTHER_FILES = 500


class Logger(GunicornLogger):  # type: ignore[misc]  # untyped
    """Writes gunicorn's own lines like all others."""

    def setup(self, cfg: Any) -> None:
        """Have its handlers write lines as the settings ask for."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            dress(handler, settings)


class Worker(GeventWorker):  # type: ignore[misc]  # untyped
    """Ends live streams as soon as it is told to stop, and calls what is no HTTP the client's mistake."""

    def load_wsgi(self) -> None:
        """Make the application, or end the server with one line that names the setting."""
        try:
            super().load_wsgi()
        except SettingError as error:
            sys.stderr.write(f"agent-comms: {error}\n")
            sys.exit(Arbiter.APP_LOAD_ERROR)

    def run(self) -> None:
        """Serve until told to stop."""
        set_up(settings)
        self._count_lines()
        extensions = self.wsgi.extensions
        tracing = Tracing.of("agent-comms-web")
        if tracing is not None:
            extensions["link"].depart = tracing.depart
            extensions["hub"].note_handed_out = tracing.delivered
        extensions["hub"].start()
        extensions["indexer"].start()
        extensions["link"].start()
        extensions["door"].start()
        gevent.spawn(self._drain_in_time, extensions["hub"])
        gevent.spawn(self._note_vitals)
        # What was loaded stays, and need not be looked through for cycles again and again: everybody waits meanwhile.
        gc.collect()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)
        super().run()
        close_app(self.wsgi)
        if tracing is not None:
            tracing.close()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what cannot be read as a request; gunicorn's own answers are pages, and sometimes say 5xx."""
        if not isinstance(exc, ParseException):
            super().handle_error(req, client, addr, exc)
            return
        from web.problems import Problem

        status = next((status for kind, status in _STATUS.items() if isinstance(exc, kind)), HTTPStatus.BAD_REQUEST)
        body = Problem(f"This is no request that can be answered: {exc}", None, status).body()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: application/problem+json\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        )
        with suppress(OSError):
            client.settimeout(1)
            client.sendall(head.encode() + body)

    def _count_lines(self) -> None:
        # Not at the top: see `_share_metrics`.
        from flows.exposition import Tally
        from web.metrics import LINES

        logging.getLogger().addHandler(Tally(LINES))

    def _note_vitals(self) -> None:
        from web.health import note_vitals

        while self.alive:
            note_vitals(self.wsgi)
            gevent.sleep(_VITALS_S)

    def _drain_in_time(self, hub: Any) -> None:
        while self.alive:
            gevent.sleep(_TICK_S)
        hub.drain()


def on_starting(server: Arbiter) -> None:
    """Look at where the server listens in the end: the command line may say otherwise than the settings."""
    _check(*(address if isinstance(address, str) else address[0] for address in server.address))


def post_fork(server: Arbiter, _worker: Worker) -> None:
    """Allow as many open connections as the system does."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < settings.agent_comms_live_connections + _OTHER_FILES:
        server.log.warning(
            "AGENT_COMMS_LIVE_CONNECTIONS: %d need more open files than the %d that the system allows",
            settings.agent_comms_live_connections,
            hard,
            extra={"todo": "raise the limit of open files (ulimit -n), or lower the setting"},
        )


def child_exit(_server: Arbiter, worker: Worker) -> None:
    """Have a process that is gone no longer count among the live ones; what it has counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(_server: Arbiter) -> None:
    """Remove what the processes have counted, unless somebody has said where to keep it."""
    folder = Path(os.environ[_METRICS_FOLDER])
    if folder.name.startswith(_METRICS_NAME):
        shutil.rmtree(folder, ignore_errors=True)


def _share_metrics() -> None:
    """Have the workers keep their figures where all of them can read them: before anything of the library is imported.

    In memory where the system has such a folder.
    """
    if _METRICS_FOLDER not in os.environ:
        memory = "/dev/shm"  # noqa: S108  # the folder in it gets a name that nobody can guess
        parent = memory if os.access(memory, os.W_OK) else None
        try:
            _sweep(Path(parent or tempfile.gettempdir()))
            folder = tempfile.mkdtemp(prefix=_METRICS_NAME, dir=parent)
            _hold(folder)
            os.environ[_METRICS_FOLDER] = folder
        except OSError as error:
            sys.exit(
                f"agent-comms: TMPDIR: there is no folder that temporary files can be written to: {error.strerror}"
            )


def _hold(folder: str) -> None:
    """Keep a folder for as long as any of our processes is there: they inherit the lock, whoever is killed."""
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(held, True)
    fcntl.flock(held, fcntl.LOCK_EX)


def _sweep(parent: Path) -> None:
    """Remove the folders of servers that were killed: nobody holds those."""
    for folder in parent.glob(f"{_METRICS_NAME}*"):
        with suppress(OSError):
            taken = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                # One that was made a moment ago may not be held yet.
                if time.time() - os.fstat(taken).st_ctime > _SETTLED_S:
                    fcntl.flock(taken, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(taken)


def _check(*addresses: str) -> Settings:
    try:
        found = Settings.from_env()
        check_access(found, *addresses)
    except SettingError as error:
        sys.exit(f"agent-comms: {error}")
    return found


settings = _check()
_share_metrics()
_host = f"[{settings.agent_comms_host}]" if ":" in settings.agent_comms_host else settings.agent_comms_host

bind = f"{_host}:{settings.agent_comms_port}"
worker_class = Worker
# Beside the live ones there is room for pages and probes, or a full house could not say that it is full.
worker_connections = settings.agent_comms_live_connections + 2_000
keepalive = 5
# Within 10 s of SIGTERM the process is gone, whoever holds a connection.
graceful_timeout = 7
limit_request_line = 8_190
accesslog = None
logger_class = Logger
loglevel = settings.agent_comms_log_level
# Instances on one machine would share it.
control_socket_disable = True
proc_name = "agent-comms-web"
