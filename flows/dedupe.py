"""The fast path of deduplication: what a workflow has said lately.

The unique key in Postgres is the authority; this step only spares it most of the
duplicates of a redelivery or a publisher's retry.
"""

import threading
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import chain, islice

from bytewax.operators import StatefulBatchLogic

from flows.duplicate import Duplicate
from flows.message import Message

# About 200 bytes a key: 0.8 MB for a busy workflow, and 20 MB for all workflows of a process.
KEYS_A_WORKFLOW = 4_096
KEYS_IN_ALL = 100_000
FORGET_AFTER = timedelta(minutes=2)


class Memory:
    """Bounds what all workflows of a process remember together: the oldest keys go first, whosever they are.

    Args:
        keys: how many at most.
    """

    def __init__(self, keys: int = KEYS_IN_ALL) -> None:
        self._limit = keys
        self._remembered: deque[tuple[RecentKeys, int]] = deque()
        self._number = 0
        self._lock = threading.Lock()

    def add(self, owner: "RecentKeys", number: int) -> None:
        """Note that a workflow remembers so many keys more."""
        with self._lock:
            self._remembered.append((owner, number))
            self._number += number
            while self._number > self._limit:
                oldest, number = self._remembered.popleft()
                oldest.forget(number)
                self._number -= number


def by_workflow(messages: list[Message]) -> list[tuple[str, list[Message]]]:
    """Return what each workflow has said, by its key: the engine works item by item, so few are quick."""
    said: dict[tuple[str, str | None], list[Message]] = {}
    for message in messages:
        workflow = (message.workflow_namespace, message.workflow_uid)
        if workflow in said:
            said[workflow].append(message)
        else:
            said[workflow] = [message]
    return [(f"{namespace}/{uid}", of_it) for (namespace, uid), of_it in said.items()]


class RecentKeys(StatefulBatchLogic[list[Message], list[Message | Duplicate], None]):
    """Lets each key of one workflow through once, as long as it is remembered.

    Order is kept, and a duplicate follows its original through the same sink, so
    that it is acked no sooner than the original is stored.

    Args:
        memory: shared by all workflows, of all workers.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._keys: dict[str, None] = {}
        self._forget_at = datetime.now(UTC) + FORGET_AFTER

    def on_batch(self, values: list[list[Message]]) -> tuple[Iterable[list[Message | Duplicate]], bool]:
        """Replace what was seen by a `Duplicate`."""
        keys = self._keys
        before = len(keys)
        passed: list[Message | Duplicate] = []
        for message in chain.from_iterable(values):
            if message.dedupe_key in keys:
                passed.append(Duplicate(message.reply))
            else:
                keys[message.dedupe_key] = None
                passed.append(message)
        if len(keys) > before:
            self._memory.add(self, len(keys) - before)
        self.forget(len(keys) - KEYS_A_WORKFLOW)
        self._forget_at = datetime.now(UTC) + FORGET_AFTER
        return [passed], StatefulBatchLogic.RETAIN

    def forget(self, number: int) -> None:
        """Forget so many of the oldest keys, where there are as many."""
        if number > 0:
            for key in list(islice(self._keys, number)):
                # Another worker's thread may be about the same.
                self._keys.pop(key, None)

    def on_notify(self) -> tuple[Iterable[list[Message | Duplicate]], bool]:
        """Forget a workflow that has been silent."""
        self._keys.clear()
        return [], StatefulBatchLogic.DISCARD

    def notify_at(self) -> datetime | None:
        """Say when it has been silent for long enough."""
        return self._forget_at

    def snapshot(self) -> None:
        """Remember nothing over a restart: Postgres does."""
        return
