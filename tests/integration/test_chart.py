"""What the NATS chart makes of our values is taken by a real nats-server, one and three of them."""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from connectors.embedded import MAX_PAYLOAD
from flows.topology import ACCOUNTS, GITOPS
from tests.certificates import issue_for_peers
from tests.chart import moved, render, values

PROGRAM = Path(sysconfig.get_path("scripts")) / "nats-server"
KEYS = GITOPS / "overlays" / "example" / "nats" / "keys.conf"


def laid_out(folder: Path) -> Path:
    """Lay the files of a server's pod out in a folder; return its configuration."""
    for name in ("nats-config", "nats-accounts", "certs", "data"):
        (folder / name).mkdir(parents=True)
    issue_for_peers(folder / "certs")
    shutil.copy(ACCOUNTS, folder / "nats-accounts")
    shutil.copy(KEYS, folder / "nats-accounts")
    text = render(values()["config"], ["tls://127.0.0.1:6222"])
    places: dict[str, Path | str] = {
        "/etc/nats-certs/nats": folder / "certs",
        "/etc/nats-certs/cluster": folder / "certs",
        '"/data"': f'"{folder / "data"}"',
        "/var/run/nats": folder,
    }
    (folder / "nats-config" / "nats.conf").write_text(moved(text, places))
    return folder / "nats-config" / "nats.conf"


def judge(path: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(PROGRAM), "-t", "-c", str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SERVER_NAME": "nats-0"},
    )


def test_the_server_takes_what_the_chart_makes_of_our_values(tmp_path: Path) -> None:
    judged = judge(laid_out(tmp_path / "pod"))
    assert judged.returncode == 0, judged.stderr
    assert "is valid" in judged.stderr


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ('service: "workflow.agents.>", accounts: [agents]', 'service: "workflow.agents.>", accounts: [nobody]'),
        ("permissions: $WEB_MAY", "permissions: $NOBODY_MAY"),
        ("system_account: SYS", "sytem_account: SYS"),
        ("include ./keys.conf", "include ./none.conf"),
    ],
    ids=["an account", "a permission", "a field", "a file"],
)
def test_a_mistake_in_the_accounts_is_found_before_a_rollout(written: str, instead: str, tmp_path: Path) -> None:
    path = laid_out(tmp_path / "pod")
    accounts = tmp_path / "pod" / "nats-accounts" / "accounts.conf"
    text = accounts.read_text()
    assert written in text
    accounts.write_text(text.replace(written, instead))
    assert judge(path).returncode != 0


def test_the_local_server_takes_as_much_as_the_clusters(tmp_path: Path) -> None:
    del tmp_path
    assert values()["config"]["merge"]["max_payload"] == MAX_PAYLOAD


def test_every_pod_of_the_servers_reads_the_accounts() -> None:
    chart = values()
    [mount] = [entry["value"] for entry in chart["container"]["patch"]]
    [volume] = [entry["value"] for entry in chart["podTemplate"]["patch"]]
    assert volume == {"name": mount["name"], "configMap": {"name": "nats-accounts"}}
    [included] = [path for name, path in chart["config"]["merge"].items() if name.endswith("$include")]
    # As the chart puts it together, and the reloader reads it.
    assert os.path.normpath(f"/etc/nats-config/{included}") == f"{mount['mountPath']}/accounts.conf"
    assert mount["mountPath"].startswith("/etc/")


def test_containers_of_the_servers_may_do_no_more_than_they_need() -> None:
    chart = values()
    for name in ("container", "reloader", "promExporter"):
        security = chart[name]["merge"]["securityContext"]
        assert security["readOnlyRootFilesystem"] is True
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
    pod = chart["podTemplate"]["merge"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert chart["natsBox"]["enabled"] is False
    assert chart["promExporter"]["enabled"] is True
    assert chart["podTemplate"]["topologySpreadConstraints"]["kubernetes.io/hostname"]["maxSkew"] == 1
