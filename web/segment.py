"""A stretch of the live order, indexed: blocks of a few messages, and for each slot the blocks that have it.

A block is what is looked at whole, so it is small: its messages follow each other in
reading order, and are few. The index is turned by a quarter, as it were: a slice says
of one slot which of all the segment's blocks have it, so that a question reads the
slices of its own slots and no others.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from flows.message import Event
from web.grams import SLOTS, names, slots_of_name, slots_of_texts, texts

BLOCKS = 128
SLICE_BYTES = BLOCKS // 8
# Slots in a row of the table.
PART = 64

BLOCK_MESSAGES = 16
BLOCK_CHARACTERS = 16_384
# No block spans more, lest one wrong clock makes a block that overlaps all others.
SPAN = timedelta(minutes=10)


class Block(Struct):
    """A few messages that follow each other in reading order.

    Attributes:
        events: at least one.
        slots: what the messages can be found by.
    """

    events: list[Event]
    slots: set[int]

    @property
    def seqs(self) -> list[int]:
        """The messages' cursors."""
        return [event.seq for event in self.events]

    @property
    def first_at(self) -> datetime:
        """The time of the first message."""
        return self.events[0].timestamp

    @property
    def last_at(self) -> datetime:
        """The time of the last message."""
        return self.events[-1].timestamp


def segments(events: Sequence[Event], breathe: Callable[[], object] = lambda: None) -> Iterator[list[Block]]:
    """Yield the blocks of some messages, at most `BLOCKS` of them at a time.

    Args:
        events: in any order.
        breathe: called now and then, so that others of this process get their turn.
    """
    blocks: list[Block] = []
    for group in _groups(sorted(events, key=lambda event: (event.timestamp, event.seq))):
        blocks.append(Block(group, _slots(group, breathe)))
        breathe()
        if len(blocks) == BLOCKS:
            yield blocks
            blocks = []
    if blocks:
        yield blocks


def parts(blocks: Sequence[Block], breathe: Callable[[], object] = lambda: None) -> list[bytes]:
    """Return the slices of all slots, `PART` of them joined at a time."""
    # A number a slot; the first block is its highest bit.
    masks = [0] * SLOTS
    for number, block in enumerate(blocks):
        bit = 1 << (BLOCKS - 1 - number)
        for slot in block.slots:
            masks[slot] |= bit
        breathe()
    made = []
    for start in range(0, SLOTS, PART):
        made.append(b"".join([mask.to_bytes(SLICE_BYTES) for mask in masks[start : start + PART]]))
        breathe()
    return made


def _groups(events: Sequence[Event]) -> Iterator[list[Event]]:
    group: list[Event] = []
    size = 0
    for event in events:
        full = len(group) == BLOCK_MESSAGES or size + len(event.content) > BLOCK_CHARACTERS
        if group and (full or event.timestamp - group[0].timestamp > SPAN):
            yield group
            group, size = [], 0
        group.append(event)
        size += len(event.content)
    if group:
        yield group


def _slots(events: Sequence[Event], breathe: Callable[[], object]) -> set[int]:
    slots = slots_of_texts((text for event in events for _, text in texts(event)), breathe)
    for event in events:
        for name in names(event):
            slots.update(slots_of_name(*name))
    return slots
