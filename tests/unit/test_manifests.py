"""What is applied to a cluster, read as Kubernetes and the controllers would."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import msgspec
import pytest
import yaml

from connectors.duration import parse_duration
from connectors.embedded import GARBAGE
from flows.settings import Settings
from flows.topology import GITOPS, stream
from flows.users import AGENTS, JANGAR, USERS, WEB
from tests import manifests
from tests.manifests import applied, containers, documents, environment, kustomizations, pods, title, yaml_files
from web.access import networks

KUBERNETES = "1.35"
# By their schemas; the rest are other controllers'.
CORE = (
    "v1",
    "apps/v1",
    "batch/v1",
    "autoscaling/v2",
    "policy/v1",
    "networking.k8s.io/v1",
    "rbac.authorization.k8s.io/v1",
)
OTHERS = {
    "argoproj.io/v1alpha1": {"WorkflowTemplate"},
    "cert-manager.io/v1": {"Certificate", "Issuer"},
    "jetstream.nats.io/v1beta2": {"Consumer", "Stream"},
    "monitoring.coreos.com/v1": {"PodMonitor", "PrometheusRule", "ServiceMonitor"},
}
SETTINGS = {field.name.upper() for field in msgspec.structs.fields(Settings)}
OF_S3 = {"AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
SEED = re.compile(r"\bS[UAONCPX][A-Z2-7]{56}\b")
SECRET = re.compile("PASSWORD|SECRET|TOKEN|COOKIE_KEY|_URL")
# Without a user and a password in it.
PLAIN_URL = re.compile(r"(tls|http)://[a-z0-9.]+:\d+")
NATS = {"nats-credentials"}
BY_TITLE = {title(resource): resource for resource in manifests.resources()}
OURS = [(name, pod, labels) for name, pod, labels in pods() if not name.startswith("Job/agent-run")]


def relative(path: Path) -> str:
    return str(path.relative_to(GITOPS))


@pytest.mark.parametrize("path", yaml_files(), ids=relative)
def test_it_is_yaml_and_says_nothing_twice(path: Path) -> None:
    assert documents(path)


@pytest.mark.parametrize("resource", manifests.resources(), ids=title)
def test_kubernetes_knows_every_field(resource: dict[str, Any]) -> None:
    version = resource["apiVersion"]
    assert set(resource["metadata"]) <= {"annotations", "labels", "name"}, "the kustomization gives the namespace"
    if version in CORE:
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    else:
        assert resource["kind"] in OTHERS[version]


def test_a_misspelled_field_would_be_seen() -> None:
    broken = msgspec.json.decode(msgspec.json.encode(BY_TITLE["Deployment/agent-comms-web"]))
    broken["spec"]["strategy"]["rollingUpdate"]["maxUnavailabel"] = 0
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


@pytest.mark.parametrize("folder", kustomizations(), ids=relative)
def test_what_a_kustomization_names_is_there(folder: Path) -> None:
    [kustomization] = documents(folder / "kustomization.yaml")
    assert kustomization["kind"] == "Kustomization"
    assert "namespace" in kustomization
    for name in [*kustomization.get("resources", []), *kustomization.get("configurations", [])]:
        assert (folder / name).exists(), name
    for generator in kustomization.get("configMapGenerator", []):
        for file in generator["files"]:
            assert (folder / file.rpartition("=")[2]).is_file(), file
    found = {title(resource) for resource in applied(folder)}
    assert len(found) == len(applied(folder)), "a resource is there twice"
    for patch in kustomization.get("patches", []):
        target = patch["target"] if "target" in patch else yaml.safe_load(patch["patch"])
        target = target.get("metadata", {}) | target
        assert f"{target['kind']}/{target['name']}" in found


@pytest.mark.parametrize("folder", kustomizations(), ids=relative)
def test_every_file_is_applied(folder: Path) -> None:
    [kustomization] = documents(folder / "kustomization.yaml")
    named = {*kustomization.get("resources", []), *kustomization.get("configurations", []), "kustomization.yaml"}
    assert {path.name for path in folder.glob("*.yaml")} - named <= {"rules.yaml"}


@pytest.mark.parametrize("folder", kustomizations(), ids=relative)
def test_kustomize_builds_it(folder: Path) -> None:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed")
    built = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    for resource in yaml.safe_load_all(built.stdout):
        if resource["kind"] not in ("Namespace",):
            assert resource["metadata"]["namespace"]
        if resource["apiVersion"] in CORE:
            kubernetes_validate.validate(resource, KUBERNETES, strict=True)
    hosts = {
        host for words in re.findall(r"host: (\S+)|AGENT_COMMS_HOSTS\n +value: (\S+)", built.stdout) for host in words
    }
    assert len(hosts - {""}) <= 1, "the pages answer to the Ingress' host"
    images = re.findall(r"image: (\S+)", built.stdout)
    assert all(re.fullmatch(r"\S+[:@]\S+", image) and not image.endswith(":latest") for image in images), images


def test_there_is_an_example_of_every_bundle_that_a_cluster_adds_to() -> None:
    examples = {path.name for path in (GITOPS / "overlays" / "example").iterdir() if path.is_dir()}
    assert examples == set(manifests.BUNDLES)


def test_no_secrets_value_is_in_git() -> None:
    for path in sorted(GITOPS.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            text = path.read_text(encoding="utf-8")
            assert not SEED.search(text), path
            assert "PRIVATE KEY" not in text, path
    for resource in manifests.resources():
        if resource["kind"] == "Secret":
            assert not {"data", "stringData"} & resource.keys(), title(resource)
    for name, pod, _ in pods():
        for container in containers(pod):
            for variable, value in environment(container).items():
                if isinstance(value, str) and SECRET.search(variable):
                    assert PLAIN_URL.fullmatch(value), f"{name}: {variable}"


def test_a_seed_would_be_seen() -> None:
    from connectors.nkey import new_seed

    assert SEED.search(f"key: {new_seed()}\n")


class TestPods:
    @pytest.mark.parametrize(("name", "pod"), [(name, pod) for name, pod, _ in pods()], ids=lambda v: str(v)[:40])
    def test_it_may_do_no_more_than_it_needs(self, name: str, pod: dict[str, Any]) -> None:
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] >= 10_000
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        # A Service called agent-comms would set AGENT_COMMS_PORT.
        assert pod["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for container in containers(pod):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            # An agent writes wherever its tools do.
            assert container["image"] == "agent" or security["readOnlyRootFilesystem"] is True
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in container["resources"]["limits"]
        for volume in pod.get("volumes", []):
            assert "hostPath" not in volume, name
            if "secret" in volume:
                assert volume["secret"]["defaultMode"] == 0o440
                assert volume["secret"].get("optional") is not True

    @pytest.mark.parametrize(("name", "pod"), [(name, pod) for name, pod, _ in OURS], ids=lambda v: str(v)[:40])
    def test_its_variables_are_ours(self, name: str, pod: dict[str, Any]) -> None:
        for container in containers(pod):
            assert environment(container).keys() <= SETTINGS | OF_S3, name

    @pytest.mark.parametrize("name", ["agent-comms-ingest", "agent-comms-web"])
    def test_a_rollout_takes_nothing_away_before_there_is_something_new(self, name: str) -> None:
        spec = BY_TITLE[f"Deployment/{name}"]["spec"]
        assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        pod = spec["template"]["spec"]
        [spread] = pod["topologySpreadConstraints"]
        assert spread["labelSelector"]["matchLabels"] == spec["selector"]["matchLabels"]
        [container] = pod["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] in ports
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        # An autoscaler and a number of our own would pull in two directions.
        assert "replicas" not in spec
        scaler = BY_TITLE[f"HorizontalPodAutoscaler/{name}"]["spec"]
        assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        assert scaler["minReplicas"] >= 2
        assert scaler["metrics"][0]["resource"]["name"] in container["resources"]["requests"]
        budget = BY_TITLE[f"PodDisruptionBudget/{name}"]["spec"]
        assert budget["selector"] == spec["selector"]
        assert budget["maxUnavailable"] == 1

    def test_the_web_goes_once_nobody_sends_to_it_any_more(self) -> None:
        pod = BY_TITLE["Deployment/agent-comms-web"]["spec"]["template"]["spec"]
        [container] = pod["containers"]
        [_, pause] = container["lifecycle"]["preStop"]["exec"]["command"]
        # gunicorn's own grace, and a moment for the kernel.
        assert pod["terminationGracePeriodSeconds"] >= int(pause) + 10

    def test_programs_are_who_the_accounts_know(self) -> None:
        speakers = {
            "Deployment/agent-comms-ingest": (JANGAR, "agent-comms-nats-jangar"),
            "Deployment/agent-comms-web": (WEB, "agent-comms-nats-web"),
            "Job/agent-run": (AGENTS, "agent-comms-nats"),
        }
        mounting = {name for name, pod, _ in pods() if NATS & {volume["name"] for volume in pod.get("volumes", [])}}
        assert mounting == speakers.keys()
        for name, pod, _ in pods():
            if name not in speakers:
                continue
            user, secret = speakers[name]
            [volume] = [volume["secret"] for volume in pod["volumes"] if volume["name"] in NATS]
            assert volume["secretName"] == secret
            assert {item["key"] for item in volume["items"]} == {"seed.nk", "ca.crt"}
            [container] = [each for each in containers(pod) if each["image"] == "agent-comms"]
            told = environment(container)
            given = {variable: told.get(variable) for variable in ("NATS_INBOX_PREFIX", "NATS_JS_API_PREFIX")}
            assert {variable: value for variable, value in given.items() if value} == user.settings()
            assert told["NATS_URL"].startswith("tls://")
            assert (told["NATS_NKEY_SEED_FILE"], told["NATS_CA_FILE"]) == (
                "/credentials/seed.nk",
                "/credentials/ca.crt",
            )

    def test_each_program_reaches_postgres_as_a_role_of_its_own(self) -> None:
        used = {
            name.partition("/")[2]: value["secretKeyRef"]["name"]
            for name, pod, _ in pods()
            for container in containers(pod)
            for variable, value in environment(container).items()
            if variable == "DATABASE_URL"
        }
        assert used == {
            "agent-comms-ingest": "agent-comms-database-ingest",
            "agent-comms-web": "agent-comms-database-web",
            "agent-comms-backfill": "agent-comms-database-backfill",
            "agent-comms-reconcile": "agent-comms-database-backfill",
            "agent-comms-prune": "agent-comms-database",
            "agent-comms-migrate": "agent-comms-database",
        }


def is_selected(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", [])
    )


class TestNetwork:
    def test_services_and_ingresses_lead_to_pods(self) -> None:
        service = BY_TITLE["Service/agent-comms-web"]["spec"]
        deployment = BY_TITLE["Deployment/agent-comms-web"]["spec"]["template"]
        assert service["selector"].items() <= deployment["metadata"]["labels"].items()
        names = {port["name"] for port in deployment["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["ports"]} <= names
        ingress = BY_TITLE["Ingress/agent-comms-web"]["spec"]
        [rule] = ingress["rules"]
        assert ingress["tls"][0]["hosts"] == [rule["host"]]
        web = deployment["spec"]["containers"][0]
        assert environment(web)["AGENT_COMMS_HOSTS"] == rule["host"]
        backend = rule["http"]["paths"][0]["backend"]["service"]
        assert backend == {"name": "agent-comms-web", "port": {"name": service["ports"][0]["name"]}}

    def test_nobody_may_do_what_no_policy_says(self) -> None:
        selected = BY_TITLE["NetworkPolicy/agent-comms"]["spec"]
        assert set(selected["policyTypes"]) == {"Ingress", "Egress"}
        assert selected["ingress"] == []
        for name, _, labels in OURS:
            assert selected["podSelector"]["matchLabels"].items() <= labels.items(), name

    def test_the_ports_that_are_let_in_are_there(self) -> None:
        flow, web = (
            BY_TITLE[f"Deployment/agent-comms-{name}"]["spec"]["template"]["spec"] for name in ("ingest", "web")
        )
        listening = {port["containerPort"] for pod in (flow, web) for port in pod["containers"][0]["ports"]}
        for name in ("agent-comms-metrics", "agent-comms-web"):
            for rule in BY_TITLE[f"NetworkPolicy/{name}"]["spec"]["ingress"]:
                assert {port["port"] for port in rule["ports"]} <= listening

    def test_what_a_program_connects_to_is_let_out(self) -> None:
        policies = [each["spec"] for name, each in BY_TITLE.items() if name.startswith("NetworkPolicy/agent-comms")]

        def let_out(labels: dict[str, str], namespace: str, port: int) -> bool:
            return any(
                peer.get("namespaceSelector") == {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
                and port in {each["port"] for each in rule["ports"]}
                for policy in policies
                if is_selected(policy["podSelector"], labels)
                for rule in policy.get("egress", [])
                for peer in rule["to"]
            )

        for name, pod, labels in OURS:
            assert let_out(labels, "kube-system", 53), name
            for container in containers(pod):
                told = environment(container)
                if "DATABASE_URL" in told:
                    assert let_out(labels, "postgres", 5432), name
                for variable in ("NATS_URL", "AWS_ENDPOINT_URL_S3"):
                    if variable in told:
                        url = urlsplit(told[variable])
                        namespace = str(url.hostname).split(".")[1]
                        assert let_out(labels, namespace, url.port or 0), (name, variable)
        for name in ("ingest", "web"):
            assert let_out(
                {"app.kubernetes.io/name": f"agent-comms-{name}", "app.kubernetes.io/part-of": "agent-comms"},
                "monitoring",
                4318,
            )

    def test_the_web_is_told_by_the_ingress_who_came(self) -> None:
        web = BY_TITLE["Deployment/agent-comms-web"]["spec"]["template"]["spec"]["containers"][0]
        assert networks(environment(web)["AGENT_COMMS_PROXY_ADDRESSES"])

    def test_agents_of_argo_are_under_the_policy_of_agents(self) -> None:
        policy = BY_TITLE["NetworkPolicy/agent-run"]["spec"]
        labels = BY_TITLE["WorkflowTemplate/agent-run"]["spec"]["podMetadata"]["labels"]
        assert is_selected(policy["podSelector"], labels)

    def test_the_servers_monitoring_port_is_for_nobody(self) -> None:
        policy = BY_TITLE["NetworkPolicy/nats"]["spec"]
        ports = {port["port"]: rule["from"] for rule in policy["ingress"] for port in rule["ports"]}
        assert ports.keys() == {4222, 6222, 7777}
        assert ports[4222][0] == {"namespaceSelector": {"matchLabels": {"agent-comms-nats": "client"}}}
        for name in ("jangar", "agents"):
            assert BY_TITLE[f"Namespace/{name}"]["metadata"]["labels"]["agent-comms-nats"] == "client"


class TestSecrets:
    REFLECTOR = "reflector.v1.k8s.emberstack.com"

    def test_a_credential_is_copied_where_it_is_asked_for_and_nowhere_else(self) -> None:
        def marks(folder: str) -> dict[str, dict[str, str]]:
            secrets = [each for each in applied(GITOPS / folder) if each["kind"] == "Secret"]
            return {each["metadata"]["name"]: each["metadata"].get("annotations", {}) for each in secrets}

        sources = marks("nats")
        assert sources.keys() == {f"agent-comms-nats-{user.name}" for user in USERS}
        assert sources["agent-comms-nats-system"] == {f"{self.REFLECTOR}/reflection-allowed": "false"}
        for folder, namespace in (("jangar", "jangar"), ("runtime", "agents")):
            for name, annotations in marks(folder).items():
                source = annotations[f"{self.REFLECTOR}/reflects"].removeprefix("nats/")
                allowed = sources.pop(source)
                assert allowed[f"{self.REFLECTOR}/reflection-allowed"] == "true"
                assert allowed[f"{self.REFLECTOR}/reflection-allowed-namespaces"] == namespace
                assert allowed[f"{self.REFLECTOR}/reflection-auto-enabled"] == "false", name
        assert sources.keys() == {"agent-comms-nats-system"}


class TestCertificates:
    def test_clients_and_servers_trust_different_authorities(self) -> None:
        certificates = {name: each["spec"] for name, each in BY_TITLE.items() if each["kind"] == "Certificate"}
        assert certificates.keys() == {
            f"Certificate/{name}" for name in ("nats-ca", "nats-server", "nats-cluster-ca", "nats-cluster")
        }
        for spec in certificates.values():
            assert spec["issuerRef"]["kind"] == "Issuer"
            assert f"Issuer/{spec['issuerRef']['name']}" in BY_TITLE
            assert parse_duration(spec["renewBefore"]) < parse_duration(spec["duration"])
            assert spec["privateKey"]["algorithm"] == "ECDSA"
            known = {
                "commonName",
                "dnsNames",
                "duration",
                "isCA",
                "issuerRef",
                "privateKey",
                "renewBefore",
                "secretName",
            }
            assert spec.keys() <= known | {"usages"}
        server, cluster = certificates["Certificate/nats-server"], certificates["Certificate/nats-cluster"]
        assert server["issuerRef"]["name"] != cluster["issuerRef"]["name"]
        assert server["usages"] == ["digital signature", "server auth"]
        assert cluster["usages"] == ["digital signature", "server auth", "client auth"]
        host = BY_TITLE["Deployment/agent-comms-web"]["spec"]["template"]["spec"]["containers"][0]
        assert environment(host)["NATS_URL"] == f"tls://{server['dnsNames'][2]}:4222"
        for spec in (server, cluster):
            assert spec["privateKey"]["rotationPolicy"] == "Always"

    @pytest.mark.parametrize(("ca", "issuer"), [("nats-ca", "nats-ca"), ("nats-cluster-ca", "nats-cluster-ca")])
    def test_an_authority_signs_with_its_own_secret(self, ca: str, issuer: str) -> None:
        spec = BY_TITLE[f"Certificate/{ca}"]["spec"]
        assert spec["isCA"] is True
        assert BY_TITLE[f"Issuer/{issuer}"]["spec"] == {"ca": {"secretName": spec["secretName"]}}
        assert BY_TITLE[f"Issuer/{spec['issuerRef']['name']}"]["spec"] == {"selfSigned": {}}


class TestNack:
    def test_nothing_is_left_to_the_defaults_of_the_controller_or_the_server(self) -> None:
        spec = BY_TITLE["Stream/agent-comms"]["spec"]
        assert spec["storage"] == "file"
        assert spec["preventDelete"] is True
        assert (spec["denyDelete"], spec["denyPurge"]) == (True, True)
        assert {
            "discard",
            "duplicateWindow",
            "maxAge",
            "maxBytes",
            "maxMsgSize",
            "replicas",
            "retention",
        } <= spec.keys()
        assert (spec["allowDirect"], spec["allowRollup"]) == (False, False)
        spec = BY_TITLE["Consumer/jangar-agent-comms"]["spec"]
        assert (spec["ackPolicy"], spec["ackWait"], spec["maxDeliver"]) == ("explicit", "30s", -1)
        assert {"deliverPolicy", "maxAckPending", "maxWaiting", "replayPolicy"} <= spec.keys()
        assert spec["preventDelete"] is True
        assert not {"backoff", "deliverSubject", "filterSubject", "filterSubjects"} & spec.keys()

    def test_the_controller_is_the_user_system_and_reads_no_secret_by_itself(self) -> None:
        [values] = documents(GITOPS / "nats" / "helm" / "nack.yaml")
        jetstream = values["jetstream"]
        assert jetstream["nats"]["nkey"]["secret"] == {"name": "agent-comms-nats-system", "key": "seed.nk"}
        assert jetstream["nats"]["url"].startswith("tls://")
        assert jetstream["tls"]["enabled"] is True
        rules = yaml.safe_load(values["rbacRules"])["rules"]
        allowed = {resource for rule in rules for resource in rule["resources"]}
        assert "secrets" not in allowed
        assert {"streams", "streams/status", "consumers", "consumers/status"} <= allowed
        assert "delete" not in {verb for rule in rules for verb in rule["verbs"]}

    def test_the_disk_holds_the_stream(self) -> None:
        [values] = documents(GITOPS / "nats" / "helm" / "nats.yaml")
        size = values["config"]["jetstream"]["fileStore"]["pvc"]["size"]
        assert int(size.removesuffix("Gi")) * 2**30 >= 2 * (stream().config().max_bytes or 0)
        assert values["config"]["cluster"]["replicas"] == stream().config().num_replicas

    def test_garbage_is_collected_as_measured_here_and_bounded_by_the_memory_limit(self) -> None:
        [values] = documents(GITOPS / "nats" / "helm" / "nats.yaml")
        environment, limit = values["container"]["env"], values["container"]["resources"]["limits"]["memory"]
        assert environment["GOGC"] == GARBAGE
        assert int(environment["GOMEMLIMIT"].removesuffix("MiB")) < int(limit.removesuffix("Gi")) * 1024


def test_argos_executor_may_tell_how_it_went_and_no_more() -> None:
    role = BY_TITLE["Role/agent-run-executor"]
    assert role["rules"] == [
        {"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}
    ]
    template = BY_TITLE["WorkflowTemplate/agent-run"]["spec"]
    assert template["executor"] == {"serviceAccountName": "agent-run-executor"}
    assert template["automountServiceAccountToken"] is False
    [step] = template["templates"]
    assert template["entrypoint"] == step["name"]
    mounts = {volume["name"] for volume in template["volumes"]}
    for container in [step["container"], *step["sidecars"]]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= mounts
        assert container["securityContext"]["allowPrivilegeEscalation"] is False


def test_operators_read_no_secret_and_enter_no_pod() -> None:
    rules = BY_TITLE["Role/agent-comms-operator"]["rules"]
    allowed = {(resource, verb) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]}
    assert not {resource for resource, _ in allowed} & {"secrets", "pods/exec", "pods/attach", "*"}
    assert ("deployments", "patch") in allowed
