import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectors.bootstrap import compare
from connectors.duration import format_duration, parse_duration
from connectors.nack import ConsumerManifest, NackError, StreamManifest, load
from flows import topology
from flows.topology import CONSUMER_MANIFEST, GITOPS, STREAM_MANIFEST


def edited(path: Path, tmp_path: Path, *, drop: str = "", **changes: Any) -> Path:
    document = yaml.safe_load(path.read_text())
    document["spec"] = {name: value for name, value in {**document["spec"], **changes}.items() if name != drop}
    copy = tmp_path / path.name
    copy.write_text(yaml.safe_dump(document))
    return copy


def test_the_stream_is_the_contracts() -> None:
    config = topology.stream().config()
    assert config.name == "agent-comms"
    assert config.subjects == ["workflow.>"]
    assert (config.storage, config.retention, config.discard) == ("file", "limits", "old")
    assert config.max_age == 7 * 24 * 3600
    assert 5 * 2**30 <= (config.max_bytes or 0) <= 10 * 2**30
    assert config.num_replicas == 3
    assert config.duplicate_window == 600
    assert (config.deny_delete, config.deny_purge) == (True, True)


def test_the_consumer_is_the_contracts() -> None:
    manifest = topology.consumer()
    config = manifest.config()
    assert (manifest.stream_name, config.durable_name, config.name) == ("agent-comms", *["jangar-agent-comms"] * 2)
    assert (config.deliver_policy, config.ack_policy, config.replay_policy) == ("all", "explicit", "instant")
    assert config.ack_wait == 30
    assert (config.max_ack_pending, config.max_deliver, config.max_waiting) == (20_000, -1, 512)
    assert (config.filter_subject, config.filter_subjects, config.deliver_subject) == (None, None, None)


@pytest.mark.parametrize("path", [STREAM_MANIFEST, CONSUMER_MANIFEST], ids=lambda path: path.name)
def test_deleting_the_resource_deletes_nothing_on_the_server(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["spec"]["preventDelete"] is True


@pytest.mark.parametrize("bundle", ["nats", "jangar"])
def test_a_bundle_names_its_files_and_its_namespace(bundle: str) -> None:
    kustomization = yaml.safe_load((GITOPS / bundle / "kustomization.yaml").read_text())
    assert kustomization["namespace"] == bundle
    others = {path.name for path in (GITOPS / bundle).glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == others


@pytest.mark.parametrize(
    "field", ["storage", "maxAge", "maxBytes", "replicas", "duplicateWindow", "discard", "retention"]
)
def test_a_stream_field_with_a_dangerous_default_must_be_written_out(field: str, tmp_path: Path) -> None:
    with pytest.raises(NackError, match=rf"stream-agent-comms\.yaml: spec\.{field}: must be written out$"):
        load(edited(STREAM_MANIFEST, tmp_path, drop=field))


@pytest.mark.parametrize(
    "field", ["ackPolicy", "ackWait", "deliverPolicy", "maxAckPending", "maxDeliver", "replayPolicy", "maxWaiting"]
)
def test_a_consumer_field_with_a_dangerous_default_must_be_written_out(field: str, tmp_path: Path) -> None:
    with pytest.raises(NackError, match=rf"agent-comms\.yaml: spec\.{field}: must be written out$"):
        load(edited(CONSUMER_MANIFEST, tmp_path, drop=field))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"maxage": "1h"}, "spec.maxage: is no field that is understood here"),
        ({"maxBytes": "10GiB"}, "spec.maxBytes: expected `int`, got `str`"),
        ({"maxAge": "7d"}, "spec.maxAge: '7d' is no duration like 168h, 30s or 500ms; there is no unit for days"),
        ({"maxAge": 604800}, "spec.maxAge: 604800 is no duration"),
        ({"storage": "tape"}, "spec.storage: invalid enum value 'tape'"),
        ({"replicas": 0}, "spec.replicas: expected `int` >= 1"),
        ({"name": "agent.comms"}, "spec.name: expected `str` matching"),
        ({"maxAge": "5m"}, "spec: duplicateWindow is longer than maxAge"),
        ({"placement": {"zone": "a"}}, "spec.placement.zone: is no field"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_a_wrong_field_is_one_line_that_names_file_and_field(change: dict[str, Any], line: str, tmp_path: Path) -> None:
    path = edited(STREAM_MANIFEST, tmp_path, **change)
    with pytest.raises(NackError) as raised:
        load(path)
    assert str(raised.value).startswith(f"{path}: {line}")
    assert "\n" not in str(raised.value)


def test_two_filters_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(NackError, match="filterSubject and filterSubjects exclude each other"):
        load(edited(CONSUMER_MANIFEST, tmp_path, filterSubject="a", filterSubjects=["b"]))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "this is not YAML: "),
        ("kind: Pod\napiVersion: v1\nmetadata: {}\nspec: {}\n", "kind: invalid value 'Pod'"),
        ("apiVersion: jetstream.nats.io/v1beta1\nkind: Stream\nmetadata: {}\nspec: {}\n", "apiVersion: invalid enum"),
        ("- a\n", "expected `object`, got `array`"),
    ],
    ids=["broken", "another kind", "another version", "a list"],
)
def test_what_is_no_stream_or_consumer_is_one_line(text: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.yaml"
    path.write_text(text)
    with pytest.raises(NackError) as raised:
        load(path)
    message = str(raised.value)
    assert line.lower() in message.lower()
    assert message.startswith(str(path))
    assert "\n" not in message


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(NackError, match="No such file"):
        load(tmp_path / "none.yaml")


def test_one_file_may_hold_several_resources(tmp_path: Path) -> None:
    path = tmp_path / "both.yaml"
    path.write_text(f"{STREAM_MANIFEST.read_text()}---\n{CONSUMER_MANIFEST.read_text()}---\n")
    assert [type(manifest) for manifest in load(path)] == [StreamManifest, ConsumerManifest]


def test_how_the_controller_connects_is_read_and_left_to_it(tmp_path: Path) -> None:
    path = edited(STREAM_MANIFEST, tmp_path, account="comms", servers=["nats://a"], tls={"rootCas": ["/ca"]})
    [manifest] = load(path)
    assert manifest.config() == topology.stream().config()


def test_every_deliver_policy_is_spelled_as_the_server_does(tmp_path: Path) -> None:
    [manifest] = load(edited(CONSUMER_MANIFEST, tmp_path, deliverPolicy="lastPerSubject"))
    assert manifest.config().deliver_policy == "last_per_subject"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("168h", 604_800), ("30s", 30), ("500ms", 0.5), ("1h30m", 5400), ("1.5h", 5400), ("2m0.5s", 120.5), ("0", 0)],
)
def test_go_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "1 h", "-5m", "1h,", "1w", "1d12h", "٣s", 5, None])
def test_what_is_no_go_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(604_800, "168h"), (90, "1m30s"), (0.25, "250ms"), (1e-9, "1ns"), (0, "0s"), (60.5, "60500ms")],
)
def test_durations_are_shown_as_go_writes_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_difference_is_named_as_the_manifest_names_it() -> None:
    manifest = topology.stream()
    server = manifest.config().evolve(num_replicas=1, max_age=86_400.0, subjects=["workflow.>", "other"])
    assert [str(difference) for difference in compare(manifest, server)] == [
        "stream agent-comms: subjects: workflow.> in the manifest, workflow.>, other on the server",
        "stream agent-comms: maxAge: 168h in the manifest, 24h on the server",
        "stream agent-comms: replicas: 3 in the manifest, 1 on the server",
    ]


def test_what_the_server_fills_in_is_no_difference() -> None:
    manifest = topology.consumer()
    server = manifest.config().evolve(num_replicas=0, metadata={"_nats.ver": "2.15.1"}, headers_only=False)
    assert compare(manifest, server) == []


def test_a_filter_that_the_manifest_lacks_is_a_difference() -> None:
    manifest = topology.consumer()
    [difference] = compare(manifest, manifest.config().evolve(filter_subject="workflow.a.>"))
    assert (difference.field, difference.manifest, difference.server) == ("filterSubject", "unset", "workflow.a.>")


AT_ONCE = """
import sys, threading
from flows import topology
sys.setswitchinterval(1e-6)
begin = threading.Barrier(8)
def read():
    begin.wait()
    topology.stream()
    topology.consumer()
threads = [threading.Thread(target=read) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_of_a_fresh_process_read_them_at_once() -> None:
    # Where a type is looked at by two threads for the first time, about every third process crashes.
    processes = [subprocess.Popen([sys.executable, "-c", AT_ONCE]) for _ in range(5)]
    assert [process.wait(60) for process in processes] == [0] * 5
