"""Pulls from a durable JetStream consumer without a gap between two requests.

Everything here runs on the event loop of one `NatsConnection`.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError

from connectors.client import RawMessage
from connectors.connection import NatsConnection
from connectors.delivery import JetStreamMessage
from connectors.headers import parse_headers

log = logging.getLogger(__name__)

REQUEST_EXPIRES_S = 30.0
HEARTBEAT_S = 5.0
# A pull that has said nothing for so long, heartbeats neither, is dead: a server that
# was restarted forgets its requests without a word.
SILENCE_S = 2.5 * HEARTBEAT_S
TICK_S = 1.0
FAREWELL_S = 2.0
STATE_EVERY_TICKS = 2
STATE_TIMEOUT_S = 1.0
BACKOFF_S = (0.25, 5.0)
MIB = 1024 * 1024
ACK_PREFIX = "$JS.ACK."


class Place(Struct, frozen=True):
    """A place in the stream: the sequence of the last message that something is true of."""

    stream_seq: int = 0


class ConsumerState(Struct, frozen=True):
    """How far a consumer is behind, by the server's word.

    Attributes:
        pending: messages not delivered yet.
        unacked: messages delivered and not acked yet.
        redelivered: of these, delivered more than once.
        delivered: up to where messages were delivered.
        ack_floor: up to where all are acked.
    """

    pending: int = msgspec.field(name="num_pending")
    unacked: int = msgspec.field(name="num_ack_pending")
    redelivered: int = msgspec.field(name="num_redelivered")
    delivered: Place = Place()
    ack_floor: Place = Place()


# Not at its first use: two workers' threads may have theirs at once, which msgspec doesn't survive.
_state = msgspec.json.Decoder(ConsumerState)


class Puller:
    """Keeps pull requests outstanding and hands over what arrives, in stream order.

    Args:
        connection: whose loop this lives on.
        stream: the stream's name.
        durable: the consumer's name; both have to exist, but may come later.
        deliver: called on the loop with the messages that came at once.
        has_room: asked before each request; no new request goes out while it says no.
        batch: messages a request asks for.
        max_bytes: bytes a request asks for at the most.
    """

    def __init__(
        self,
        connection: NatsConnection,
        stream: str,
        durable: str,
        deliver: Callable[[list[JetStreamMessage]], None],
        has_room: Callable[[], bool],
        batch: int = 2_000,
        max_bytes: int = 4 * MIB,
    ) -> None:
        self._connection = connection
        self._next_subject = f"{connection.options.js_api_prefix}.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._info_subject = f"{connection.options.js_api_prefix}.CONSUMER.INFO.{stream}.{durable}"
        self.state: ConsumerState | None = None
        self._consumer = f"consumer {durable} of stream {stream}"
        self._deliver = deliver
        self._has_room = has_room
        self._batch = batch
        self._max_bytes = max_bytes
        self._subscription: Subscription | None = None
        self._inbox = ""
        self._requests = 0
        self._ticker: asyncio.Task[None] | None = None
        self._requesting: asyncio.Task[None] | None = None
        # Messages that requests still outstanding may bring.
        self._credit = 0
        self._credit_until = 0.0
        # Noted for each message, and dated by the next tick only: asking for the time costs more than the rest.
        self._heard = False
        self._heard_at = 0.0
        self._failures = 0
        self._not_before = 0.0

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def start(self) -> None:
        """Subscribe, and ask for the first messages."""
        await self._subscribe()
        self._ticker = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """Take no more; what the server sent before this returns has been delivered."""
        if self._ticker:
            self._ticker.cancel()
        subscription, self._subscription = self._subscription, None
        if subscription is None:
            return
        try:
            await asyncio.wait_for(subscription.drain(), FAREWELL_S)  # type: ignore[no-untyped-call]
        except (NatsError, TimeoutError, OSError) as error:
            log.debug("pull: left without a farewell: %s", error)

    async def restart(self) -> None:
        """Forget outstanding requests, which a restarted server has forgotten too, and begin anew."""
        if self._subscription is not None:
            await self._subscribe()

    async def _subscribe(self) -> None:
        old, self._subscription = self._subscription, None
        if old is not None:
            try:
                await old.unsubscribe()
            except NatsError as error:
                log.debug("pull: the old inbox was gone: %s", error)
        client = self._connection.client
        self._inbox = client.new_inbox()
        self._subscription = await client.subscribe_raw(f"{self._inbox}.*", self._receive)
        self._credit = 0
        self._heard_at = self._now()
        await self.request()

    async def request(self) -> None:
        """Ask for more where less than half a batch is still to come and there is room for it."""
        now = self._now()
        if self._credit and now > self._credit_until:
            self._credit = 0
        if self._subscription is None or self._credit > self._batch // 2:
            return
        if now < self._not_before or not self._has_room() or not self._connection.is_connected:
            return
        self._requests += 1
        self._credit += self._batch
        self._credit_until = now + REQUEST_EXPIRES_S + HEARTBEAT_S
        body = {
            "batch": self._batch,
            # A single message larger than this would never be sent at all.
            "max_bytes": max(self._max_bytes, 2 * self._connection.client.max_payload),
            "expires": int(REQUEST_EXPIRES_S * 1e9),
            "idle_heartbeat": int(HEARTBEAT_S * 1e9),
        }
        try:
            await self._connection.client.publish(
                self._next_subject, msgspec.json.encode(body), reply=f"{self._inbox}.{self._requests}"
            )
        except NatsError as error:
            self._credit = 0
            log.debug("pull: a request did not go out: %s", error)

    def _receive(self, arrived: Sequence[RawMessage]) -> None:
        self._heard = True
        # Not by its headers: a stored message may carry those of a status, too.
        messages = [
            JetStreamMessage(subject, data, reply, header_block)
            for subject, reply, data, header_block in arrived
            if reply.startswith(ACK_PREFIX)
        ]
        if messages:
            self._failures = 0
            self._credit -= len(messages)
            self._deliver(messages)
        if len(messages) < len(arrived):
            for _, reply, _, header_block in arrived:
                if not reply.startswith(ACK_PREFIX):
                    self._note_status(parse_headers(header_block))
        if self._credit <= self._batch // 2:
            self._request_soon()

    def _request_soon(self) -> None:
        if self._requesting is None or self._requesting.done():
            self._requesting = asyncio.create_task(self.request())

    def _note_status(self, headers: dict[str, str]) -> None:
        status, description = headers.get("Status", ""), headers.get("Description", "")
        if status == "100" or description == "Batch Completed":
            return
        unused = headers.get("Nats-Pending-Messages", "")
        if unused.isdigit():
            # The request has come to its end, by time or by bytes; this much of it was not used.
            self._credit = max(0, self._credit - int(unused))
            self._request_soon()
            return
        self._credit = 0
        self._back_off(f"{status} {description}".strip())

    def _back_off(self, reason: str) -> None:
        least, most = BACKOFF_S
        delay = min(most, least * 2**self._failures) * random.uniform(0.5, 1)  # noqa: S311 - jitter
        self._not_before = self._now() + delay
        if self._failures == 0:
            hint = "; does it exist?" if reason.startswith("503") else ""
            todo = "check that the consumer is there and as its manifest says, and that this user may pull from it"
            log.warning("pull: %s refuses: %s%s", self._consumer, reason, hint, extra={"todo": todo})
        self._failures += 1

    async def _tick(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(TICK_S)
            ticks += 1
            if self._heard:
                self._heard, self._heard_at = False, self._now()
            try:
                silent = self._credit > 0 and self._now() - self._heard_at > SILENCE_S
                if silent and self._connection.is_connected:
                    todo = "nothing, unless it happens again and again; then see to the server"
                    log.warning("pull: %s has gone silent; asking anew", self._consumer, extra={"todo": todo})
                    await self._subscribe()
                else:
                    await self.request()
                if ticks % STATE_EVERY_TICKS == 1:
                    # What is known stays until the answer is here: nobody is to read between the two that nothing is.
                    self.state = await self._ask_state()
            except NatsError as error:
                log.debug("pull: %s", error)

    async def _ask_state(self) -> ConsumerState | None:
        if not self._connection.is_connected:
            return None
        try:
            answer = await self._connection.client.request(self._info_subject, b"", timeout=STATE_TIMEOUT_S)
            return _state.decode(answer.data)
        except (NatsError, msgspec.ValidationError) as error:
            log.debug("pull: no state of %s: %r", self._consumer, error)
            return None
