import errno
import os
import threading
from collections.abc import Callable

import pytest

from connectors.lines import LineCutter, Loss
from connectors.pipe import CHUNK_BYTES, MAX_WAITING_BYTES, PipeReader
from tests.waiting import wait_until


def piped(
    write: Callable[[int], object], *, copy_to: int | None = None, uncopied: Callable[[OSError], None] = print
) -> PipeReader:
    """A pipe that something is written to, and its end."""
    source, sink = os.pipe()
    reader = PipeReader(source, lambda: None, copy_to=copy_to, uncopied=uncopied)
    reader.start()
    try:
        write(sink)
    finally:
        os.close(sink)
    wait_until(lambda: reader.is_over, "the end of the pipe")
    return reader


def taken(reader: PipeReader) -> bytes:
    found = b""
    while chunks := reader.take():
        kept = [chunk for chunk in chunks if isinstance(chunk, bytes)]
        assert len(kept) == len(chunks)
        assert all(len(chunk) <= CHUNK_BYTES for chunk in kept)
        found += b"".join(kept)
    return found


def write_all(sink: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(sink, rest) :]


def test_its_writer_never_waits_for_what_is_done_with_it() -> None:
    data = os.urandom(5_000_000)
    reader = piped(lambda sink: write_all(sink, data))
    assert not reader.is_done
    assert taken(reader) == data
    assert reader.is_done


@pytest.mark.parametrize("line", [b"x" * 1023 + b"\n", b"\n"], ids=["long", "empty"])
def test_what_there_is_no_room_for_is_counted_and_takes_none(line: bytes) -> None:
    number = (MAX_WAITING_BYTES + 5_000_000) // len(line)
    reader = piped(lambda sink: write_all(sink, line * number + b"no end"))
    cutter = LineCutter()
    whole = 0
    losses: list[Loss] = []
    while chunks := reader.take():
        for chunk in chunks:
            if isinstance(chunk, bytes):
                whole += len(cutter.feed(chunk))
            else:
                losses.append(chunk)
                cutter.lose(chunk)
    (loss,) = losses
    assert loss.lines >= 4_900_000 // len(line)
    assert whole + loss.lines == number
    assert cutter.number == number
    assert cutter.flush()[0].lost


def test_what_was_lost_is_remembered_as_if_it_had_been_lost_at_once() -> None:
    for parts in ([b"a\nb", b"c"], [b"a", b"b\nc\n", b"\nd"], [b"", b"a\n"], [b"a\n", b"b"]):
        loss = Loss.of(parts[0])
        for part in parts[1:]:
            loss.add(Loss.of(part))
        assert loss == Loss.of(b"".join(parts))


@pytest.mark.parametrize(("blocks", "read_bytes"), [(True, 100_000), (False, 1_000)], ids=["blocks", "does not block"])
def test_everything_is_copied_first(blocks: bool, read_bytes: int) -> None:
    data = os.urandom(1_000_000)
    copy_source, copy_sink = os.pipe()
    os.set_blocking(copy_sink, blocks)
    copied: list[bytes] = []

    def read() -> None:
        while part := os.read(copy_source, read_bytes):
            copied.append(part)

    thread = threading.Thread(target=read)
    thread.start()
    reader = piped(lambda sink: write_all(sink, data), copy_to=copy_sink)
    os.close(copy_sink)
    thread.join()
    os.close(copy_source)
    assert b"".join(copied) == taken(reader) == data


def test_what_takes_no_copy_costs_neither_the_writer_nor_a_byte() -> None:
    data = os.urandom(1_000_000)
    told: list[OSError] = []
    full = os.open("/dev/full", os.O_WRONLY)
    reader = piped(lambda sink: write_all(sink, data), copy_to=full, uncopied=told.append)
    os.close(full)
    assert taken(reader) == data
    assert [error.errno for error in told] == [errno.ENOSPC]


def test_what_was_written_when_nobody_read_the_copy_any_more_is_kept() -> None:
    copy_source, copy_sink = os.pipe()
    os.close(copy_source)
    reader = piped(lambda sink: os.write(sink, b"last words"), copy_to=copy_sink)
    os.close(copy_sink)
    assert taken(reader) == b"last words"


def test_it_reads_no_more_once_it_is_stopped_though_its_writer_goes_on() -> None:
    source, sink = os.pipe()
    reader = PipeReader(source, lambda: None)
    reader.start()
    os.write(sink, b"one")
    wait_until(lambda: reader.passed_bytes == 3, "the first word")
    reader.stop()
    os.write(sink, b"two")
    wait_until(lambda: reader.is_over, "the end of it")
    with pytest.raises(BrokenPipeError):
        os.write(sink, b"three")
    os.close(sink)
    assert taken(reader) == b"onetwo"


def test_when_nobody_reads_the_copy_its_writer_is_told() -> None:
    copy_source, copy_sink = os.pipe()
    os.close(copy_source)
    with pytest.raises(BrokenPipeError):
        piped(lambda sink: [os.write(sink, b"x" * 1000) for _ in range(100_000)], copy_to=copy_sink)
    os.close(copy_sink)
