"""Flask: pages, API, the live hub, and the commands."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from flows.settings import Settings

MINUTE_S = 60
# Connections that write; few do, and not for long.
WRITERS = 2


def create_app(settings: Settings | None = None) -> Flask:
    """Return the application; nothing is connected to before the first request, or `web.live.Hub.start`.

    Args:
        settings: by default, what the environment says.

    Raises:
        SettingError: a setting is wrong, or would show the messages to anybody.
    """
    # Not at the top: the commands live in this package too and shall start promptly, and gunicorn
    # reads its configuration before gevent has patched what these import.
    from flask import Flask

    from flows.database import conninfo
    from flows.expiry import Expiries
    from flows.nats import nats_options
    from flows.redact import redactor_of
    from flows.settings import Settings
    from web import api, headers, health, intake, metrics, openapi, pages, problems, reading, sockets, writing
    from web.access import check_access
    from web.archive import Archive
    from web.completions import Completions
    from web.figures import Figures
    from web.gate import Gate
    from web.history import History
    from web.indexer import Indexer
    from web.link import Link
    from web.live import Hub
    from web.pool import Pool
    from web.queries import Reader
    from web.speech import Speech
    from web.stream import Pace

    settings = settings or Settings.from_env()
    check_access(settings)
    stale_after = timedelta(minutes=settings.agent_comms_stale_minutes)
    link = Link(nats_options(settings, "agent-comms-web"))

    app = Flask(__name__)
    app.extensions["reader"] = reader = Reader(conninfo(settings, "agent-comms-web"), stale_after)
    app.extensions["archive"] = Archive(reader)
    app.extensions["indexer"] = Indexer(conninfo(settings, "agent-comms-index"))
    app.extensions["history"] = History(reader)
    app.extensions["hub"] = hub = Hub(conninfo(settings, "agent-comms-live"), stale_after)
    app.extensions["gate"] = Gate(settings.agent_comms_live_connections)
    app.extensions["link"] = link
    app.extensions["speech"] = Speech(
        link, reader, settings.nats_subject_prefix, settings.agent_comms_max_message_bytes
    )
    completions = Completions(Pool(conninfo(settings, "agent-comms-write"), WRITERS), reader, redactor_of(settings))
    app.extensions["completions"] = completions
    app.extensions["figures"] = figures = Figures(conninfo(settings, "agent-comms-metrics"), stale_after)
    app.extensions["expiries"] = Expiries(settings, lambda: link.server_certificate)
    app.extensions["count"] = health.Check("figures", figures.count)
    app.extensions["checks"] = health.checks(conninfo(settings, "agent-comms-ready"), link, hub)
    app.extensions["pace"] = Pace(
        heartbeat=settings.agent_comms_heartbeat_seconds, lifetime=MINUTE_S * settings.agent_comms_stream_minutes
    )
    metrics.install(app)
    problems.install(app)
    intake.install(app)
    headers.install(app)
    sockets.install(
        app,
        heartbeat=settings.agent_comms_heartbeat_seconds,
        most_bytes=settings.agent_comms_max_message_bytes,
    )
    for blueprint in (api.bp, reading.bp, writing.bp, openapi.bp, health.bp, pages.bp):
        app.register_blueprint(blueprint)
    return app


def close_app(app: Flask) -> None:
    """End the application's streams and close its connections."""
    for name in ("hub", "indexer", "link", "completions", "figures", "reader"):
        app.extensions[name].close()
