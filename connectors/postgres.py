"""A Bytewax sink that writes batches to Postgres and then acks them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from bytewax.outputs import DynamicSink, StatelessSinkPartition

from connectors.store import Destination, Written
from connectors.vigil import LONG_S
from connectors.writer import Writer

X = TypeVar("X")

MIB = 1024 * 1024
# A third of JetStream's default ack wait of 30 s.
IN_PROGRESS_EVERY_S = 10.0
# Five times this, for two sinks that end one after the other, is under the minute that the manifests give the flow.
PATIENCE_S = 10.0


class Acks(Protocol):
    """Where a sink reports what it holds and what it has made safe."""

    def open(self) -> None:
        """Get ready; each `open` is followed by a `close`."""

    def ack(self, replies: Sequence[str]) -> None:
        """These messages are safe."""

    def in_progress(self, replies: Sequence[str]) -> None:
        """These messages are still being worked on."""

    def close(self) -> None:
        """Send what is unsent."""


@dataclass(frozen=True)
class PostgresSink(DynamicSink[X], Generic[X]):
    """Writes items in batches, one transaction each, and acks them after the commit.

    The dataflow goes on while a second thread writes: whatever has gathered
    meanwhile is the next batch, so one message is written at once when it is quiet,
    and up to `batch_rows` or `batch_bytes` together when there is a backlog.
    A batch goes straight into the table, a few rows with their whole transaction at
    once and more by COPY; only one that meets a row which is there already is done
    again by way of a staging table that leaves those out.

    A failure of Postgres itself (away, full, read-only, a deadlock, a wait for a lock)
    or of the whole set-up is nobody's fault: the batch is tried again for ever, with
    backoff. Otherwise the batch is halved until the culprit is alone, and the others are
    stored. What Postgres calls bad data is given to `reject` at once. What fails for a
    reason that tells nothing is set aside and tried again by itself, with backoff, between
    the batches; once `max_tries` tries speak against it (see `connectors.store.Store`:
    each time Postgres took other work right after) `reject` gets it. Where `reject`
    fails, it stays set aside: tried for ever, delaying nobody. Everything that is held
    is kept in progress meanwhile, so that the server delivers it to nobody else.

    An item that is set aside may be stored after later ones of its kind.

    Asked to end while Postgres is away, it waits some time for it, and then lets go of
    what it holds: nothing of it was acked, so the server delivers it again.

    Attributes:
        destination: where and how items become rows.
        reply: where an item is acked; empty for nowhere.
        size: an item's bytes, for bounding batches.
        acks: takes the replies.
        done: called after the commit and before the acks with what it came to.
        failed: called with the error of each try that is made again.
        unanswered: called when a try has had no answer for long; what became of it is told later.
        max_tries: of one item alone, before it is given up.
        in_progress_every_s: how often the server is told what is held; under half its ack wait.
        long_s: how long is long; it is said in the log, once, with what Postgres says that it waits for.
        ending: whether the dataflow has been asked to end.
        patience_s: how long it then waits for room; for what it holds, twice as long.

    Delivery guarantee: at least once, and each key once in the table. An item is
    acked after the commit that stored it, or that found it stored, and never before.
    """

    destination: Destination[X]
    reply: Callable[[X], str]
    size: Callable[[X], int]
    acks: Acks
    done: Callable[[Written[X]], None] | None = None
    failed: Callable[[Exception], None] | None = None
    unanswered: Callable[[], None] | None = None
    batch_rows: int = 8_000
    batch_bytes: int = 8 * MIB
    max_tries: int = 8
    in_progress_every_s: float = IN_PROGRESS_EVERY_S
    long_s: float = LONG_S
    ending: Callable[[], bool] = lambda: False
    patience_s: float = PATIENCE_S

    def build(self, step_id: str, worker_index: int, worker_count: int) -> "_Partition[X]":  # noqa: ARG002
        """Start this worker's writer."""
        return _Partition(self)


class _Partition(StatelessSinkPartition[X]):
    def __init__(self, sink: PostgresSink[X]) -> None:
        self._writer = Writer(sink)
        self._writer.start()

    def write_batch(self, items: list[X]) -> None:
        self._writer.put(items)

    def close(self) -> None:
        self._writer.finish()
