"""Three servers as the chart runs them with our values: TLS on every port, accounts across servers, one is killed."""

import json
import os
import shutil
import signal
import socket
import sysconfig
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from connectors.bootstrap import bootstrap
from connectors.connection import NatsConnection, NatsOptions
from connectors.launch import launcher
from connectors.loopback import HOST, free_port
from connectors.server import Server
from flows import topology
from flows.nats import nats_options
from flows.settings import Settings
from flows.users import AGENTS, SYSTEM, User
from tests.certificates import issue_for_peers
from tests.chart import moved, render, values
from tests.secured import Client, Look, Ring, Traffic
from tests.waiting import wait_until

PROGRAM = Path(sysconfig.get_path("scripts")) / "nats-server"


class Node(Server):
    """One server of the three."""

    name = "nats"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: Path, ring: Ring, peers: Path, routes: list[int], number: int) -> None:
        super().__init__(folder)
        self._ring = ring
        self._peers = peers
        self._routes = routes
        self._number = number
        self.monitor = free_port()

    def prepare(self) -> None:
        for name in ("nats-config", "nats-accounts", "data"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        security = self._ring.security()
        shutil.copy(security.accounts, self.folder / "nats-accounts")
        (self.folder / "nats-accounts" / "keys.conf").write_text(security.keys)
        text = render(values()["config"], [f"tls://{HOST}:{port}" for port in self._routes])
        places: dict[str, Path | str] = {
            "/etc/nats-certs/nats": security.cert.parent,
            "/etc/nats-certs/cluster": self._peers,
            '"/data"': f'"{self.folder / "data"}"',
            "/var/run/nats": self.folder,
            '"port": 4222': f'"listen": "{HOST}:{self.port}"',
            '"port": 6222': f'"listen": "{HOST}:{self._routes[self._number]}"',
            '"http_port": 8222': f'"http": "{HOST}:{self.monitor}"',
        }
        (self.folder / "nats-config" / "nats.conf").write_text(moved(text, places))

    def command(self) -> list[str]:
        name = f"SERVER_NAME=nats-{self._number}"
        words = ["/usr/bin/env", name, str(PROGRAM), "-c", str(self.folder / "nats-config" / "nats.conf")]
        return [*launcher(end_with=self.stop_signal), *words]

    def is_ready(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=1) as connection:
                return f"nats-{self._number}".encode() in connection.recv(4096)
        except OSError:
            return False

    def reload(self) -> None:
        self.prepare()
        os.kill(self.pid, signal.SIGHUP)

    def asked(self, path: str) -> "dict[str, object]":
        with urllib.request.urlopen(f"http://{HOST}:{self.monitor}/{path}", timeout=5) as answer:
            found: dict[str, object] = json.load(answer)
            return found


class Cluster:
    """Three nodes and their ring; in what it offers it is a `Secured`."""

    def __init__(self, folder: Path) -> None:
        self.ring = Ring(folder / "ring")
        self.peers = folder / "peers"
        self.peers.mkdir()
        issue_for_peers(self.peers)
        self.routes = [free_port() for _ in range(3)]
        self.nodes = [Node(folder / f"nats-{n}", self.ring, self.peers, self.routes, n) for n in range(3)]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for node in self.nodes:
            self._stack.enter_context(node)
        wait_until(lambda: all(self._is_in(node) for node in self.nodes), "the three to find each other")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _is_in(self, node: Node) -> bool:
        try:
            # As the chart's startup probe asks.
            return node.asked("healthz").get("status") == "ok" and bool(node.asked("routez").get("num_routes"))
        except OSError:
            return False

    def options(self, user: User) -> NatsOptions:
        environ = {
            "NATS_URL": ",".join(f"tls://{HOST}:{node.port}" for node in self.nodes),
            "NATS_NKEY_SEED_FILE": str(self.ring.seed_file(user)),
            "NATS_CA_FILE": str(self.ring.ca_file),
            **user.settings(),
        }
        return nats_options(Settings.from_env(environ), f"test-{user.name}")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path) as running, NatsConnection(running.options(SYSTEM)) as connection:
        assert connection.run(bootstrap(connection.jetstream(), topology.manifests())) == []
        yield running


def leader(look: Look) -> str:
    return str(look.stream()["cluster"].get("leader"))


def test_the_path_goes_on_while_the_leader_is_killed_and_a_key_is_exchanged(cluster: Cluster, tmp_path: Path) -> None:
    with Look(cluster) as look, Traffic(cluster) as traffic:  # type: ignore[arg-type]  # it offers what they use
        assert look.stream()["config"]["num_replicas"] == 3
        assert len(look.stream()["cluster"]["replicas"]) == 2
        first = leader(look)
        node = cluster.nodes[int(first[-1])]
        node.kill()
        traffic.go_on()
        node.start()
        traffic.go_on()
        wait_until(lambda: all(each["current"] for each in look.stream()["cluster"]["replicas"]), "it to catch up")

        old, _ = cluster.ring.seeds["agents"]
        cluster.ring.hand_out(AGENTS, following=True)
        cluster.ring.move_on(AGENTS)
        for each in cluster.nodes:
            each.reload()
        (tmp_path / "old.nk").write_text(old)
        kept = replace(cluster.options(AGENTS), nkey_seed_file=tmp_path / "old.nk")
        wait_until(lambda: not gets_in(kept), "the old key to be refused everywhere")
        traffic.go_on()
        traffic.assert_whole()
        wait_until(lambda: look.left == 0, "everything to be acked")
        assert look.stream()["state"]["messages"] == look.stream()["state"]["last_seq"]


def gets_in(options: NatsOptions) -> bool:
    for server in options.servers:
        try:
            with Client(replace(options, servers=(server,))):
                return True
        except ConnectionError:
            continue
    return False


def test_a_server_of_another_authority_gets_no_route(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    issue_for_peers(tmp_path / "other")
    ports = [*cluster.routes, free_port()]
    rogue = Node(tmp_path / "rogue", cluster.ring, tmp_path / "other", ports, 3)
    with rogue:
        wait_until(lambda: "TLS route handshake error" in rogue.log_file.read_text(), "it to be refused")
        assert rogue.asked("routez")["num_routes"] == 0
        names = {route["remote_name"] for node in cluster.nodes for route in node.asked("routez")["routes"]}  # type: ignore[attr-defined]
    assert names == {"nats-0", "nats-1", "nats-2"}
