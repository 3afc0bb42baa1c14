"""Where a flow takes messages from and stores them, in words that hold no secret."""

import os
from urllib.parse import urlsplit

from prometheus_client import Info
from psycopg.conninfo import conninfo_to_dict

from flows import topology
from flows.database import conninfo
from flows.settings import Settings

DEFAULT_PORTS = {"nats": 4222, "tls": 4222, "ws": 80, "wss": 443}


def target_of(settings: Settings) -> dict[str, str]:
    """Return the servers of NATS, the stream and the database that the settings name: by `nats`, `stream`, `database`.

    Raises:
        SettingError: DATABASE_URL can't be read.
        ValueError: NATS_URL can't be read.
    """
    servers = [_server(url.strip()) for url in settings.nats_url.split(",") if url.strip()]
    return {
        "nats": ",".join(sorted(servers)),
        "stream": topology.consumer().stream_name,
        "database": _database(conninfo(settings, "agent-comms-target")),
    }


def told(settings: Settings) -> Info:
    """Return the metric that tells them."""
    info = Info("agent_comms_flow_target", "The servers that messages are taken from and stored in.", registry=None)
    info.info(target_of(settings))
    return info


def _server(url: str) -> str:
    parts = urlsplit(url if "://" in url else f"nats://{url}")
    return f"{parts.hostname}:{parts.port or DEFAULT_PORTS.get(parts.scheme, 4222)}"


def _database(dsn: str) -> str:
    given = conninfo_to_dict(dsn)
    host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST") or "its socket"
    port = given.get("port") or os.environ.get("PGPORT") or "5432"
    name = given.get("dbname") or os.environ.get("PGDATABASE") or "its default"
    return f"{host}:{port}/{name}"
