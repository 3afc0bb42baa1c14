"""For runtimes written in Python: an agent that says something goes on at once, whatever NATS does."""

import logging
import time
from types import TracebackType
from typing import Any, Literal, Self

from connectors.parcel import Parcel
from connectors.puback import PublishError
from flows.fit import budget, fit
from flows.payload import Speaker, compose
from flows.post import Post
from flows.settings import Settings
from flows.spelling import Claim
from flows.text import storable

log = logging.getLogger(__name__)

GRACE_S = 10.0
_ORIGIN = "publisher"


class Publisher:
    """Publishes what an agent says, from any thread.

        with Publisher() as publisher:
            publisher.publish("I'll read the tests **first**.")
            publisher.publish(
                "$ pytest -q",
                kind="tool_call",
                tool={"name": "shell", "input": {"command": "pytest -q"}, "status": "in_progress"},
            )

    Args:
        settings: where, as whom and in whose name; by default the environment's.
        grace: for how many seconds the end of the block waits for what is on its way.

    Delivery: at least once and in order, and one row however often it is sent. `publish` puts the
    message into a spool on disk and returns; a thread of its own sends it, connects anew when NATS
    was away, and what is not acknowledged when the process ends, or is killed, is sent by the next
    publisher of the same agent in the same workflow on this machine. It never raises because of
    NATS, never waits for it, and never loses a message but by `AGENT_COMMS_SPOOL_BYTES`: what there is
    no room for, and what the stream refuses for good, is logged and counted in `left`.
    """

    def __init__(self, settings: Settings | None = None, *, grace: float = GRACE_S) -> None:
        self._settings = settings or Settings.from_env()
        self._speaker = Speaker.of(self._settings)
        self._grace = grace
        self._budget = budget(self._settings.agent_comms_max_message_bytes)
        self._told: set[str] = set()
        self.left = 0
        self._post = Post.of(
            self._settings,
            self._speaker,
            "agent-comms-publisher",
            say=log.warning,
            on_trouble=lambda error: self._say_once(str(error)),
            on_left=self._leave,
            on_lost=self._lose,
        )

    def start(self) -> Self:
        """Begin to send; `with` does it."""
        self._post.outbox.start()
        return self

    def publish(
        self,
        content: str | None = None,
        *,
        kind: str = "message",
        role: Literal["system", "user", "assistant", "tool"] | None = None,
        tool: dict[str, Any] | None = None,
        attrs: dict[str, Any] | None = None,
        message_id: str | None = None,
        timestamp: str | None = None,
        general: bool = False,
    ) -> str:
        """Publish a message, and return its id at once.

        Args:
            content: text, Markdown; a status and a tool need none.
            kind: `message`, `tool_call`, `tool_result`, `status`, `error`, or any other.
            role: by default the kind decides.
            tool: `{name, input, output, status, exit_code, duration_ms}`.
            attrs: whatever else there is to say; a JSON object.
            message_id: the message's identity; by default a new one.
            timestamp: RFC 3339; by default now.
            general: into the shared room rather than the run.

        Raises:
            PayloadError: a reader could make nothing of it.
        """
        claim = Claim(
            message_id=message_id,
            kind=kind,
            role=role,
            content=None if content is None else storable(content),
            tool=tool,
            attrs=attrs,
            timestamp=timestamp,
        )
        message = compose(self._speaker, claim, general=general)
        if len(message.payload) > self._settings.agent_comms_max_message_bytes:
            fit(claim, self._budget)
            claim.message_id = message.message_id
            message = compose(self._speaker, claim, general=general)
        parcel = Parcel(message.subject, message.payload, message.message_id, _ORIGIN, counts=True)
        if not self._post.outbox.add(parcel):
            self.left += 1
            self._say_once("the spool is full; what is said now is not published")
        return message.message_id

    @property
    def published(self) -> int:
        """How many messages the stream has stored."""
        return self._post.outbox.published

    @property
    def waiting(self) -> int:
        """How many messages are in the spool, an earlier process's included."""
        return self._post.outbox.waiting

    def flush(self, timeout: float = GRACE_S) -> bool:
        """Wait for so many seconds until everything is stored; returns whether it is."""
        return self._post.outbox.drain(time.monotonic() + timeout)

    def close(self) -> None:
        """Wait a moment for what is on its way, then keep the rest for the next publisher."""
        self.flush(self._grace)
        self._post.close()

    def _leave(self, _parcel: Parcel, error: PublishError) -> None:
        self.left += 1
        self._say_once(str(error))

    def _lose(self, _origin: str, first: int, last: int) -> None:
        self.left += last - first + 1
        self._say_once("some of what waited in the spool can't be read any more, and is not published")

    def _say_once(self, text: str) -> None:
        if text not in self._told and len(self._told) < 100:
            self._told.add(text)
            log.warning("%s", text, extra={"todo": "see to NATS and the spool; what it keeps is sent later"})

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
