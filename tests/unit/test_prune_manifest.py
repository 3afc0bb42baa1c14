"""The CronJob that prunes, read strictly: a field that is misspelled would be dropped without a word."""

from typing import Any, Literal

import msgspec
import pytest
import yaml
from click.testing import CliRunner
from msgspec import Struct

from flows.settings import Settings
from flows.topology import GITOPS, stream
from web.cli import main

PATH = GITOPS / "jangar" / "cronjob-agent-comms-prune.yaml"
SETTINGS = {field.name.upper() for field in msgspec.structs.fields(Settings)}


class Strict(Struct, forbid_unknown_fields=True, rename="camel", frozen=True):
    """What Kubernetes knows, as far as it is used."""


class Metadata(Strict, frozen=True):
    labels: dict[str, str]
    name: str = ""


class Seccomp(Strict, frozen=True):
    type: Literal["RuntimeDefault"]


class PodSecurity(Strict, frozen=True):
    run_as_non_root: bool
    run_as_user: int
    run_as_group: int
    seccomp_profile: Seccomp


class Capabilities(Strict, frozen=True):
    drop: list[str]


class Security(Strict, frozen=True):
    allow_privilege_escalation: bool
    read_only_root_filesystem: bool
    capabilities: Capabilities


class SecretKey(Strict, frozen=True):
    name: str
    key: str


class Source(Strict, frozen=True):
    secret_key_ref: SecretKey


class Variable(Strict, frozen=True):
    name: str
    value: str | None = None
    value_from: Source | None = None


class Resources(Strict, frozen=True):
    requests: dict[str, str]
    limits: dict[str, str]


class Mount(Strict, frozen=True):
    name: str
    mount_path: str


class Space(Strict, frozen=True):
    size_limit: str


class Volume(Strict, frozen=True):
    name: str
    empty_dir: Space


class Container(Strict, frozen=True):
    name: str
    image: str
    args: list[str]
    env: list[Variable]
    resources: Resources
    security_context: Security
    volume_mounts: list[Mount] = []


class PodSpec(Strict, frozen=True):
    restart_policy: Literal["Never", "OnFailure"]
    automount_service_account_token: bool
    enable_service_links: Literal[False]
    termination_grace_period_seconds: int
    security_context: PodSecurity
    containers: list[Container]
    volumes: list[Volume] = []


class Pod(Strict, frozen=True):
    metadata: Metadata
    spec: PodSpec


class JobSpec(Strict, frozen=True):
    backoff_limit: int
    active_deadline_seconds: int
    template: Pod


class Job(Strict, frozen=True):
    metadata: Metadata
    spec: JobSpec


class CronJobSpec(Strict, frozen=True):
    schedule: str
    time_zone: str
    concurrency_policy: Literal["Allow", "Forbid", "Replace"]
    starting_deadline_seconds: int
    successful_jobs_history_limit: int
    failed_jobs_history_limit: int
    job_template: Job


class CronJob(Strict, frozen=True):
    api_version: Literal["batch/v1"]
    kind: Literal["CronJob"]
    metadata: Metadata
    spec: CronJobSpec


@pytest.fixture(scope="module")
def document() -> Any:
    return yaml.safe_load(PATH.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def cron(document: Any) -> CronJobSpec:
    return msgspec.convert(document, CronJob).spec


@pytest.fixture(scope="module")
def pod(cron: CronJobSpec) -> PodSpec:
    return cron.job_template.spec.template.spec


@pytest.fixture(scope="module")
def container(pod: PodSpec) -> Container:
    (only,) = pod.containers
    return only


def test_a_misspelled_field_would_be_seen(document: Any) -> None:
    document = {**document, "spec": {**document["spec"], "startingDeadlineSecond": 5}}
    with pytest.raises(msgspec.ValidationError, match="startingDeadlineSecond"):
        msgspec.convert(document, CronJob)


def test_two_never_run_at_once_and_a_night_that_was_missed_is_left_to_the_next(cron: CronJobSpec) -> None:
    assert cron.concurrency_policy == "Forbid"
    assert len(cron.schedule.split()) == 5
    # Below 10 s the controller, which looks every 10 s, might miss each start.
    assert 10 < cron.starting_deadline_seconds <= 24 * 3600
    assert cron.job_template.spec.active_deadline_seconds < 24 * 3600
    assert cron.failed_jobs_history_limit > 0


def test_it_may_do_no_more_than_it_needs(pod: PodSpec, container: Container) -> None:
    assert pod.automount_service_account_token is False
    assert pod.security_context.run_as_non_root is True
    assert pod.security_context.run_as_user >= 10_000
    assert container.security_context.allow_privilege_escalation is False
    assert container.security_context.read_only_root_filesystem is True
    assert container.security_context.capabilities.drop == ["ALL"]
    assert {"cpu", "memory"} <= container.resources.requests.keys()
    assert "memory" in container.resources.limits


def test_its_command_is_ours_and_so_are_its_variables(container: Container) -> None:
    assert CliRunner().invoke(main, [*container.args, "--help"]).exit_code == 0
    assert {variable.name for variable in container.env} <= SETTINGS


def test_the_database_is_a_secrets(container: Container) -> None:
    variables = {variable.name: variable for variable in container.env}
    database = variables["DATABASE_URL"]
    assert database.value is None
    assert database.value_from == Source(SecretKey("agent-comms-database", "url"))


def test_messages_are_kept_for_longer_than_the_stream_may_deliver_them_again(container: Container) -> None:
    variables = {variable.name: variable for variable in container.env}
    days = int(variables["AGENT_COMMS_RETENTION_DAYS"].value or "")
    assert days * 86_400 > (stream().config().max_age or 0)
    assert days == Settings().agent_comms_retention_days
