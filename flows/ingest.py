"""The live flow: JetStream to Postgres.

    python -m bytewax.run flows.ingest

Right and prompt without a flag: nothing waits for an epoch's end, since the ack
travels with the message and is sent once its batch has been committed.
"""

import gc
import logging
import signal
import sys
from functools import partial
from typing import Any

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from psycopg import Connection
from psycopg.errors import InsufficientPrivilege

import sql
from connectors.acks import JetStreamAcks
from connectors.admission import Admission
from connectors.delivery import JetStreamMessage
from connectors.jetstream import JetStreamSource
from connectors.store import Written
from flows import logs, topology
from flows.database import conninfo
from flows.dead_letter import DeadLetter
from flows.dedupe import Memory, RecentKeys, by_workflow
from flows.duplicate import Duplicate
from flows.message import Message
from flows.metrics import FlowMetrics
from flows.nats import nats_options
from flows.normalize import normalize
from flows.pulse import Pulse
from flows.redact import Redactor, redactor_of
from flows.schema import lacking
from flows.settings import SettingError, Settings
from flows.storage import Ready, dead_letters_sink, messages_sink, ready
from flows.tracing import Tracing

log = logging.getLogger(__name__)


def flow() -> Dataflow:
    """Return the dataflow as the environment sets it up; Bytewax calls this."""
    try:
        settings = Settings.from_env()
        admission = Admission(conninfo(settings, "agent-comms-admission"), _lacking)
        source = jetstream_source(settings, admission)
        metrics = FlowMetrics(source, admission)
        logs.set_up(settings)
        built = build(settings, source, redactor_of(settings), metrics, Tracing.of("agent-comms-ingest"))
    except SettingError as error:
        sys.exit(f"agent-comms: {error}")
    logs.tell_life("ingest")
    # Messages hold no cycles, and looking for them among thousands in flight takes time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    # The writer gives the interpreter up at each buffer that it sends, and would get it back only
    # after the default 5 ms of the others' work; at 0.5 ms a catch-up is about a tenth quicker.
    sys.setswitchinterval(0.0005)
    for signum in (signal.SIGTERM, signal.SIGINT):
        # Bytewax ends at once on a signal; we store what was taken first.
        signal.signal(signum, lambda *_: source.stop())
    metrics.serve(settings)
    admission.start()
    Pulse(conninfo(settings, "agent-comms-pulse"), metrics.registry).start()
    return built


def jetstream_source(settings: Settings, admission: Admission) -> JetStreamSource:
    """Return the source of the stream and consumer that the manifests name; it pulls once admission is granted."""
    consumer = topology.consumer().spec
    return JetStreamSource(
        nats_options(settings, "agent-comms-ingest"),
        consumer.stream_name,
        consumer.durable_name,
        may_pull=lambda: admission.is_granted,
    )


def _lacking(connection: Connection[Any]) -> str:
    """Return what is wrong with the schema, as far as it can be seen: an older one would refuse what is good.

    Raises:
        psycopg.Error: Postgres can't be asked, or its user may not even enter the schema.
    """
    try:
        return lacking(connection)
    except InsufficientPrivilege as error:
        may_enter = connection.execute("SELECT has_schema_privilege(%s, 'USAGE')", [sql.SCHEMA]).fetchone()
        if may_enter != (True,):
            raise
        # Whoever was granted what a flow needs by hand, and not this, goes on as before.
        todo = "run `agent-comms migrate` as the owner of the schema, and make this user a member of agent_comms_ingest"
        log.warning("postgres: whether the schema is up to date can't be seen: %s", error, extra={"todo": todo})
        return ""


def build(
    settings: Settings,
    source: JetStreamSource,
    redactor: Redactor,
    metrics: FlowMetrics,
    tracing: Tracing | None = None,
) -> Dataflow:
    """Return the dataflow of a source under given settings.

    Raises:
        SettingError: a setting can't work.
    """
    database = conninfo(settings, "agent-comms-ingest")
    acks = JetStreamAcks(nats_options(settings, "agent-comms-acks"))

    def normalize_all(messages: list[JetStreamMessage]) -> list[Message | DeadLetter]:
        metrics.received(messages)
        return [normalize(message, settings.agent_comms_max_message_bytes) for message in messages]

    def normalize_traced(messages: list[JetStreamMessage]) -> list[Message | DeadLetter]:
        judged = normalize_all(messages)
        if tracing:
            tracing.mark(messages, judged)
        return judged

    def messages_written(written: Written[Ready | Duplicate]) -> None:
        metrics.messages_written(written)
        if tracing:
            tracing.stored([item.message for item in written.new if isinstance(item, Ready)])

    def redact_messages(messages: list[Message]) -> list[Message]:
        messages = redactor.messages(messages)
        metrics.judged(messages)
        return messages

    def redact_letters(letters: list[DeadLetter]) -> list[DeadLetter]:
        letters = [redactor.letter(letter) for letter in letters]
        metrics.letters_judged(letters)
        return letters

    def letters_written(written: Written[DeadLetter]) -> None:
        metrics.letters_written(written)
        for letter in {letter.reason: letter for letter in reversed(written.new)}.values():
            log.warning("a message can't become a row: %s", letter.reason, extra=_of_letter(letter))

    memory = Memory()
    flow = Dataflow("ingest")
    arrived = op.input("jetstream", flow, source)
    judged = op.flat_map_batch(
        "normalize", arrived, metrics.timed("normalize", normalize_traced if tracing else normalize_all)
    )
    messages = op.flat_map_batch("messages", judged, _messages)
    messages = op.flat_map_batch("redact_messages", messages, metrics.timed("redact", redact_messages))
    letters = op.flat_map_batch("letters", judged, _letters)
    letters = op.flat_map_batch("redact_letters", letters, redact_letters)
    keyed = op.flat_map_batch("by_workflow", messages, by_workflow)
    once = op.stateful_batch("dedupe", keyed, lambda _: RecentKeys(memory))
    rows = op.flat_map_batch("encode", once, metrics.timed("encode", _ready))
    to_messages = messages_sink(
        database,
        acks,
        redactor,
        messages_written,
        partial(metrics.write_failed, "messages"),
        partial(metrics.unanswered, "messages"),
        settings.agent_comms_max_tries,
        ending=lambda: source.stopping,
    )
    to_letters = dead_letters_sink(
        database,
        acks,
        letters_written,
        partial(metrics.write_failed, "letters"),
        partial(metrics.unanswered, "letters"),
        ending=lambda: source.stopping,
    )
    op.output("store_messages", rows, to_messages)
    op.output("store_letters", letters, to_letters)
    return flow


def _of_letter(letter: DeadLetter) -> dict[str, object]:
    return {
        "stream_seq": letter.stream_seq,
        "subject": letter.subject,
        "todo": "see `agent-comms dead-letters list`; it is kept there, and can be replayed",
    }


def _messages(items: list[Message | DeadLetter]) -> list[Message]:
    return [item for item in items if isinstance(item, Message)]


def _letters(items: list[Message | DeadLetter]) -> list[DeadLetter]:
    return [item for item in items if isinstance(item, DeadLetter)]


def _ready(keyed: list[tuple[str, list[Message | Duplicate]]]) -> list[Ready | Duplicate]:
    return [item if isinstance(item, Duplicate) else ready(item) for _, items in keyed for item in items]
