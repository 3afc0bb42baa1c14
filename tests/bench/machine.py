"""What was measured on, and what."""

import os
import platform
import subprocess
from pathlib import Path

import psycopg

from connectors.embedded import EmbeddedPostgres
from tests.servers import StreamHandle

ROOT = Path(__file__).parents[2]


def describe(stream: StreamHandle, postgres: EmbeddedPostgres) -> dict[str, str]:
    """Return the machine, the versions and the commit, by name."""
    with psycopg.connect(postgres.dsn()) as connection:
        version = connection.info.parameter_status("server_version")
    nats = repr(stream.connection.client.connected_server_version)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": str(os.cpu_count()),
        "model": _model(),
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "Postgres": str(version),
        "nats-server": nats.removeprefix("<nats server v").removesuffix(">"),
        "commit": _commit(),
    }


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _commit() -> str:
    """Return the commit, marked where the tree holds something else; empty outside of a repository."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
