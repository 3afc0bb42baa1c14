"""What those who come and go tell Prometheus, where a port is set: publishers and backfills."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.loopback import free_port
from tests.ingestion import ROOT
from tests.scrape import metric, open_metrics
from tests.servers import NatsServer, StreamHandle, fresh_stream
from tests.waiting import wait_until


@pytest.fixture
def own_stream(own_nats_server: NatsServer) -> Iterator[StreamHandle]:
    with fresh_stream(own_nats_server) as handle:
        yield handle


def test_a_sidecar_tells_what_waits_and_what_is_published(own_stream: StreamHandle, tmp_path: Path) -> None:
    stream = own_stream
    port, log = free_port(), tmp_path / "agent.log"
    log.write_text("one\ntwo\n")
    environ = {
        "NATS_URL": stream.url,
        "WORKFLOW_NAME": "run-1",
        "AGENT_COMMS_METRICS_PORT": str(port),
        "AGENT_COMMS_SPOOL_DIR": str(tmp_path / "spool"),
        "PATH": "/usr/bin:/bin",
    }
    end = tmp_path / "end"
    command = [sys.executable, "-m", "web.cli", "publish", "--log-file", str(log), "--until-file", str(end)]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL) as process:
        try:
            wait_until(lambda: metric(port, "agent_comms_published_messages_total") == 2, "two lines")
            wait_until(lambda: metric(port, "agent_comms_connected/nats") == 1, "the connection")
            assert "agent_comms_spool_bytes" in {family.name for family in open_metrics(port)}
            stream.server.stop()
            with log.open("a") as file:
                file.write("three\n")
            wait_until(lambda: metric(port, "agent_comms_spool_messages") == 1, "the third to wait")
            wait_until(lambda: metric(port, "agent_comms_connected/nats") == 0, "the connection to be down")
            assert metric(port, "agent_comms_spool_bytes") > 0
            stream.server.start()
            wait_until(lambda: metric(port, "agent_comms_published_messages_total") == 3, "the third")
            wait_until(lambda: metric(port, "agent_comms_spool_messages") == 0, "nothing to wait")
        finally:
            end.touch()
            process.wait(60)
