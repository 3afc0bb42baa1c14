"""The live flow: JetStream to Postgres.

    python -m bytewax.run flows.ingest

Right and prompt without a flag: nothing waits for an epoch's end, since the ack
travels with the message and is sent once its batch has been committed.
"""

import gc
import signal
import sys

import bytewax.operators as op
from bytewax.dataflow import Dataflow

from connectors.acks import JetStreamAcks
from connectors.delivery import JetStreamMessage
from connectors.jetstream import JetStreamSource
from flows import logs, topology
from flows.database import conninfo
from flows.dead_letter import DeadLetter
from flows.dedupe import RecentKeys
from flows.message import Message
from flows.metrics import FlowMetrics
from flows.nats import nats_options
from flows.normalize import normalize
from flows.redact import Redactor, redactor_of
from flows.settings import SettingError, Settings
from flows.storage import dead_letters_sink, messages_sink


def flow() -> Dataflow:
    """Return the dataflow as the environment sets it up; Bytewax calls this."""
    try:
        settings = Settings.from_env()
        source = jetstream_source(settings)
        metrics = FlowMetrics(source)
        built = build(settings, source, redactor_of(settings), metrics)
    except SettingError as error:
        sys.exit(f"agent-comms: {error}")
    logs.set_up(settings)
    # Messages hold no cycles, and looking for them among thousands in flight takes time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    # The writer gives the interpreter up at each buffer that it sends, and would get it back only
    # after the default 5 ms of the others' work; at 0.5 ms a catch-up is about a tenth quicker.
    sys.setswitchinterval(0.0005)
    for signum in (signal.SIGTERM, signal.SIGINT):
        # Bytewax ends at once on a signal; we store what was taken first.
        signal.signal(signum, lambda *_: source.stop())
    metrics.serve(settings.agent_comms_metrics_port)
    return built


def jetstream_source(settings: Settings) -> JetStreamSource:
    """Return the source of the stream and consumer that the manifests name."""
    consumer = topology.consumer().spec
    return JetStreamSource(nats_options(settings, "agent-comms-ingest"), consumer.stream_name, consumer.durable_name)


def build(settings: Settings, source: JetStreamSource, redactor: Redactor, metrics: FlowMetrics) -> Dataflow:
    """Return the dataflow of a source under given settings.

    Raises:
        SettingError: a setting can't work.
    """
    database = conninfo(settings, "agent-comms-ingest")
    acks = JetStreamAcks(nats_options(settings, "agent-comms-acks"))

    def normalize_all(messages: list[JetStreamMessage]) -> list[Message | DeadLetter]:
        metrics.received(len(messages))
        return [normalize(message, settings.agent_comms_max_message_bytes) for message in messages]

    def redact_all(items: list[Message | DeadLetter]) -> list[Message | DeadLetter]:
        items = [redactor.message(item) if isinstance(item, Message) else redactor.letter(item) for item in items]
        metrics.judged(items)
        return items

    flow = Dataflow("ingest")
    arrived = op.input("jetstream", flow, source)
    judged = op.flat_map_batch("normalize", arrived, normalize_all)
    judged = op.flat_map_batch("redact", judged, redact_all)
    messages = op.filter_map("messages", judged, lambda item: item if isinstance(item, Message) else None)
    letters = op.filter_map("letters", judged, lambda item: item if isinstance(item, DeadLetter) else None)
    by_workflow = op.key_on("by_workflow", messages, _workflow_key)
    once = op.stateful_batch("dedupe", by_workflow, lambda _: RecentKeys())
    op.output(
        "store_messages",
        op.key_rm("unkey", once),
        messages_sink(database, acks, redactor, metrics.messages_written, settings.agent_comms_max_tries),
    )
    op.output("store_letters", letters, dead_letters_sink(database, acks, metrics.letters_written))
    return flow


def _workflow_key(message: Message) -> str:
    return f"{message.workflow_namespace}/{message.workflow_uid}"
