"""An OTLP receiver in this process: takes what an exporter sends over HTTP, as protobuf."""

import gzip
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from msgspec import Struct
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from connectors.loopback import HOST, free_port


class Span(Struct, frozen=True):
    """A span, its numbers in hex."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    began: int
    ended: int
    failed: bool
    attributes: dict[str, Any]


class Receiver:
    """What has come so far."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._lock = threading.Lock()
        self._spans: list[Span] = []

    @property
    def environ(self) -> dict[str, str]:
        """What sends spans here, at once, all of them."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{HOST}:{self.port}", "OTEL_BSP_SCHEDULE_DELAY": "50"}

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            for resource in request.resource_spans:
                told = {each.key: each.value.string_value for each in resource.resource.attributes}
                for scope in resource.scope_spans:
                    self._spans += [_span(told["service.name"], each) for each in scope.spans]

    @property
    def spans(self) -> list[Span]:
        with self._lock:
            return [*self._spans]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


def _span(service: str, span: Any) -> Span:
    return Span(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.status.code == 2,
        {each.key: each.value.string_value or each.value.int_value for each in span.attributes},
    )


@contextmanager
def receiver() -> Iterator[Receiver]:
    """Receive on loopback until the end of the context."""
    received = Receiver(free_port())

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            received.take(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((HOST, received.port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def main() -> None:
    """Receive until stdin ends, and print where: for those who measure, whose own process is to do nothing for it."""
    with receiver() as received:
        print(received.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
