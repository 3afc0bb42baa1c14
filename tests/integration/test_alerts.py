"""What alerts say of a real flow and web, by a real Prometheus: false while all is well, then true, then false again.

The rules are those of gitops/observability, in which a minute is made 0.4 s and a lag counts from 2 s on; nothing else
is changed. The exporter of NATS is a stand-in (see tests/prometheus.py).
"""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

import pytest

from connectors.embedded import EmbeddedNats
from connectors.loopback import HOST, free_port
from gitops.observability import generate
from tests.ingestion import Ingest, holding, payload, subject
from tests.prometheus import Prometheus, exporter, require
from tests.servers import PostgresServer, StreamHandle, fresh_database, fresh_stream
from tests.waiting import wait_until
from tests.watcher import Watcher
from tests.webserver import WebServer

MINUTE_MS = 400
RULES = generate.RULES.read_text(encoding="utf-8")
UNITS = {"m": 1, "h": 60}


def quick(rules: str) -> str:
    """Return rules that take a minute for 0.4 s, and fire at once."""

    def shorter(found: re.Match[str]) -> str:
        return f"{found[1]}{int(found[2]) * UNITS[found[3]] * MINUTE_MS}ms"

    rules = re.sub(r"(\[|offset )(\d+)([mh])\b", shorter, rules)
    rules = re.sub(r"for: \d+[mh]", "for: 250ms", rules)
    return rules.replace("agent_comms:oldest_unstored_seconds:max > 60", "agent_comms:oldest_unstored_seconds:max > 2")


class Load(threading.Thread):
    """Says something every 20 ms; each time something else, unless told what."""

    def __init__(self, stream: StreamHandle, said: bytes | None = None) -> None:
        super().__init__()
        self._stream = stream
        self._said = said
        self._over = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._over.wait(0.02):
            self._stream.publish(subject(), payload(number) if self._said is None else self._said)
            number += 1

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


@dataclass
class Scene:
    stream: StreamHandle
    postgres: PostgresServer
    database: str
    flow: Ingest
    web: WebServer
    prometheus: Prometheus

    def sees(self, *alerts: str) -> None:
        wait_until(lambda: self._missing(alerts) == set(), f"{alerts} to fire")

    def _missing(self, alerts: tuple[str, ...]) -> set[str]:
        return {*alerts} - self.prometheus.firing()

    def is_calm(self) -> None:
        """Wait until nothing fires, though messages come and are stored."""
        rate = "agent_comms:settled_messages:rate5m > 10"
        wait_until(lambda: not self.prometheus.firing() and self.prometheus.holds(rate), "all to be calm")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, postgres_server: PostgresServer) -> Iterator[Scene]:
    require("prometheus")
    folder = tmp_path_factory.mktemp("alerts")
    monitor, metrics = free_port(), free_port()
    with ExitStack() as ends:
        nats = ends.enter_context(EmbeddedNats(folder / "nats", settings=f'http: "{HOST}:{monitor}"'))
        stream = ends.enter_context(fresh_stream(nats))
        database = ends.enter_context(fresh_database(postgres_server))
        flow = Ingest(stream, database, folder / "ingest.log", AGENT_COMMS_METRICS_PORT=str(metrics))
        ends.enter_context(flow)
        web = ends.enter_context(WebServer(folder / "web", {"DATABASE_URL": database, "NATS_URL": nats.url}))
        rules = folder / "rules.yaml"
        rules.write_text(quick(RULES), encoding="utf-8")
        targets = {
            "agent-comms-ingest": metrics,
            "agent-comms-web": web.port,
            "nats": ends.enter_context(exporter(monitor)),
        }
        prometheus = ends.enter_context(Prometheus(folder / "prometheus", targets, rules))
        ends.enter_context(Load(stream))
        ends.enter_context(Watcher(web.url, runId="run-0"))
        yield Scene(stream, postgres_server, database, flow, web, prometheus)


def expressions(alert: str) -> str:
    (found,) = re.findall(rf"- alert: {alert}\n\s+expr: (?:>-\s+)?(.*?)\n\s+(?:for|labels):", quick(RULES), re.DOTALL)
    return " ".join(found.split())


def becomes(scene: Scene, alert: str) -> Callable[[bool], None]:
    """Return what waits until the alert's own expression is true, or false."""
    expression = expressions(alert)
    return lambda wanted: wait_until(
        lambda: scene.prometheus.holds(expression) is wanted, f"{alert} to be {wanted}: {expression}"
    )


def test_all_that_the_exporter_and_the_programs_tell_arrives_and_nothing_fires(scene: Scene) -> None:
    scene.is_calm()
    for expression in (
        "agent_comms:backlog_messages:max >= 0",
        "agent_comms:stream_limit_bytes:max > 0",
        "agent_comms:stream_messages:max > 0",
        "agent_comms:publish_to_row_seconds:p99 < 10",
        "agent_comms:row_to_client_seconds:p99 < 10",
        "agent_comms_live_subscribers == 1",
        'agent_comms_running_runs{activity="talking"} == 1',
    ):
        wait_until(lambda: scene.prometheus.holds(expression), expression)  # noqa: B023


def test_a_flow_that_stops_is_seen_by_what_waits_and_by_its_silence(scene: Scene) -> None:
    scene.is_calm()
    stalled, down = becomes(scene, "AgentCommsIngestStalled"), becomes(scene, "AgentCommsTargetDown")
    stalled(False)
    down(False)
    assert scene.flow.stop() == 0
    down(True)
    stalled(True)
    scene.sees("AgentCommsIngestStalled", "AgentCommsTargetDown")
    scene.flow.start()
    stalled(False)
    down(False)
    scene.is_calm()


def test_dead_letters_are_seen_and_pass(scene: Scene) -> None:
    scene.is_calm()
    letters = becomes(scene, "AgentCommsDeadLetters")
    letters(False)
    with Load(scene.stream, b"not json"):
        letters(True)
        scene.sees("AgentCommsDeadLetters")
    letters(False)
    scene.is_calm()


def test_a_postgres_that_is_held_is_seen_as_lag(scene: Scene) -> None:
    scene.is_calm()
    lag, stalled = becomes(scene, "AgentCommsLag"), becomes(scene, "AgentCommsIngestStalled")
    lag(False)
    with holding(scene.database, "LOCK workflow_comms.agent_messages IN EXCLUSIVE MODE"):
        lag(True)
        stalled(True)
        scene.sees("AgentCommsLag", "AgentCommsIngestStalled")
    lag(False)
    stalled(False)
    scene.is_calm()


def test_a_flow_that_is_cut_from_postgres_is_seen_to_fail(scene: Scene) -> None:
    scene.is_calm()
    failing, disconnected = becomes(scene, "AgentCommsStoreFailing"), becomes(scene, "AgentCommsDisconnected")
    failing(False)
    disconnected(False)
    name = scene.database.rpartition("/")[2]
    with holding(scene.postgres.dsn(), "SELECT 1") as operator:
        operator.rollback()
        operator.autocommit = True
        operator.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0".encode())
        operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        operator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            failing(True)
            disconnected(True)
            scene.sees("AgentCommsStoreFailing", "AgentCommsDisconnected")
        finally:
            operator.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
            operator.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1".encode())
    failing(False)
    disconnected(False)
    scene.is_calm()


def test_a_web_that_is_no_longer_scraped_is_no_peace(scene: Scene) -> None:
    scene.is_calm()
    absent = becomes(scene, "AgentCommsMetricsAbsent")
    absent(False)
    scene.web.stop()
    absent(True)
    scene.sees("AgentCommsMetricsAbsent")
    scene.web.start()
    absent(False)
    scene.is_calm()
