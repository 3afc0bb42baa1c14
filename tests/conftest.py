"""The fixtures lie in modules that are named for what they give."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from connectors import loopback, server

pytest_plugins = [
    "tests.servers",
    "tests.ingestion",
    "tests.webserver",
    "tests.sight",
    "tests.readers",
    "tests.nginx",
    "tests.artifacts",
    "tests.bucket",
    "tests.secured",
    "tests.rights",
]

# What is loaded is no garbage: nobody needs to look while files are collected, which takes each worker a fifth longer.
gc.disable()

# Examples count, their time doesn't, and a change is judged by the same ones each time.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.load_profile("steady")

# However busy the machine is, a server that starts or ends in order is waited for.
server.START_S = server.STOP_S = 120.0

# Between finding a port free and listening on it somebody else might find it free as well: each worker has its own,
# and what is started as its users start it has those of the product.
WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
# From above 10080, the highest port that Chromium opens no page of.
loopback.PORTS = range(10_081, 20_000)[WORKER::WORKERS]

# A worker takes a file at a time: the long ones go first, or one of them would keep everybody waiting in the end.
LONG = (
    "test_up",
    "test_isolation",
    "test_readers",
    "test_live_faults",
    "test_backfill_command",
    "test_backfill_faults",
    "test_read",
    "test_sockets",
    "test_speech",
    "test_ingest_delivery",
    "test_up_secure",
    "test_observability",
    "test_every_page",
    "test_timeline",
    "test_pages",
    "test_finding",
    "test_window",
    "test_tabs",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long files before short ones, within the order of the folders."""
    folders = list(dict.fromkeys(item.path.parent for item in items))

    def place(path: Path) -> tuple[int, int]:
        return folders.index(path.parent), LONG.index(path.stem) if path.stem in LONG else len(LONG)

    places = {path: place(path) for path in {item.path for item in items}}
    items.sort(key=lambda item: places[item.path])


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Collect garbage again, but never look through what is loaded."""
    gc.freeze()
    gc.enable()
