"""Rules, runbooks and the dashboard: each metric in them is told by somebody, each alert is tested and explained."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops.observability import generate
from tests.prometheus import require
from web import measures

HERE = generate.HERE
RULES = yaml.load(generate.RULES.read_text(encoding="utf-8"), yaml.CSafeLoader)
ALL_RULES: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in ALL_RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in ALL_RULES if "record" in rule}
TESTS = yaml.load((HERE / "tests" / "rules_test.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
RUNBOOKS = (HERE / "runbooks.md").read_text(encoding="utf-8")
EXPORTED = {
    line
    for line in (HERE / "exporter-metrics.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
}
# What the library, and Prometheus itself, tell of everything.
EVERYWHERE = {"up", "ALERTS", "process_resident_memory_bytes", "process_cpu_seconds_total"}
PANELS = [panel for panel in json.loads(generate.dashboard())["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


def told() -> set[str]:
    """Return the names of all series that our programs tell."""
    names = set()
    for name, kind in re.findall(r"^\| `(\w+)[^`]*` \| (\w+) \|", measures.table(), re.MULTILINE):
        names |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


def used(expression: str) -> set[str]:
    """Return the metrics that an expression names; what is in quotes, braces after a name, or by a label, is none."""
    by_pattern = set(re.findall(r'__name__=~"\(nats\|jetstream\)_(\w+)"', expression))
    plain = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\b(by|on|without)\s*\([^)]*\)", " ", expression)
    words = re.findall(r"[A-Za-z_:][\w:]*(?!\s*\()\b", plain)
    language = {"by", "on", "or", "and", "unless", "max", "min", "sum", "count", "offset", "absent", "inf"}
    functions = set(re.findall(r"([A-Za-z_]\w*)\s*\(", plain))
    return {word for word in words if word not in language | functions and len(word) > 1} | by_pattern


def test_promtool_takes_the_rules_and_all_of_their_tests_pass() -> None:
    promtool = require("promtool")
    for arguments in (["check", "rules", "rules.yaml"], ["test", "rules", "tests/rules_test.yaml"]):
        done = subprocess.run([promtool, *arguments], cwd=HERE, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_each_alert_is_tested_before_it_fires_while_it_does_and_after(alert: str) -> None:
    for test in TESTS["tests"]:
        moments = [each for each in test.get("alert_rule_test", []) if each["alertname"] == alert]
        if [bool(each["exp_alerts"]) for each in moments][-3:] == [False, True, False]:
            return
    pytest.fail(f"{alert} has no test of not firing, firing and ending")


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_each_alert_leads_to_a_section_that_says_what_it_means_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["runbook_url"] == f"runbooks.md#{alert.lower()}"
    section = re.search(rf"^## {alert}\n(.*?)(?=^## |\Z)", RUNBOOKS, re.MULTILINE | re.DOTALL)
    assert section is not None
    assert all(f"**{part}**" in section[1] for part in ("It means", "Look at", "Do"))


def test_there_is_no_section_without_an_alert_and_no_link_that_leads_nowhere() -> None:
    assert set(re.findall(r"^## (\w+)", RUNBOOKS, re.MULTILINE)) == set(ALERTS)
    assert set(re.findall(r"\]\(#(\w+)\)", RUNBOOKS)) <= {name.lower() for name in ALERTS}


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_each_metric_in_the_rules_is_told_by_somebody(rule: dict[str, Any]) -> None:
    names = used(rule["expr"])
    assert names
    assert names - told() - EXPORTED - RECORDED - EVERYWHERE == set()


def test_each_metric_in_the_dashboard_is_told_by_somebody() -> None:
    for expression in EXPRESSIONS:
        names = used(expression)
        assert names, expression
        assert names - told() - EXPORTED - RECORDED - EVERYWHERE == set(), expression


def test_each_metric_in_the_runbooks_is_told_by_somebody() -> None:
    named = set(re.findall(r"`(agent_comms_\w+)", RUNBOOKS))
    assert named
    assert named - told() == set()


def test_the_test_of_metrics_would_find_one_that_is_misspelled() -> None:
    assert used('sum by (le) (rate(agent_comms_x_bucket{a="b"}[5m])) / on (cluster) up') == {
        "agent_comms_x_bucket",
        "up",
    }
    assert used("a:b:max > 0 unless on (cluster) c_d > 1") == {"a:b:max", "c_d"}


def test_what_is_recorded_is_used() -> None:
    everything = " ".join([rule["expr"] for rule in ALL_RULES] + EXPRESSIONS)
    assert {name for name in RECORDED if name not in everything} == set()


def test_the_rules_of_the_operator_and_the_dashboard_are_the_ones_that_are_made() -> None:
    assert generate.PROMETHEUS_RULE.read_text(encoding="utf-8") == generate.prometheus_rule()
    assert generate.DASHBOARD.read_text(encoding="utf-8") == generate.dashboard()


def test_each_panel_has_a_unit_a_place_of_its_own_and_the_cluster_that_is_chosen() -> None:
    places: set[tuple[int, int]] = set()
    for panel in PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & places, panel["title"]
        assert place["x"] + place["w"] <= generate.COLUMNS
        places |= cells
        for target in panel["targets"]:
            assert 'cluster=~"$cluster"' in target["expr"], panel["title"]


def test_of_replicated_streams_the_leader_is_asked() -> None:
    for expression in [*EXPRESSIONS, *(rule["expr"] for rule in ALL_RULES if "record" in rule)]:
        for kind in ("stream", "consumer"):
            if f"jetstream)_{kind}_" in expression:
                assert f'is_{kind}_leader="true"' in expression


def test_promtool_takes_each_expression_of_the_dashboard(tmp_path: Path) -> None:
    promtool = require("promtool")
    rules = [
        {"record": f"panel:{number}", "expr": expression.replace("$__rate_interval", "1m").replace("$cluster", ".*")}
        for number, expression in enumerate(EXPRESSIONS)
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_kustomization_names_each_file_there_is() -> None:
    kustomization = yaml.safe_load((HERE / "kustomization.yaml").read_text(encoding="utf-8"))
    named = {*kustomization["resources"], "kustomization.yaml", "rules.yaml"}
    assert {path.name for path in HERE.glob("*.yaml")} == named
    for generator in kustomization["configMapGenerator"]:
        for file in generator["files"]:
            assert (HERE / file.partition("=")[2]).is_file()


def test_what_is_scraped_gets_the_names_that_the_alerts_go_by() -> None:
    monitors = [
        yaml.safe_load((HERE / name).read_text(encoding="utf-8"))
        for name in ("podmonitor-agent-comms.yaml", "servicemonitor-agent-comms-web.yaml")
    ]
    assert {each["spec"]["jobLabel"] for each in monitors} == {"app.kubernetes.io/name"}
    nats = yaml.safe_load((HERE / "podmonitor-nats.yaml").read_text(encoding="utf-8"))
    (endpoint,) = nats["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == "prom-metrics"
    assert {"action": "labeldrop", "regex": "cluster"} in endpoint["metricRelabelings"]


def manifests(*path: str) -> list[dict[str, Any]]:
    text = HERE.parent.joinpath(*path).read_text(encoding="utf-8")
    return [each for each in yaml.safe_load_all(text) if each]


def test_the_flow_and_the_web_of_the_bundle_are_what_is_scraped() -> None:
    (monitor,) = manifests("observability", "podmonitor-agent-comms.yaml")
    (flow,) = manifests("jangar", "deployment-agent-comms-ingest.yaml")
    pod = flow["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "agent-comms-ingest"
    (container,) = pod["spec"]["containers"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert {port["name"]: port["containerPort"] for port in container["ports"]}[endpoint["port"]] == 9464
    environ = {each["name"]: each.get("value") for each in container["env"]}
    assert environ["AGENT_COMMS_METRICS_HOST"] == "0.0.0.0"
    (monitor,) = manifests("observability", "servicemonitor-agent-comms-web.yaml")
    (service,) = manifests("jangar", "service-agent-comms-web.yaml")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert service["metadata"]["labels"]["app.kubernetes.io/name"] == "agent-comms-web"


def test_the_exporter_is_on_and_scraped_once() -> None:
    (values,) = manifests("nats", "helm", "nats.yaml")
    assert values["promExporter"]["enabled"] is True
    assert not values["promExporter"].get("podMonitor", {}).get("enabled", False)
