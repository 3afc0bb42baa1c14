"""A real Prometheus, and what stands in for NATS' exporter, which no package registry has."""

import json
import os
import shutil
import signal
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.launch import launcher
from connectors.loopback import HOST, free_port
from connectors.server import Server
from tests.waiting import PATIENCE_S


def require(program: str) -> str:
    """Return the path of one of Prometheus' programs; skip, or fail where it must be there."""
    path = shutil.which(program)
    if path is None:
        if os.environ.get("AGENT_COMMS_REQUIRE_PROMETHEUS"):
            pytest.fail(f"{program} is not installed, and AGENT_COMMS_REQUIRE_PROMETHEUS is set")
        pytest.skip(f"{program} is not installed; on Debian: apt install prometheus")
    return path


class Prometheus(Server):
    """One Prometheus that scrapes and evaluates four times a second.

    Args:
        folder: its data and configuration.
        targets: ports on loopback, by the name of their job.
        rules: a file of rules.
    """

    name = "prometheus"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path, targets: dict[str, int], rules: Path) -> None:
        super().__init__(folder)
        self._targets = targets
        self._rules = rules

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = {
            "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"},
            "rule_files": [str(self._rules)],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [f"{HOST}:{port}"]}]}
                for job, port in self._targets.items()
            ],
        }
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")

    def command(self) -> list[str]:
        return [
            *launcher(end_with=signal.SIGKILL),
            require("prometheus"),
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address={HOST}:{self.port}",
            "--log.level=warn",
            # What is not scraped any more is not there any more.
            "--query.lookback-delta=2s",
        ]

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Ask by the API; return each series' labels and value."""
        asked = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://{HOST}:{self.port}/api/v1/query?{asked}", timeout=PATIENCE_S) as answer:
            body = json.load(answer)
        assert body["status"] == "success", body
        return [(series["metric"], float(series["value"][1])) for series in body["data"]["result"]]

    def holds(self, expression: str) -> bool:
        """Whether an alert's expression is true of anything."""
        return bool(self.query(expression))

    def firing(self) -> set[str]:
        """The alerts that fire, by name."""
        return {labels["alertname"] for labels, _ in self.query('ALERTS{alertstate="firing"}')}


@contextmanager
def exporter(monitor_port: int) -> Iterator[int]:
    """Stand in for prometheus-nats-exporter: turn a server's /jsz into its documented names; yields the port.

    It is no more than a translation of names, and knows nothing of clusters: the one server leads.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                body = "".join(_lines(_jsz(monitor_port))).encode()
            except OSError:
                self.send_error(503)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((HOST, free_port()), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _jsz(port: int) -> Any:
    with urllib.request.urlopen(f"http://{HOST}:{port}/jsz?streams=1&consumers=1&config=1", timeout=2) as answer:
        return json.load(answer)


def _lines(jsz: Any) -> Iterator[str]:
    for account in jsz.get("account_details", []):
        for stream in account.get("stream_detail", []):
            state = stream["state"]
            labels = f'stream_name="{stream["name"]}",is_stream_leader="true"'
            yield f"nats_stream_total_messages{{{labels}}} {state['messages']}\n"
            yield f"nats_stream_total_bytes{{{labels}}} {state['bytes']}\n"
            yield f"nats_stream_limit_bytes{{{labels}}} {stream['config']['max_bytes']}\n"
            yield f"nats_stream_first_seq{{{labels}}} {state['first_seq']}\n"
            yield f"nats_stream_last_seq{{{labels}}} {state['last_seq']}\n"
            for consumer in stream.get("consumer_detail", []):
                its = f'{labels},consumer_name="{consumer["name"]}",is_consumer_leader="true"'
                for name in ("num_pending", "num_ack_pending", "num_redelivered"):
                    yield f"nats_consumer_{name}{{{its}}} {consumer[name]}\n"
                yield f"nats_consumer_ack_floor_stream_seq{{{its}}} {consumer['ack_floor']['stream_seq']}\n"
                yield f"nats_consumer_delivered_stream_seq{{{its}}} {consumer['delivered']['stream_seq']}\n"
