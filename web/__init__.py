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
    from web import (
        api,
        conversation,
        door,
        exchange,
        headers,
        health,
        hosts,
        intake,
        metrics,
        openapi,
        ops,
        pages,
        problems,
        reading,
        signin,
        sockets,
        squeeze,
        writing,
    )
    from web.access import check_access
    from web.archive import Archive
    from web.audit import Audit
    from web.completions import Completions
    from web.door import Door
    from web.endings import Endings
    from web.figures import Figures
    from web.gate import Gate
    from web.history import History
    from web.indexer import Indexer
    from web.keeper import Keeper
    from web.lanes import Lanes
    from web.limits import Limit
    from web.link import Link
    from web.live import Hub
    from web.pool import Pool
    from web.queries import Reader
    from web.replays import Replays
    from web.speech import Speech
    from web.stream import Pace

    settings = settings or Settings.from_env()
    check_access(settings)
    stale_after = timedelta(minutes=settings.agent_comms_stale_minutes)
    link = Link(nats_options(settings, "agent-comms-web"))

    # Those who are asked who they are see different rows.
    apart = settings.agent_comms_auth != "none"

    app = Flask(__name__)
    app.extensions["reader"] = reader = Reader(
        conninfo(settings, "agent-comms-web"), stale_after, apart=apart, note=metrics.note_question
    )
    app.extensions["archive"] = Archive(reader)
    app.extensions["indexer"] = Indexer(conninfo(settings, "agent-comms-index"))
    app.extensions["lanes"] = Keeper[Lanes | None]()
    app.extensions["sums"] = Keeper[conversation.Sums](lambda sums: sums.is_kept)
    app.extensions["history"] = History(reader)
    app.extensions["hub"] = hub = Hub(conninfo(settings, "agent-comms-live"), stale_after)
    app.extensions["gate"] = Gate(settings.agent_comms_live_connections)
    app.extensions["link"] = link
    app.extensions["writers"] = writers = Pool(
        conninfo(settings, "agent-comms-write"), WRITERS, apart=apart, writes=True, note=metrics.note_question
    )
    app.extensions["door"] = Door(settings, Endings(writers))
    app.extensions["audit"] = audit = Audit(writers)
    often = Limit(settings.agent_comms_posts_per_minute, "You say too much at once. Come again later.")
    app.extensions["speech"] = Speech(
        link, reader, settings.nats_subject_prefix, settings.agent_comms_max_message_bytes, often, audit
    )
    app.extensions["completions"] = Completions(writers, reader, redactor_of(settings))
    app.extensions["figures"] = figures = Figures(conninfo(settings, "agent-comms-metrics"), stale_after)
    app.extensions["expiries"] = Expiries(settings, lambda: link.server_certificate)
    app.extensions["count"] = health.Check("figures", figures.count)
    app.extensions["replays"] = Replays(
        conninfo(settings, "agent-comms-replay"), settings.agent_comms_max_message_bytes, redactor_of(settings)
    )
    app.extensions["checks"] = health.checks(conninfo(settings, "agent-comms-ready"), link, hub, apart=apart)
    app.extensions["pace"] = Pace(
        heartbeat=settings.agent_comms_heartbeat_seconds, lifetime=MINUTE_S * settings.agent_comms_stream_minutes
    )
    metrics.install(app)
    problems.install(app)
    hosts.install(app, settings)
    door.install(app)
    intake.install(app)
    signin.install(app, settings)
    headers.install(app, settings)
    sockets.install(
        app,
        heartbeat=settings.agent_comms_heartbeat_seconds,
        most_bytes=settings.agent_comms_max_message_bytes,
    )
    squeeze.install(app)
    for blueprint in (
        api.bp, reading.bp, writing.bp, openapi.bp, health.bp, ops.bp, pages.bp, conversation.bp, exchange.bp,
    ):  # fmt: skip
        app.register_blueprint(blueprint)
    return app


def close_app(app: Flask) -> None:
    """End the application's streams and close its connections."""
    for name in ("door", "hub", "indexer", "link", "writers", "figures", "reader"):
        app.extensions[name].close()
