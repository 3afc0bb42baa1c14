"""The configuration that the NATS chart makes of gitops/nats/helm/nats.yaml, as its templates (2.14.2) do."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.topology import GITOPS
from tests.manifests import documents

VALUES = GITOPS / "nats" / "helm" / "nats.yaml"


def values() -> dict[str, Any]:
    loaded: dict[str, Any]
    [loaded] = documents(VALUES)
    return loaded


def render(config: Mapping[str, Any], routes: list[str]) -> str:
    """Return nats.conf for the chart's `config` values."""
    jetstream = {"max_memory_store": 0, "store_dir": "/data"}
    jetstream["max_file_store"] = f"<< {config['jetstream']['fileStore']['pvc']['size']} >>"
    assert config["jetstream"]["memoryStore"]["enabled"] is False
    made: dict[str, Any] = {
        "server_name": "<< $SERVER_NAME >>",
        "lame_duck_grace_period": "10s",
        "lame_duck_duration": "30s",
        "pid_file": "/var/run/nats/nats.pid",
        "port": 4222,
        "tls": _tls(config["nats"]["tls"], "/etc/nats-certs/nats"),
        "cluster": {
            "name": "nats",
            "port": 6222,
            "no_advertise": True,
            "routes": routes,
            "tls": _tls(config["cluster"]["tls"], "/etc/nats-certs/cluster"),
        },
        "http_port": 8222,
        "jetstream": jetstream,
        **config["merge"],
    }
    text = re.sub(r'".*\$include": "(.*)",?', r"include \1;", json.dumps(made, indent=2))
    return re.sub(r'"<<\s+(.*?)\s+>>"', r"\1", text)


def _tls(tls: Mapping[str, Any], folder: str) -> dict[str, Any]:
    assert tls["enabled"] is True
    return {"cert_file": f"{folder}/tls.crt", "key_file": f"{folder}/tls.key", **tls["merge"]}


def moved(text: str, places: Mapping[str, Path | str]) -> str:
    """Put the paths and ports of this machine where the pod's are."""
    for place, here in places.items():
        assert place in text, place
        text = text.replace(place, str(here))
    return text
