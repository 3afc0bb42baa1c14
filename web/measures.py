"""Every metric of every program: its name, labels and type, who tells it, and what it means."""

from collections.abc import Iterable, Iterator

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from connectors.connection import NatsOptions
from connectors.jetstream import JetStreamSource
from connectors.outbox import Outbox
from connectors.spool import Spool
from flows import target, topology
from flows.expiry import Expiries
from flows.exposition import count_lines
from flows.gauges import BackfillMetrics, ReconcileMetrics
from flows.metrics import FlowMetrics
from flows.outbound import PublisherMetrics
from flows.settings import Settings
from flows.storage import SAMPLE_MESSAGE
from web import metrics
from web.figures import Standing, families

# What `prometheus-client` adds of the process itself is as everywhere.
_OURS = "agent_comms_"
_SUFFIXES = {"counter": "_total", "info": "_info"}


def table() -> str:
    """Return the metrics as a Markdown table."""
    known: dict[str, tuple[str, str, list[str]]] = {}
    for program, family in _families():
        if not family.name.startswith(_OURS):
            continue
        name = f"{family.name}{_SUFFIXES.get(family.type, '')}{_labels(family)}"
        _, _, programs = known.setdefault(name, (family.type, family.documentation, []))
        if program not in programs:
            programs.append(program)
    lines = ["| metric | type | of | |", "| --- | --- | --- | --- |"]
    for name, (kind, documentation, programs) in known.items():
        lines.append(f"| `{name}` | {kind} | {', '.join(programs)} | {documentation} |")
    return "\n".join(lines)


def _families() -> Iterator[tuple[str, Metric]]:
    # A label without a value is not shown.
    expiry = Expiries(Settings()).family()
    expiry.add_metric(["nats_creds_file"], 0)
    lines = [*count_lines(CollectorRegistry()).collect()]
    metrics.REQUESTS.labels("/healthz", "2xx")
    metrics.CONNECTED_TO.labels("nats")
    by_program: list[tuple[str, Iterable[Metric]]] = [
        ("flow", _of_flow().registry.collect()),
        ("flow", target.told(Settings()).collect()),
        ("web", [*metrics.exposed(), *families(Standing(dict.fromkeys(("queued",), 0)))]),
        ("reconcile", _of_reconcile().registry.collect()),
        ("backfill", BackfillMetrics().registry.collect()),
        ("publisher", _of_publisher().registry.collect()),
        *((program, [expiry]) for program in ("flow", "web", "publisher")),
        *((program, lines) for program in ("flow", "web", "reconcile", "backfill", "publisher")),
    ]
    for program, families_of_it in by_program:
        for family in families_of_it:
            yield program, family


def _of_flow() -> FlowMetrics:
    consumer = topology.consumer().spec
    made = FlowMetrics(JetStreamSource(_nowhere(), consumer.stream_name, consumer.durable_name))
    made.judged([msgspec.structs.replace(SAMPLE_MESSAGE, attrs={"redacted": ["github-token"]})])
    return made


def _of_reconcile() -> ReconcileMetrics:
    made = ReconcileMetrics()
    made.show_queue({"queued": 0})
    return made


def _of_publisher() -> PublisherMetrics:
    return PublisherMetrics(Outbox(_nowhere(), Spool(None, 1)), lambda: 0)


def _nowhere() -> NatsOptions:
    return NatsOptions(("nats://127.0.0.1:4222",))


def _labels(family: Metric) -> str:
    labels = dict.fromkeys(label for sample in family.samples for label in sample.labels)
    labels.pop("le", None)
    return f"{{{','.join(labels)}}}" if labels else ""
