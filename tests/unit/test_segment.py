"""How messages are cut into blocks, and the index turned by a quarter."""

from datetime import timedelta

from tests.unit.events import NOON, event
from web.grams import SLOTS
from web.segment import BLOCK_MESSAGES, BLOCKS, PART, SLICE_BYTES, SPAN, Block, parts, segments


def said(count: int, step: timedelta = timedelta(seconds=1), content: str = "x") -> list:  # type: ignore[type-arg]
    return [event(content, seq=number, timestamp=NOON + number * step) for number in range(count)]


def test_blocks_follow_reading_order_whatever_the_order_of_arrival() -> None:
    messages = said(40)
    (blocks,) = segments(messages[::-1])
    assert [seq for block in blocks for seq in block.seqs] == list(range(40))
    assert [len(block.events) for block in blocks] == [BLOCK_MESSAGES, BLOCK_MESSAGES, 40 - 2 * BLOCK_MESSAGES]


def test_a_wrong_clock_gets_a_block_of_its_own() -> None:
    late = event(seq=99, timestamp=NOON + timedelta(days=40_000))
    early = event(seq=98, timestamp=NOON - timedelta(days=40_000))
    (blocks,) = segments([late, *said(3), early])
    assert [block.seqs for block in blocks] == [[98], [0, 1, 2], [99]]
    assert all(block.last_at - block.first_at <= SPAN for block in blocks)


def test_a_block_of_long_messages_is_short() -> None:
    (blocks,) = segments(said(4, content="word " * 2_000))
    assert [block.seqs for block in blocks] == [[0], [1], [2], [3]]


def test_more_blocks_than_fit_go_on_in_the_next_segment() -> None:
    made = list(segments(said(BLOCKS + 2, step=2 * SPAN)))
    assert [len(blocks) for blocks in made] == [BLOCKS, 2]


def test_a_slice_says_which_blocks_have_the_slot() -> None:
    blocks = [Block([event()], slots) for slots in ({0, 5}, {5}, {SLOTS - 1, 5}, set())]
    made = parts(blocks)
    assert len(made) == SLOTS // PART
    assert {len(part) for part in made} == {PART * SLICE_BYTES}

    def slice_of(slot: int) -> str:
        start = slot % PART * SLICE_BYTES
        return f"{int.from_bytes(made[slot // PART][start : start + SLICE_BYTES]):0{BLOCKS}b}"[:4]

    assert [slice_of(slot) for slot in (0, 5, SLOTS - 1, 1)] == ["1000", "1110", "0010", "0000"]
