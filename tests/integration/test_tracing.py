"""One message, one trace, from who publishes it over the flow to who watches; and nothing at all unless asked for."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.loopback import HOST
from flows.tracing import HEADER, is_wanted
from tests import forks
from tests.ingestion import ROOT, Ingest, payload, subject
from tests.otlp import Receiver, receiver
from tests.servers import StreamHandle
from tests.waiting import wait_until
from tests.watcher import Watcher
from tests.webserver import StartWeb

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE, SPAN = PARENT.split("-")[1:3]


@pytest.fixture
def collector() -> Iterator[Receiver]:
    with receiver() as received:
        yield received


def publish(stream: StreamHandle, *arguments: str, **environ: str) -> None:
    command = [sys.executable, "-m", "web.cli", "publish", "--name", "run-1", "--agent", "planner", *arguments]
    own = {"PATH": os.environ["PATH"], "NATS_URL": stream.url, **environ}
    done = forks.run_text(command, env=own)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def attrs(ingest: Ingest) -> list[dict[str, Any]]:
    return [row[0] for row in ingest.rows("SELECT attrs FROM workflow_comms.agent_messages ORDER BY seq")]


def test_one_trace_leads_from_who_publishes_to_who_watches(
    stream: StreamHandle, database: str, start_web: StartWeb, collector: Receiver, tmp_path: Path
) -> None:
    web = start_web(DATABASE_URL=database, NATS_URL=stream.url, **collector.environ)
    with (
        Ingest(stream, database, tmp_path / "ingest.log", **collector.environ) as ingest,
        Watcher(web.url, runId="run-1") as watcher,
    ):
        publish(stream, "hello", **collector.environ, TRACEPARENT=PARENT)
        watcher.take(1)
        wait_until(lambda: {"publish", "store", "deliver"} <= {span.name for span in collector.spans}, "three spans")
        (published,), (stored,) = collector.named("publish"), collector.named("store")
        delivered = collector.named("deliver")[0]
        # The trace that the publisher's process is a part of goes on.
        assert (published.trace, published.parent) == (TRACE, SPAN)
        assert (stored.trace, stored.parent) == (TRACE, published.id)
        assert (delivered.trace, delivered.parent) == (TRACE, published.id)
        assert published.began <= stored.began <= stored.ended
        assert stored.began <= delivered.ended
        services = ["agent-comms-publish", "agent-comms-ingest", "agent-comms-web"]
        assert [span.service for span in (published, stored, delivered)] == services
        assert published.attributes["messaging.destination.name"].startswith("workflow.agents.run-1.")
        assert attrs(ingest)[0][HEADER] == f"00-{TRACE}-{published.id}-01"


def test_what_a_person_says_is_traced_too(
    stream: StreamHandle, database: str, start_web: StartWeb, collector: Receiver
) -> None:
    web = start_web(DATABASE_URL=database, NATS_URL=stream.url, **collector.environ)
    wait_until(lambda: web.metric('agent_comms_connected{to="nats"}') == 1, "the connection")
    body = json.dumps({"channel": "general", "content": "hello"}).encode()
    head = f"POST /api/agents/messages HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    assert web.send(head.encode() + body)[0] == 202
    wait_until(lambda: len(collector.named("publish")) == 1, "the span")
    assert collector.named("publish")[0].service == "agent-comms-web"
    message = stream.connection.run(stream.connection.jetstream().get_msg(stream.name, 1))
    assert (message.headers or {})[HEADER].split("-")[1] == collector.named("publish")[0].trace


def test_what_a_sidecar_sends_is_traced_too(stream: StreamHandle, collector: Receiver, tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    log.write_text("one\ntwo\n")
    end = tmp_path / "end"
    end.touch()
    spool = {"AGENT_COMMS_SPOOL_DIR": str(tmp_path / "spool")}
    publish(stream, "--log-file", str(log), "--until-file", str(end), **collector.environ, **spool)
    # Two lines; that it began and ended, in both channels.
    wait_until(lambda: len(collector.named("publish")) == 6, "the sidecar's spans")
    assert not any(span.failed for span in collector.spans)


def test_only_what_is_sampled_is_traced_and_says_so(
    stream: StreamHandle, database: str, collector: Receiver, tmp_path: Path
) -> None:
    never = {**collector.environ, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    with Ingest(stream, database, tmp_path / "ingest.log", **collector.environ) as ingest:
        publish(stream, "not taken", **never)
        publish(stream, "taken", **collector.environ)
        ingest.wait_for_rows(2)
        wait_until(lambda: len(collector.named("store")) == 1, "the second one's span")
        assert [HEADER in each for each in attrs(ingest)] == [False, True]
        assert ingest.stop() == 0
    assert len(collector.named("publish")) == 1


def test_a_claim_in_the_payload_and_a_header_that_is_none_lead_nowhere(
    stream: StreamHandle, database: str, collector: Receiver, tmp_path: Path
) -> None:
    with Ingest(stream, database, tmp_path / "ingest.log", **collector.environ) as ingest:
        stream.publish(subject(), payload(1, attrs={HEADER: PARENT}))
        for number, header in enumerate(["", "x", "00-0-0-01", PARENT[:-2] + "00", f"{PARENT}\x1b[31m", "é" * 55], 2):
            stream.publish(subject(), payload(number), {HEADER: header})
        stream.publish(subject(), payload(9), {HEADER: PARENT})
        ingest.wait_for_rows(8)
        wait_until(lambda: len(collector.named("store")) == 1, "the one span")
        assert [each.get(HEADER) for each in attrs(ingest)] == [None] * 7 + [PARENT]
        assert ingest.stop() == 0
    (stored,) = collector.named("store")
    assert (stored.trace, stored.parent) == (TRACE, SPAN)


def test_a_collector_that_is_away_harms_nobody(stream: StreamHandle, database: str, tmp_path: Path) -> None:
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with Ingest(stream, database, tmp_path / "ingest.log", **nowhere) as ingest:
        for number in range(20):
            stream.publish(subject(), payload(number), {HEADER: PARENT})
        ingest.wait_for_rows(20)
        ingest.wait_until_drained()
        assert ingest.stop() == 0

    publish(stream, "hello", **nowhere)
    with socket.create_server((HOST, 0)) as silent:
        endpoint = f"http://{HOST}:{silent.getsockname()[1]}"
        # The library by itself would wait for an answer for that hour.
        publish(stream, "hello", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="3600")


def test_without_being_asked_nothing_is_imported_sent_or_kept(
    stream: StreamHandle, database: str, tmp_path: Path
) -> None:
    look = (
        "import sys, flows.ingest; from flows.tracing import Tracing; assert not Tracing.of('x'); print(*sys.modules)"
    )
    bare = {"PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, env=bare, capture_output=True, text=True, check=True)
    assert not [name for name in done.stdout.split() if name.startswith("opentelemetry")]
    with Ingest(stream, database, tmp_path / "ingest.log") as ingest:
        publish(stream, "hello", TRACEPARENT=PARENT)
        stream.publish(subject(), payload(1), {HEADER: PARENT})
        ingest.wait_for_rows(2)
        assert not [each for each in attrs(ingest) if HEADER in each]
    message = stream.connection.run(stream.connection.jetstream().get_msg(stream.name, 1))
    assert HEADER not in (message.headers or {})


def test_what_is_not_installed_is_told_once_and_stops_nobody(tmp_path: Path) -> None:
    # Stands before the real one.
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ImportError('not here')\n")
    program = (
        "import logging; logging.basicConfig(); from flows.tracing import Tracing;"
        "assert Tracing.of('x', {'OTEL_TRACES_EXPORTER': 'otlp'}) is None"
    )
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "is not installed" in done.stderr


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "x"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, False),
    ],
    ids=json.dumps,
)
def test_the_standard_variables_decide(environ: dict[str, str], wanted: bool) -> None:
    assert is_wanted(environ) is wanted
