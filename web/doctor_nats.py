"""The doctor's look at NATS: whether it lets us in, what we may do, and how the stream and its consumer are.

Nothing is stored, taken or changed by it. A publish names a stream that it expects and that isn't there, so the server
answers without storing; a pull is no JSON, so the server refuses it without delivering. What a user is not permitted
to ask is skipped, since few may ask everything.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import ConsumerInfo, StreamInfo

from connectors.bootstrap import compare
from connectors.certificate import certificate_ends
from connectors.connection import NatsConnection, NatsUnavailable
from connectors.nack import Manifest, NackError
from connectors.tls import UnusableFile
from flows import subject, topology
from flows.message import DEFAULT_NAMESPACE, PERSON
from flows.nats import nats_options
from flows.settings import Settings
from web.doctor_settings import until
from web.failure import in_words
from web.finding import Finding, failing, ok, skipped, warning

ANSWER_S = 2.0
GLANCE_S = 0.02
PUBACK_REFUSED = 10060
SKEW_S = 1.0
MANY_BEHIND = 10_000
EXPECTED = {"Nats-Expected-Stream": "agent-comms-doctor-expects-no-such-stream"}
NAME = "doctor"


class Denied(Exception):
    """The server does not permit it; the text says what."""


class Unanswered(Exception):
    """Nobody answered; the text says more."""


class Info(Struct):
    """What the server has told of the stream and its consumer; None where it tells this user nothing."""

    stream: StreamInfo | None = None
    consumer: ConsumerInfo | None = None
    # The server's clock, and ours when it was read.
    clocks: tuple[datetime, float] | None = None


class Patient:
    """A connection that is asked things."""

    def __init__(self, settings: Settings) -> None:
        self._errors: list[str] = []
        self.connection = NatsConnection(nats_options(settings, "agent-comms-doctor"), on_error=self._note)

    def _note(self, error: Exception) -> None:
        self._errors.append(str(error).lower())

    def ask(self, name: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Msg:
        """Send a request and return the answer.

        Raises:
            Denied: the server says that it is not permitted.
            Unanswered: nobody answers.
        """
        return self.connection.run(self._ask(name, body, headers))

    async def _ask(self, name: str, body: bytes, headers: dict[str, str] | None) -> Msg:
        request = asyncio.ensure_future(self.connection.client.request(name, body, timeout=ANSWER_S, headers=headers))
        while not request.done():
            await asyncio.wait([request], timeout=GLANCE_S)
            if (denied := self._denied(name)) and not request.done():
                request.cancel()
                raise Denied(denied)
        try:
            return request.result()
        except NoRespondersError as error:
            message = f"nobody answers on {name}"
            raise Unanswered(message) from error
        except (NatsTimeoutError, NatsError, OSError) as error:
            if denied := self._denied(name):
                raise Denied(denied) from error
            message = f"no answer on {name} within {ANSWER_S:g} s"
            raise Unanswered(message) from error

    def _denied(self, name: str) -> str:
        for error in self._errors:
            if "permissions violation" in error and "subscription to" in error:
                return "this user may not listen for answers"
            if f'publish to "{name.lower()}"' in error:
                return f"this user may not publish on {name}"
        return ""


def check_nats(settings: Settings) -> Iterator[Finding]:
    """Look at NATS from the connection to the lag."""
    patient = Patient(settings)
    began = time.monotonic()
    try:
        patient.connection.connect(wait=False)
    except (NatsUnavailable, UnusableFile) as error:
        yield failing("nats", str(in_words(error) or error), _how_to_connect(str(error)))
        yield skipped("permissions", "there is no connection to NATS")
        yield skipped("stream", "there is no connection to NATS")
        yield skipped("consumer", "there is no connection to NATS")
        yield skipped("lag", "there is no connection to NATS")
        return
    try:
        client = patient.connection.client
        server = urlsplit(str(client.connected_url.netloc if client.connected_url else "")).path.rpartition("@")[2]
        took_ms = 1000 * (time.monotonic() - began)
        yield ok(
            "nats", f"connected to {server}, {str(client.connected_server_version).strip('<>')}, in {took_ms:.0f} ms"
        )
        yield from _check_certificate(patient)
        info = Info()
        told = [*_check_stream(patient, settings, info), *_check_consumer(patient, settings, info)]
        yield _check_permissions(patient, settings, info)
        yield from told
        yield _check_lag(info)
        yield from _check_clock(info)
    finally:
        patient.connection.close()


def _check_certificate(patient: Patient) -> Iterator[Finding]:
    if shown := patient.connection.server_certificate:
        yield until(
            "expiry", "the NATS server's certificate", certificate_ends(shown), "renew it, and reload the server"
        )


def _how_to_connect(said: str) -> str:
    said = said.lower()
    if "authorization" in said or "authentication" in said:
        return "check NATS_CREDS_FILE, NATS_NKEY_SEED_FILE or NATS_USER and NATS_PASSWORD against the server's accounts"
    if "certificate" in said or "tls" in said or "ssl" in said:
        return "check NATS_CA_FILE and NATS_CERT_FILE, and that NATS_URL says tls:// where the server asks for it"
    return "check NATS_URL, and whether the server runs and can be reached from here"


def _check_permissions(patient: Patient, settings: Settings, info: Info) -> Finding:
    prefix, namespace = settings.nats_subject_prefix, settings.workflow_namespace or DEFAULT_NAMESPACE
    consumer = topology.consumer().spec
    pull = f"{settings.nats_js_api_prefix}.CONSUMER.MSG.NEXT.{consumer.stream_name}.{consumer.durable_name}"
    may = {
        f"publish for the namespace {namespace}": _may_publish(
            patient, subject.format_run(prefix, namespace, NAME, NAME, NAME, "status")
        ),
        "publish as a person": _may_publish(
            patient, subject.format_run(prefix, namespace, NAME, NAME, PERSON, "message")
        ),
        "pull messages": _may_pull(patient, pull),
    }
    allowed = [what for what, why in may.items() if not why]
    denied = [what for what, why in may.items() if why]
    if allowed:
        return ok(
            "permissions",
            f"this user may {', '.join(allowed)}" + (f"; it may not, or can't: {', '.join(denied)}" if denied else ""),
        )
    reasons = "; ".join(dict.fromkeys(may.values()))
    if all("may not publish" in why for why in may.values()):
        if info.stream is not None:
            return ok("permissions", "this user may make and inspect stream and consumer; it may not publish nor pull")
        todo = "see gitops/nats for what each program's user needs"
        return failing("permissions", f"this user may neither publish nor pull: {reasons}", todo)
    todo = "check NATS_INBOX_PREFIX, NATS_JS_API_PREFIX and the user's permissions, and that the stream is there"
    return failing("permissions", reasons, todo)


def _may_publish(patient: Patient, name: str) -> str:
    """Return why publishing on a subject doesn't work; empty where it does."""
    try:
        answer = json.loads(patient.ask(name, b"{}", dict(EXPECTED)).data or b"{}")
    except (Denied, Unanswered) as error:
        return str(error)
    except ValueError:
        return f"no stream answers on {name}"
    refusal = answer.get("error", {}) if isinstance(answer, dict) else {}
    return "" if refusal.get("err_code") == PUBACK_REFUSED else f"no stream takes {name}"


def _may_pull(patient: Patient, name: str) -> str:
    """Return why pulling doesn't work; empty where it does."""
    try:
        answer = patient.ask(name, b"{")
    except (Denied, Unanswered) as error:
        return str(error)
    status = (answer.headers or {}).get("Status", "")
    return "" if status == "400" else f"{name} answers {status or 'with something else'}"


def _check_stream(patient: Patient, settings: Settings, info: Info) -> Iterator[Finding]:
    manifest = topology.stream()
    name = f"{settings.nats_js_api_prefix}.STREAM.INFO.{manifest.stream_name}"
    response, finding = _asked("stream", patient, name)
    if response is None:
        yield finding
        return
    info.stream = StreamInfo.from_response(response)
    _note_clock(response, info)
    differences = _differences("stream", manifest, info.stream)
    yield differences
    state, limit = info.stream.state, info.stream.config.max_bytes or 0
    text = f"{state.messages:,} messages, {state.bytes / 1e6:,.1f} MB"
    if limit > 0 and state.bytes > 0.9 * limit:
        todo = "raise maxBytes in gitops/nats, or the stream keeps less than its age"
        yield warning("stream", f"{text}, which is {state.bytes / limit:.0%} of its limit", todo)
    else:
        yield ok("stream", f"{text}{f', {state.bytes / limit:.1%} of its limit' if limit > 0 else ''}")


def _check_consumer(patient: Patient, settings: Settings, info: Info) -> Iterator[Finding]:
    manifest = topology.consumer()
    name = f"{settings.nats_js_api_prefix}.CONSUMER.INFO.{manifest.stream_name}.{manifest.name}"
    response, finding = _asked("consumer", patient, name)
    if response is None:
        yield finding
        return
    info.consumer = ConsumerInfo.from_response(response)
    _note_clock(response, info)
    yield _differences("consumer", manifest, info.consumer)


def _asked(check: str, patient: Patient, name: str) -> tuple[dict[str, Any] | None, Finding]:
    """Return what the server tells, or why it tells nothing."""
    todo = "run `agent-comms bootstrap` as a user that may create it, or apply gitops/"
    try:
        response = json.loads(patient.ask(name).data)
    except Denied as error:
        return None, skipped(check, str(error), "run this as the user `system`, or as the flow's, to compare it")
    except Unanswered as error:
        if check == "stream":
            return None, skipped(check, f"{error}: JetStream is not enabled here, or not for this user's account")
        return None, skipped(check, f"{error}: it isn't there, or not for this user's account", todo)
    except ValueError:
        return None, failing(check, f"{name} gave no JSON", "is this a NATS server with JetStream?")
    if refusal := response.get("error"):
        return None, failing(check, f"the server says: {refusal.get('description')}", todo)
    return response, ok(check, "")


def _differences(check: str, manifest: Manifest, info: StreamInfo | ConsumerInfo) -> Finding:
    wanted = manifest.config()
    alone = not (info.cluster and info.cluster.name)
    if alone and (wanted.num_replicas or 0) > 1:
        wanted = wanted.evolve(num_replicas=1)
    try:
        differences = compare(manifest, info.config, wanted)
    except NackError as error:
        return failing(check, str(error), "correct the manifest")
    if not differences:
        return ok(check, f"{manifest.name} is as its manifest says")
    shown = "; ".join(f"{each.field} is {each.server}, not {each.manifest}" for each in differences)
    return failing(check, f"{manifest.name}: {shown}", "run `agent-comms bootstrap --update`, or apply gitops/")


def _check_lag(info: Info) -> Finding:
    consumer = info.consumer
    if consumer is None:
        return skipped("lag", "the consumer's state is not known")
    pending, unacked = consumer.num_pending or 0, consumer.num_ack_pending or 0
    text = f"{pending:,} not delivered, {unacked:,} not acked, {consumer.num_redelivered or 0:,} of them again"
    if not consumer.num_waiting and (pending or not unacked):
        todo = "start the flow: python -m bytewax.run flows.ingest"
        if pending:
            return failing("lag", f"{text}; nobody pulls", todo)
        return warning("lag", f"{text}; nobody pulls", todo)
    if pending > MANY_BEHIND:
        return warning("lag", text, "see whether Postgres is slow, or start another flow; they share the durable")
    return ok("lag", text)


def _note_clock(response: dict[str, Any], info: Info) -> None:
    with suppress(TypeError, msgspec.ValidationError):
        info.clocks = msgspec.convert(response.get("ts"), datetime), time.time()


def _check_clock(info: Info) -> Iterator[Finding]:
    if info.clocks:
        theirs, ours = info.clocks
        yield clock("NATS", theirs.timestamp(), ours)


def clock(whose: str, theirs: float, ours: float) -> Finding:
    """Compare two clocks, seconds since the Unix epoch."""
    off = theirs - ours
    text = f"{whose}' clock is {abs(off):.1f} s {'ahead of' if off > 0 else 'behind'} this one"
    if abs(off) > SKEW_S:
        return warning("clock", text, "have both machines keep their time by NTP: delays are measured across them")
    return ok("clock", text)
