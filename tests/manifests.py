"""What is under gitops/, as Kubernetes would read it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from flows.topology import GITOPS

BUNDLES = ("argo", "jangar", "nats", "observability", "runtime")
# Values of Helm charts, tests of rules and the like: no resources.
OTHER = ("helm", "tests")


class StrictLoader(yaml.CSafeLoader):
    """Takes a key that is there twice for the mistake that it is."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1 and key != "<<"}
        assert not twice, f"{node.start_mark}: {twice} twice"
        return super().construct_mapping(node, deep)


def documents(path: Path) -> list[Any]:
    # Our loader is a safe one.
    loaded = yaml.load_all(path.read_text(encoding="utf-8"), StrictLoader)
    return [document for document in loaded if document is not None]


def yaml_files() -> list[Path]:
    return sorted([*GITOPS.rglob("*.yaml"), *GITOPS.rglob("*.yml")])


def kustomizations() -> list[Path]:
    return sorted(path.parent for path in GITOPS.rglob("kustomization.yaml"))


def applied(folder: Path) -> list[dict[str, Any]]:
    """The resources of a kustomization, those of its bases among them, before anything is changed in them."""
    [kustomization] = documents(folder / "kustomization.yaml")
    found: list[dict[str, Any]] = []
    for name in kustomization.get("resources", []):
        path = (folder / name).resolve()
        found += applied(path) if path.is_dir() else documents(path)
    return found


def resources() -> list[dict[str, Any]]:
    """Every resource of the bundles and of their example overlays, once."""
    seen: list[dict[str, Any]] = []
    for path in yaml_files():
        if path.name not in ("kustomization.yaml", "images-of-templates.yaml", "rules.yaml") and not (
            set(path.relative_to(GITOPS).parts) & set(OTHER)
        ):
            seen += documents(path)
    return seen


def title(resource: dict[str, Any]) -> str:
    return f"{resource['kind']}/{resource['metadata']['name']}"


def pods() -> Iterator[tuple[str, dict[str, Any], dict[str, str]]]:
    """Every pod's title, spec and labels."""
    for resource in resources():
        spec = resource.get("spec", {})
        if resource["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if resource["kind"] in ("CronJob", "Deployment", "Job"):
            template = spec["template"]
            yield title(resource), template["spec"], template["metadata"]["labels"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container.get("env", [])}
