"""The CronJobs that recover runs, read as strictly as the one that prunes."""

from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from flows.topology import GITOPS
from tests.unit.test_prune_manifest import SETTINGS, Container, CronJob, CronJobSpec, PodSpec, SecretKey, Source
from web.cli import main

FOLDER = GITOPS / "jangar"
# What Amazon's own tools read, S3 clients of others too.
OF_S3 = {"AWS_ENDPOINT_URL_S3", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


@pytest.fixture(params=["backfill", "reconcile"])
def cron(request: pytest.FixtureRequest) -> CronJobSpec:
    document: Any = yaml.safe_load((FOLDER / f"cronjob-agent-comms-{request.param}.yaml").read_text(encoding="utf-8"))
    return msgspec.convert(document, CronJob).spec


@pytest.fixture
def pod(cron: CronJobSpec) -> PodSpec:
    return cron.job_template.spec.template.spec


@pytest.fixture
def container(pod: PodSpec) -> Container:
    (only,) = pod.containers
    return only


def test_each_is_applied() -> None:
    applied = yaml.safe_load((FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert {f"cronjob-agent-comms-{name}.yaml" for name in ("backfill", "reconcile")} <= set(applied)


def test_two_of_a_kind_never_run_at_once_and_each_ends(cron: CronJobSpec) -> None:
    assert cron.concurrency_policy == "Forbid"
    # Below 10 s the controller, which looks every 10 s, might miss each start.
    assert cron.starting_deadline_seconds > 10
    assert 0 < cron.job_template.spec.active_deadline_seconds <= 6 * 3600
    assert cron.failed_jobs_history_limit > 0


def test_it_may_do_no_more_than_it_needs(pod: PodSpec, container: Container) -> None:
    assert pod.automount_service_account_token is False
    assert pod.security_context.run_as_non_root is True
    assert container.security_context.allow_privilege_escalation is False
    assert container.security_context.read_only_root_filesystem is True
    assert container.security_context.capabilities.drop == ["ALL"]
    assert {"cpu", "memory"} <= container.resources.requests.keys()
    assert "memory" in container.resources.limits


def test_those_who_read_have_a_place_for_their_socket(pod: PodSpec, container: Container) -> None:
    mounted = {mount.name: mount.mount_path for mount in container.volume_mounts}
    assert [mounted[volume.name] for volume in pod.volumes] == ["/tmp"]


def test_its_command_is_ours_and_so_are_its_variables(container: Container) -> None:
    assert CliRunner().invoke(main, [*container.args, "--help"]).exit_code == 0
    assert {variable.name for variable in container.env} <= SETTINGS | OF_S3


def test_what_is_secret_is_a_secrets(container: Container) -> None:
    sources = {variable.name: variable.value_from for variable in container.env if variable.value is None}
    assert sources == {
        "DATABASE_URL": Source(SecretKey("agent-comms-database-backfill", "url")),
        "AWS_ACCESS_KEY_ID": Source(SecretKey("agent-comms-artifacts", "accesskey")),
        "AWS_SECRET_ACCESS_KEY": Source(SecretKey("agent-comms-artifacts", "secretkey")),
    }
