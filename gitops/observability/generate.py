"""Makes prometheusrule.yaml of rules.yaml, and dashboard.json of what is written here.

python -m gitops.observability.generate
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
RULES = HERE / "rules.yaml"
PROMETHEUS_RULE = HERE / "prometheusrule.yaml"
DASHBOARD = HERE / "dashboard.json"
MADE = "# Made of rules.yaml by `python -m gitops.observability.generate`.\n"

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
HEIGHT = 8
# Of one cluster or several; a series without the label is of the only one there is.
OF_CLUSTER = 'cluster=~"$cluster"'
# Of a replicated stream each server tells its own view; the leader's counts.
STREAM_LEADER = 'stream_name="agent-comms", is_stream_leader="true"'
CONSUMER_LEADER = 'stream_name="agent-comms", consumer_name="jangar-agent-comms", is_consumer_leader="true"'


@dataclass(frozen=True)
class Panel:
    """One panel.

    Attributes:
        unit: as Grafana calls it.
        queries: a legend and an expression each.
        width: of 24 columns.
        kind: of Grafana's.
        top: the most that there can be, where there is a limit.
        note: shown where one points at the title.
    """

    title: str
    unit: str
    queries: dict[str, str]
    width: int = 8
    kind: str = "timeseries"
    top: float | None = None
    note: str = ""
    steps: dict[float, str] = field(default_factory=dict)


def _rate(name: str, by: str = "", labels: str = "") -> str:
    inner = ", ".join(filter(None, (labels, OF_CLUSTER)))
    return f"sum by ({by}) (rate({name}{{{inner}}}[$__rate_interval]))"


def _of_exporter(name: str, leader: str) -> str:
    """Return what NATS' exporter tells, whichever prefix it has."""
    return f'{{__name__=~"(nats|jetstream)_{name}", {leader}, {OF_CLUSTER}}}'


def _of_stream(name: str) -> str:
    return f"max by (cluster) ({_of_exporter(f'stream_{name}', STREAM_LEADER)})"


def _of_consumer(name: str) -> str:
    return f"max by (cluster) ({_of_exporter(f'consumer_{name}', CONSUMER_LEADER)})"


def _recorded(name: str) -> str:
    return f"{name}{{{OF_CLUSTER}}}"


def _quantiles(name: str) -> dict[str, str]:
    return {
        f"p{quantile}": (
            f"histogram_quantile(0.{quantile}, sum by (le) (rate({name}_bucket{{{OF_CLUSTER}}}[$__rate_interval])))"
        )
        for quantile in (50, 95, 99)
    }


def _gauge(name: str, labels: str = "", by: str = "") -> str:
    inner = ", ".join(filter(None, (labels, OF_CLUSTER)))
    # Each web of a cluster counts the same; clusters add up.
    return f"sum by ({by}) (max by ({', '.join(filter(None, ('cluster', by)))}) ({name}{{{inner}}}))"


ROWS: dict[str, list[Panel]] = {
    "At a glance": [
        Panel(
            "Oldest message without a row", "s", {"": f"max({_recorded('agent_comms:oldest_unstored_seconds:max')})"},
            6, "stat", steps={0: "green", 60: "orange", 600: "red"},
        ),
        Panel(
            "Not stored yet", "short", {"": f"sum({_recorded('agent_comms:backlog_messages:max')})"},
            6, "stat", steps={0: "green", 10_000: "orange", 100_000: "red"},
        ),
        Panel("Stored", "cps", {"": f"sum({_recorded('agent_comms:stored_messages:rate5m')})"}, 6, "stat"),
        Panel(
            "Dead letters that wait", "short", {"": _gauge("agent_comms_dead_letters_waiting")},
            6, "stat", steps={0: "green", 1: "orange", 1_000: "red"},
        ),
    ],
    "Stream": [
        Panel(
            "Published", "cps",
            {
                "{{cluster}}": (
                    "max by (cluster) "
                    f"(rate({_of_exporter('stream_last_seq', STREAM_LEADER)}[$__rate_interval]))"
                )
            },
            note="By the stream's last sequence.",
        ),
        Panel(
            "Storage against its limit", "bytes",
            {
                "stored {{cluster}}": _of_stream("total_bytes"),
                "limit {{cluster}}": _of_stream("limit_bytes"),
            },
            note="At the limit the oldest messages are dropped, stored or not.",
        ),
        Panel(
            "Messages kept", "short", {"{{cluster}}": _of_stream("total_messages")},
            note="For seven days, as far as there is room.",
        ),
        Panel(
            "Behind, in messages", "short",
            {
                "not delivered {{cluster}}": _of_consumer("num_pending"),
                "not acked {{cluster}}": _of_consumer("num_ack_pending"),
            },
            note="By the consumer's leader.",
        ),
        Panel(
            "Behind, in seconds", "s", {"{{cluster}}": _recorded("agent_comms:oldest_unstored_seconds:max")},
            note="The age of the oldest message without a row, at most.",
        ),
        Panel(
            "Delivered again", "percentunit", {"{{cluster}}": _recorded("agent_comms:redelivered:ratio10m")}, top=1,
            note="Which part of what is delivered was delivered before.",
        ),
    ],
    "Ingest": [
        Panel(
            "What becomes of messages", "cps",
            {
                "received": _rate("agent_comms_messages_received_total"),
                "stored": _rate("agent_comms_messages_stored_total"),
                "known already": _rate("agent_comms_messages_duplicate_total"),
                "dead letters": _rate("agent_comms_dead_letters_total"),
            },
        ),
        Panel("From the stream to a row", "s", _quantiles("agent_comms_publish_to_row_seconds")),
        Panel("Time to store a batch", "s", _quantiles("agent_comms_batch_write_seconds")),
        Panel("Messages a batch", "short", _quantiles("agent_comms_batch_messages")),
        Panel(
            "Where the time goes before that", "percentunit",
            {"{{stage}}": _rate("agent_comms_batch_stage_seconds_sum", "stage")},
            note="Seconds a second, by stage.",
        ),
        Panel(
            "Dead letters", "cps", {"{{reason}}": _rate("agent_comms_dead_letters_total", "reason")},
            note="See agent-comms dead-letters list.",
        ),
        Panel("Credentials redacted", "cps", {"{{kind}}": _rate("agent_comms_redactions_total", "kind")}),
        Panel("Claims to be somebody else", "cps", {"messages": _rate("agent_comms_claimed_identities_total")}),
        Panel(
            "Tries to store that failed", "cps", {"{{class}}": _rate("agent_comms_store_failures_total", "class")},
            note="By the class of Postgres' error code; 08 is the connection.",
        ),
    ],
    "Live": [
        Panel("Who watches", "short", {"connections": f"sum(agent_comms_live_subscribers{{{OF_CLUSTER}}})"}),
        Panel("From a row to those who watch", "s", _quantiles("agent_comms_row_to_client_seconds")),
        Panel(
            "Queued for them", "short", {"messages": f"sum(agent_comms_live_queue_messages{{{OF_CLUSTER}}})"},
            note="What does not fit is read from Postgres again: nothing is lost.",
        ),
        Panel("Cut for not reading", "cps", {"connections": _rate("agent_comms_live_cut_total")}),
        Panel("Questions to Postgres", "s", _quantiles("agent_comms_query_seconds")),
        Panel(
            "Answers", "reqps", {"{{status}}": _rate("agent_comms_http_requests_total", "status")},
        ),
    ],
    "Runs": [
        Panel(
            "Running", "short", {"{{activity}}": _gauge("agent_comms_running_runs", by="activity")},
            note="Of the last six hours, by whether they still talk.",
        ),
        Panel(
            "To be reconciled", "short",
            {"{{state}}": _gauge("agent_comms_reconcile_queue_runs", 'state!="done"', "state")},
        ),
        Panel(
            "Whole, of this week's runs", "percentunit",
            {
                "whole": (
                    _gauge("agent_comms_reconciled_recently_runs", 'complete="true"')
                    + " / sum("
                    + _gauge("agent_comms_reconciled_recently_runs", 'complete!="unknown"', "complete")
                    + ")"
                ),
            },
            top=1,
        ),
        Panel(
            "Longest wait to be reconciled", "s",
            {"wait": f"max(agent_comms_reconcile_overdue_seconds{{{OF_CLUSTER}}})"},
        ),
        Panel("Recovered from artifacts", "cps", {"messages": _rate("agent_comms_recovered_messages_total")}),
        Panel(
            "In publishers' spools", "bytes", {"bytes": f"sum(agent_comms_spool_bytes{{{OF_CLUSTER}}})"},
            note="Of publishers that are scraped.",
        ),
    ],
    "Processes": [
        Panel(
            "Connections", "bool_on_off",
            {"{{job}} {{instance}} to {{to}}": f"agent_comms_connected{{{OF_CLUSTER}}}"}, top=1,
        ),
        Panel(
            "Memory", "bytes",
            {"{{job}} {{instance}}": f'process_resident_memory_bytes{{job=~"agent-comms-.+", {OF_CLUSTER}}}'},
        ),
        Panel(
            "CPU", "percentunit",
            {
                "{{job}} {{instance}}": (
                    f'rate(process_cpu_seconds_total{{job=~"agent-comms-.+", {OF_CLUSTER}}}[$__rate_interval])'
                )
            },
            note="Of one core.",
        ),
        Panel(
            "Credentials are good for", "s",
            {"{{credential}}": (
                f"min by (credential) (agent_comms_credential_expiry_timestamp_seconds{{{OF_CLUSTER}}}) - time()"
            )},
        ),
        Panel(
            "Warnings and worse",
            "cps",
            {"{{job}} {{level}}": _rate("agent_comms_log_lines_total", "job, level")},
            note="Those that repeat others and are not written again, too.",
        ),
        Panel(
            "Versions", "short",
            {"{{program}} {{version}}": f"count by (program, version) (agent_comms_build_info{{{OF_CLUSTER}}})"},
        ),
        Panel(
            "Alerts", "short",
            {
                "{{alertname}}": (
                    'count by (alertname) '
                    f'(ALERTS{{alertname=~"AgentComms.+", alertstate="firing", {OF_CLUSTER}}})'
                )
            },
        ),
    ],
}  # fmt: skip


def prometheus_rule() -> str:
    """Return the rules as the Prometheus operator takes them."""
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "agent-comms", "labels": {"app.kubernetes.io/part-of": "agent-comms"}},
        "spec": yaml.safe_load(RULES.read_text(encoding="utf-8")),
    }
    return MADE + yaml.safe_dump(resource, sort_keys=False, width=120)


def dashboard() -> str:
    """Return the dashboard as Grafana takes it."""
    panels: list[dict[str, Any]] = []
    at = 0
    for title, row in ROWS.items():
        panels.append(_row(len(panels) + 1, title, at))
        at += 1
        column = 0
        height = 4 if row[0].kind == "stat" else HEIGHT
        for panel in row:
            if column + panel.width > COLUMNS:
                column, at = 0, at + height
            place = {"x": column, "y": at, "w": panel.width, "h": height}
            panels.append(_panel(len(panels) + 1, panel, place))
            column += panel.width
        at += height
    return json.dumps(_around(panels), indent=2) + "\n"


def _around(panels: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "uid": "agent-comms",
        "title": "agent-comms",
        "tags": ["agent-comms"],
        "description": "From the stream to those who watch. Alerts and what to do: gitops/observability/runbooks.md.",
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "",
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                {
                    "name": "cluster",
                    "label": "Cluster",
                    "type": "query",
                    "datasource": DATASOURCE,
                    "query": {"query": "label_values(agent_comms_build_info, cluster)", "refId": "cluster"},
                    "refresh": 2,
                    "sort": 1,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": ["All"], "value": ["$__all"]},
                },
            ]
        },
        "annotations": {"list": []},
        "panels": panels,
    }


def _row(number: int, title: str, at: int) -> dict[str, Any]:
    place = {"x": 0, "y": at, "w": COLUMNS, "h": 1}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": place, "panels": []}


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.top is not None:
        defaults["max"] = panel.top
    if panel.kind == "timeseries":
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never"}
    if panel.steps:
        steps = [{"value": value or None, "color": color} for value, color in panel.steps.items()]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.note,
        "datasource": DATASOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel),
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": DATASOURCE, "expr": expr, "legendFormat": legend}
            for place, (legend, expr) in enumerate(panel.queries.items())
        ],
    }


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "value"}
    return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}


def main() -> None:
    """Write both files."""
    PROMETHEUS_RULE.write_text(prometheus_rule(), encoding="utf-8")
    DASHBOARD.write_text(dashboard(), encoding="utf-8")


if __name__ == "__main__":
    main()
