import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import yaml

from flows.payload import schema
from flows.settings import Settings
from flows.topology import GITOPS
from web.publish import publish

SETTINGS = {field.name.upper() for field in msgspec.structs.fields(Settings)}
OPTIONS = {option for parameter in publish.params for option in parameter.opts}


def job() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((GITOPS / "runtime" / "job.yaml").read_text(encoding="utf-8"))
    return loaded


def template() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((GITOPS / "argo" / "workflow-template.yaml").read_text(encoding="utf-8"))
    return loaded


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = job()["spec"]["template"]["spec"]
    return spec


def native_sidecar() -> dict[str, Any]:
    return next(container for container in pod()["initContainers"] if container["name"] == "agent-comms")


def argo_sidecar() -> dict[str, Any]:
    return next(container for container in template()["spec"]["templates"][0]["sidecars"])


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def test_the_schema_is_the_one_that_the_code_makes() -> None:
    shipped = json.loads((GITOPS / "runtime" / "payload.schema.json").read_text(encoding="utf-8"))
    assert shipped == schema(), "run: agent-comms schema > gitops/runtime/payload.schema.json"


@pytest.mark.parametrize("container", [native_sidecar(), argo_sidecar()], ids=["native", "argo"])
class TestSidecar:
    def test_its_options_and_variables_are_ours(self, container: dict[str, Any]) -> None:
        command, *options = container["args"]
        assert command == "publish"
        assert {option.partition("=")[0] for option in options} <= OPTIONS
        assert environment(container).keys() <= SETTINGS

    def test_what_it_is_given_is_no_more_than_it_needs(self, container: dict[str, Any]) -> None:
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert mounts["nats-credentials"]["readOnly"] is True
        assert mounts["workspace"]["readOnly"] is True
        assert {"requests", "limits"} <= container["resources"].keys()

    def test_its_spool_is_on_a_volume_that_outlives_it(self, container: dict[str, Any]) -> None:
        mounts = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
        assert environment(container)["AGENT_COMMS_SPOOL_DIR"].startswith(tuple(mounts))

    def test_it_is_given_time_for_its_last_lines(self, container: dict[str, Any]) -> None:
        grace = next(float(arg.partition("=")[2]) for arg in container["args"] if arg.startswith("--grace="))
        periods = [pod()["terminationGracePeriodSeconds"], *_patched(template())]
        assert all(period > grace for period in periods)


def _patched(manifest: dict[str, Any]) -> Iterator[float]:
    yield yaml.safe_load(manifest["spec"]["podSpecPatch"])["terminationGracePeriodSeconds"]


def test_the_job_is_the_workflow() -> None:
    told = environment(native_sidecar())
    assert told["WORKFLOW_UID"]["fieldRef"]["fieldPath"] == "metadata.labels['batch.kubernetes.io/controller-uid']"
    assert told["WORKFLOW_NAME"]["fieldRef"]["fieldPath"] == "metadata.labels['batch.kubernetes.io/job-name']"
    assert told["WORKFLOW_NAMESPACE"]["fieldRef"]["fieldPath"] == "metadata.namespace"


def test_the_native_sidecar_holds_nothing_up() -> None:
    sidecar = native_sidecar()
    assert sidecar["restartPolicy"] == "Always"
    assert not {"startupProbe", "readinessProbe", "livenessProbe"} & sidecar.keys()


def test_the_agent_cannot_read_the_credentials() -> None:
    for container in (pod()["containers"][0], template()["spec"]["templates"][0]["container"]):
        assert "nats-credentials" not in {mount["name"] for mount in container["volumeMounts"]}


def test_argo_is_named_and_its_prefix_only_when_asked_for() -> None:
    told = environment(argo_sidecar())
    assert told["AGENT_RUNTIME"] == "argo"
    assert told["NATS_SUBJECT_PREFIX"] == "{{workflow.parameters.subject-prefix}}"
    parameters = {entry["name"]: entry for entry in template()["spec"]["arguments"]["parameters"]}
    assert parameters["subject-prefix"]["value"] == "workflow"
