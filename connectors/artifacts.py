"""A Bytewax source that reads artifacts: what is in them, in the words of whoever knows what they are."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from bytewax.inputs import DynamicSource, StatelessSourcePartition

from connectors.awake import LONG_AGO
from connectors.crew import Workers

X = TypeVar("X")

# Handed on at once: enough to be looked up together, little enough to be kept.
BATCH_BYTES = 8 * 1024 * 1024
GLANCE_S = 0.001


@dataclass(frozen=True)
class ArtifactSource(DynamicSource[X], Generic[X]):
    """Hands on what workers find in artifacts, and ends where they do.

    Attributes:
        workers: begin to read.
        decode: what a worker has found.
        stopped: asked between batches whether to end early.
        is_over: asked once all is found and handed on whether nothing of it leads to another task.

    Delivery guarantee: none by itself. What is read is read again by the next run, until somebody keeps
    account of what has been done with it; so that everything after it has to be idempotent.
    """

    workers: Callable[[], Workers[Any]]
    decode: Callable[[bytes], X]
    stopped: Callable[[], bool]
    is_over: Callable[[], bool]

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_Partition[X]":  # noqa: ARG002
        """Begin to read, in the first worker alone: it has processes of its own."""
        return _Partition(self if worker_index == 0 else None)


class _Partition(StatelessSourcePartition[X]):
    def __init__(self, source: ArtifactSource[X] | None) -> None:
        self._source = source
        self._workers = source.workers() if source else None

    def next_batch(self) -> list[X]:
        if self._source is None or self._workers is None or self._source.stopped():
            raise StopIteration
        found = self._workers.take(BATCH_BYTES)
        if not found and self._workers.is_done:
            if self._source.is_over():
                raise StopIteration
            # Others work on what leads to another task.
            time.sleep(GLANCE_S)
        return [self._source.decode(each) for each in found]

    def next_awake(self) -> datetime:
        return LONG_AGO

    def close(self) -> None:
        if self._workers is not None:
            self._workers.close()
