"""The fast path of deduplication: what a workflow has said lately.

The unique key in Postgres is the authority; this step only spares it most of the
duplicates of a redelivery or a publisher's retry.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from bytewax.operators import StatefulBatchLogic
from msgspec import Struct

from flows.message import Message

# About 150 bytes a key: 0.6 MB for a busy workflow.
KEYS_A_WORKFLOW = 4_096
FORGET_AFTER = timedelta(minutes=2)


class Duplicate(Struct, frozen=True, gc=False):
    """A message that is on its way already; it only needs its ack, after the other's commit."""

    reply: str


class RecentKeys(StatefulBatchLogic[Message, Message | Duplicate, None]):
    """Lets each key of one workflow through once, as long as it is remembered.

    Order is kept, and a duplicate follows its original through the same sink, so
    that it is acked no sooner than the original is stored.
    """

    def __init__(self) -> None:
        self._keys: dict[str, None] = {}
        self._forget_at = datetime.now(UTC) + FORGET_AFTER

    def on_batch(self, values: list[Message]) -> tuple[Iterable[Message | Duplicate], bool]:
        """Replace what was seen by a `Duplicate`."""
        keys = self._keys
        passed: list[Message | Duplicate] = []
        for message in values:
            if message.dedupe_key in keys:
                passed.append(Duplicate(message.reply))
            else:
                keys[message.dedupe_key] = None
                passed.append(message)
        self._forget_oldest()
        self._forget_at = datetime.now(UTC) + FORGET_AFTER
        return passed, StatefulBatchLogic.RETAIN

    def _forget_oldest(self) -> None:
        surplus = len(self._keys) - KEYS_A_WORKFLOW
        if surplus > 0:
            for key in list(self._keys)[:surplus]:
                del self._keys[key]

    def on_notify(self) -> tuple[Iterable[Message | Duplicate], bool]:
        """Forget a workflow that has been silent."""
        return [], StatefulBatchLogic.DISCARD

    def notify_at(self) -> datetime | None:
        """Say when it has been silent for long enough."""
        return self._forget_at

    def snapshot(self) -> None:
        """Remember nothing over a restart: Postgres does."""
        return
