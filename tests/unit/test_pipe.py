import os
import threading
from collections.abc import Callable

import pytest

from connectors.lines import LineCutter
from connectors.pipe import CHUNK_BYTES, MAX_WAITING_BYTES, PipeReader
from tests.waiting import wait_until


def piped(write: Callable[[int], object], *, copy_to: int | None = None) -> PipeReader:
    """A pipe that something is written to, and its end."""
    source, sink = os.pipe()
    reader = PipeReader(source, lambda: None, copy_to=copy_to)
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
        assert all(len(chunk.data) <= CHUNK_BYTES and chunk.kept for chunk in chunks)
        found += b"".join(chunk.data for chunk in chunks)
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


def test_what_there_is_no_room_for_is_counted() -> None:
    line = b"x" * 1023 + b"\n"
    number = MAX_WAITING_BYTES // len(line) + 5000
    reader = piped(lambda sink: write_all(sink, line * number + b"no end"))
    cutter = LineCutter()
    whole = lost = 0
    while chunks := reader.take():
        for chunk in chunks:
            if chunk.kept:
                whole += len(cutter.feed(chunk.data))
            else:
                lost += cutter.lose(chunk.data)
    assert whole + lost == number
    assert lost >= 4900
    assert cutter.number == number
    assert cutter.flush()[0].lost


def test_everything_is_copied_first() -> None:
    data = os.urandom(1_000_000)
    copy_source, copy_sink = os.pipe()
    copied: list[bytes] = []

    def read() -> None:
        while part := os.read(copy_source, 100_000):
            copied.append(part)

    thread = threading.Thread(target=read)
    thread.start()
    reader = piped(lambda sink: write_all(sink, data), copy_to=copy_sink)
    os.close(copy_sink)
    thread.join()
    os.close(copy_source)
    assert b"".join(copied) == taken(reader) == data


def test_when_nobody_reads_the_copy_its_writer_is_told() -> None:
    copy_source, copy_sink = os.pipe()
    os.close(copy_source)
    with pytest.raises(BrokenPipeError):
        piped(lambda sink: [os.write(sink, b"x" * 1000) for _ in range(100_000)], copy_to=copy_sink)
    os.close(copy_sink)
