"""Traces of messages: published, stored, delivered. Off unless OpenTelemetry's own variables ask for them.

    OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318
    OTEL_TRACES_SAMPLER=parentbased_traceidratio  OTEL_TRACES_SAMPLER_ARG=0.01

The publisher decides which messages are traced, and says so in the message's header `traceparent` (W3C). The flow keeps
that in `attrs.traceparent` of the row, so that whoever delivers it goes on with the same trace. Needs the extra `otel`;
where nothing asks for traces nothing of it is imported, and no message is looked at.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import threading
import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Self

from msgspec import Struct

from flows.message import Message

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext

    from connectors.delivery import JetStreamMessage
    from flows.message import Event

log = logging.getLogger(__name__)

# What is left at the end is sent within so long, twice over.
CLOSE_S = 1.0

HEADER = "traceparent"
# Where a process is told of the trace that it is a part of.
VARIABLE = "TRACEPARENT"
_HEADER_BYTES = HEADER.encode()
_HEADER_NAME = re.compile(_HEADER_BYTES)
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
# The one version there is, and sampled.
_SAMPLED = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][13579bdf]")


class Departure(Struct):
    """A message that is on its way to the stream.

    Attributes:
        headers: to be sent with it; none where it is not traced.
    """

    headers: Mapping[str, str]
    span: Any = None

    def settle(self, error: BaseException | None) -> None:
        """Say that it has arrived, or why not."""
        if self.span is None:
            return
        if error is not None:
            from opentelemetry.trace import StatusCode

            # Not its text, which may hold more than a trace should.
            self.span.set_status(StatusCode.ERROR, type(error).__name__)
        self.span.end()


class Tracing:
    """What one process traces.

    Args:
        provider: makes spans.
        exporter: sends them.
        environ: may name the trace that this process is a part of.
    """

    def __init__(self, provider: TracerProvider, exporter: SpanExporter, environ: Mapping[str, str]) -> None:
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace import SpanKind

        processor = BatchSpanProcessor(exporter)
        provider.add_span_processor(processor)
        self._exporter = exporter
        atexit.register(self.close)
        self._provider = provider
        self._tracer = provider.get_tracer("agent-comms")
        self._kinds = SpanKind
        self._told = _Told(provider, processor)
        self._outer = self._told.context(environ.get(VARIABLE, ""))

    @classmethod
    def of(cls, program: str, environ: Mapping[str, str] | None = None) -> Self | None:
        """Return what traces this process, None where nothing asks for it.

        Args:
            program: the service's name, unless OTEL_SERVICE_NAME says another.
            environ: by default the process's.
        """
        environ = os.environ if environ is None else environ
        if not is_wanted(environ):
            return None
        try:
            provider, exporter = _provider(program, environ)
        except ImportError:
            todo = "pip install 'agent-comms[otel]', or take the variables OTEL_* away"
            log.warning("tracing: what makes traces is not installed, so there are none", extra={"todo": todo})
            return None
        return cls(provider, exporter, environ)

    def depart(self, subject: str) -> Departure:
        """Begin to trace a message that is published, where the sampler takes it."""
        about = {"messaging.system": "nats", "messaging.destination.name": subject}
        span = self._tracer.start_span("publish", self._outer, self._kinds.PRODUCER, about)
        if not span.is_recording():
            return Departure({})
        context = span.get_span_context()
        return Departure({HEADER: f"00-{context.trace_id:032x}-{context.span_id:016x}-01"}, span)

    def mark(self, delivered: Sequence[JetStreamMessage], judged: Sequence[object]) -> None:
        """Keep in messages which trace they belong to, as their headers say.

        Args:
            delivered: as they came.
            judged: what each of them became.
        """
        for place in _traced([message.header_block for message in delivered]):
            message, value = judged[place], delivered[place].headers.get(HEADER, "")
            if isinstance(message, Message) and _SAMPLED.fullmatch(value):
                message.attrs[HEADER] = value

    def stored(self, messages: Iterable[Message]) -> None:
        """Trace messages that were committed just now, each from when the stream took it."""
        now = time.time_ns()
        for message in [message for message in messages if HEADER in message.attrs]:
            self._told.span("store", message.attrs[HEADER], message.stored_at, max(now, message.stored_at), {})

    def delivered(self, events: Iterable[Event]) -> None:
        """Trace messages that were handed to those who watch just now, each from when it was stored."""
        now = time.time_ns()
        for event in events:
            value = event.attrs.get(HEADER)
            if isinstance(value, str):
                began = int(event.created_at.timestamp() * 1e9)
                self._told.span("deliver", value, min(began, now), now, {"agent_comms.seq": event.seq})

    def close(self) -> None:
        """Send what was traced, for a moment; a collector that is away must not keep the process."""
        atexit.unregister(self.close)
        # By itself the library tries again and again until its time is over.
        ending = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        ending.start()
        ending.join(CLOSE_S)
        if ending.is_alive():
            self._exporter.shutdown()
            ending.join(CLOSE_S)


class _Told:
    """Makes spans of what is over already, and whose parent is told in a header.

    Each is made as a whole: begun and ended by the library it would cost the ingest eight times as much.
    """

    def __init__(self, provider: TracerProvider, processor: SpanProcessor) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.sdk.trace.sampling import Decision, ParentBased
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags

        sampler = provider.sampler
        # Whoever goes by the parent takes what the parent took.
        self._sampler = None if isinstance(sampler, ParentBased) else sampler
        self._taken = Decision.RECORD_AND_SAMPLE
        self._processor = processor
        self._resource = provider.resource
        self._new_id = provider.id_generator.generate_span_id
        self._scope = InstrumentationScope("agent-comms")
        self._kind = SpanKind.CONSUMER
        self._make, self._make_context = ReadableSpan, SpanContext
        self._flags = TraceFlags(TraceFlags.SAMPLED)

    def span(self, name: str, traceparent: str, began_ns: int, ended_ns: int, about: dict[str, str | int]) -> None:
        """Export a span, where its parent is one and the sampler takes it."""
        if not _SAMPLED.fullmatch(traceparent):
            return
        if self._sampler is not None:
            context, trace = self.context(traceparent), int(traceparent[3:35], 16)
            if self._sampler.should_sample(context, trace, name, self._kind, about).decision != self._taken:
                return
        parent = self._parent(traceparent)
        own = self._make_context(parent.trace_id, self._new_id(), is_remote=False, trace_flags=self._flags)
        self._processor.on_end(
            self._make(
                name,
                own,
                parent,
                self._resource,
                about,
                kind=self._kind,
                start_time=began_ns,
                end_time=ended_ns,
                instrumentation_scope=self._scope,
            )
        )

    def context(self, traceparent: str) -> Context | None:
        """Return what a header says as a context to begin spans in; None where it is none, or not sampled."""
        from opentelemetry.context import Context
        from opentelemetry.trace import NonRecordingSpan, set_span_in_context

        if not _SAMPLED.fullmatch(traceparent):
            return None
        return set_span_in_context(NonRecordingSpan(self._parent(traceparent)), Context())

    def _parent(self, traceparent: str) -> SpanContext:
        trace, span = int(traceparent[3:35], 16), int(traceparent[36:52], 16)
        return self._make_context(trace, span, is_remote=True, trace_flags=self._flags)


def _traced(blocks: list[bytes]) -> Iterable[int]:
    """Return which header blocks may hold the header: one search for all, since each by itself takes twice as long."""
    together = b"".join(blocks)
    if _HEADER_BYTES not in together:
        return ()
    ends = list(accumulate(map(len, blocks)))
    return {bisect_right(ends, found.start()) for found in _HEADER_NAME.finditer(together)}


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Say whether the environment asks for traces."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter:
        return exporter != "none"
    return any(environ.get(name, "").strip() for name in _ENDPOINTS)


def _provider(program: str, environ: Mapping[str, str]) -> tuple[TracerProvider, SpanExporter]:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    for name in _PROTOCOLS:
        if environ.get(name, "http/protobuf").strip() not in ("", "http/protobuf"):
            todo = "set it to http/protobuf, and the endpoint to the collector's port for it, mostly 4318"
            log.warning("tracing: %s is not spoken here; traces go as http/protobuf", name, extra={"todo": todo})
    # What the variables say of the service comes first; sampler and limits the library reads itself.
    name = environ.get("OTEL_SERVICE_NAME") or program
    return TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False), OTLPSpanExporter()
