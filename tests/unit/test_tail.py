import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.lines import Line, LineCutter
from connectors.tail import FollowedFile, Position


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def file(path: Path) -> Iterator[FollowedFile]:
    followed = FollowedFile(path)
    yield followed
    followed.close()


def write(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def read(file: FollowedFile) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    while lines := file.read():
        found += [(line.number, line.data) for line in lines]
    return found


def resumed(file: FollowedFile) -> FollowedFile:
    """The same file as a later process finds it."""
    position = file.position
    file.close()
    return FollowedFile(file.path, position)


def test_a_file_that_is_not_there_yet_is_waited_for(file: FollowedFile, path: Path) -> None:
    assert read(file) == []
    assert not file.was_found
    write(path, b"one\n")
    assert read(file) == [(1, b"one")]


def test_what_is_appended_is_read_once(file: FollowedFile, path: Path) -> None:
    write(path, b"one\ntwo\n")
    assert read(file) == [(1, b"one"), (2, b"two")]
    assert read(file) == []
    write(path, b"three\n")
    assert read(file) == [(3, b"three")]


def test_a_line_is_read_once_it_is_whole(file: FollowedFile, path: Path) -> None:
    write(path, b"o")
    assert read(file) == []
    write(path, b"n")
    write(path, b"e\ntw")
    assert read(file) == [(1, b"one")]
    write(path, b"o\n")
    assert read(file) == [(2, b"two")]


def test_the_last_line_needs_no_line_feed_at_the_end(file: FollowedFile, path: Path) -> None:
    write(path, b"one\ntwo")
    assert read(file) == [(1, b"one")]
    assert file.end() == [Line(2, b"two")]


def test_a_last_line_that_is_finished_later_is_read_whole_by_the_next(file: FollowedFile, path: Path) -> None:
    write(path, b"one\ntw")
    read(file)
    file.end()
    later = resumed(file)
    write(path, b"o\n")
    assert read(later) == [(2, b"two")]


def test_nothing_but_a_line_feed_ends_a_line(file: FollowedFile, path: Path) -> None:
    odd = "a\u2028b\u2029c\u0085d\x0be\x0cf\x1cg\rh".encode()
    write(path, odd + b"\r\n\n\x00\xff\xfe\n")
    assert read(file) == [(1, odd + b"\r"), (2, b""), (3, b"\x00\xff\xfe")]


def test_a_line_of_several_megabytes_is_read_whole(file: FollowedFile, path: Path) -> None:
    long = os.urandom(5_000_000).replace(b"\n", b" ")
    write(path, long + b"\nshort\n")
    assert read(file) == [(1, long), (2, b"short")]


def test_a_line_beyond_the_limit_is_counted_and_lost(path: Path) -> None:
    write(path, b"x" * 1000 + b"\nshort\n")
    assert FollowedFile(path, max_line_bytes=100).read() == [Line(1, b"", lost=1000), Line(2, b"short")]


def test_a_truncated_file_begins_again_at_line_1(file: FollowedFile, path: Path) -> None:
    write(path, b"one\ntwo\n")
    read(file)
    path.write_bytes(b"new\n")
    assert read(file) == [(1, b"new")]
    assert file.life == 1


def test_a_file_that_is_overwritten_with_more_begins_again_too(file: FollowedFile, path: Path) -> None:
    write(path, b"one\ntwo\n")
    read(file)
    path.write_bytes(b"another line that is longer\nand one more\n")
    assert read(file) == [(1, b"another line that is longer"), (2, b"and one more")]
    assert file.life == 1


def test_what_a_truncated_file_never_finished_is_a_line_of_its_earlier_life(file: FollowedFile, path: Path) -> None:
    write(path, b"one\ntw")
    read(file)
    path.write_bytes(b"")
    assert (file.read(), file.life) == ([Line(2, b"tw")], 0)
    write(path, b"n\n")
    assert (file.read(), file.life) == ([Line(1, b"n")], 1)


def test_a_rotated_file_is_read_to_its_end_and_its_lines_counted_on(file: FollowedFile, path: Path) -> None:
    write(path, b"one\n")
    read(file)
    write(path, b"two\n")
    old = path.with_suffix(".1")
    path.rename(old)
    assert read(file) == [(2, b"two")]
    path.touch()
    # Its writer hasn't noticed yet.
    write(old, b"three\n")
    assert read(file) == [(3, b"three")]
    write(path, b"four\n")
    assert read(file) == [(4, b"four")]
    assert file.life == 0


def test_a_replaced_file_begins_again_at_line_1(file: FollowedFile, path: Path) -> None:
    write(path, b"one\n")
    read(file)
    write(path, b"two\n")
    other = path.with_suffix(".new")
    other.write_bytes(b"one\nnew\n")
    other.rename(path)
    assert read(file) == [(2, b"two"), (1, b"one"), (2, b"new")]
    assert file.life == 1


def test_a_later_process_goes_on_where_the_earlier_one_was(file: FollowedFile, path: Path) -> None:
    write(path, b"one\ntwo\nthr")
    read(file)
    later = resumed(file)
    write(path, b"ee\n")
    assert read(later) == [(3, b"three")]
    assert later.life == 0


def test_a_later_process_finds_a_file_that_was_rotated_meanwhile(file: FollowedFile, path: Path) -> None:
    write(path, b"one\n")
    read(file)
    write(path, b"two\n")
    path.rename(path.with_name("events.jsonl.1"))
    write(path, b"three\n")
    assert read(resumed(file)) == [(2, b"two"), (3, b"three")]


@pytest.mark.parametrize("content", [b"", b"x\n", b"ONE\ntwo\nthree\n"], ids=["empty", "shorter", "longer"])
def test_a_later_process_begins_anew_where_the_content_is_another(
    file: FollowedFile, path: Path, content: bytes
) -> None:
    write(path, b"one\ntwo\n")
    read(file)
    path.write_bytes(content)
    later = resumed(file)
    assert [data for _, data in read(later)] == content.split(b"\n")[:-1]
    assert later.life == 1


def test_a_later_process_begins_anew_where_the_file_was_replaced(file: FollowedFile, path: Path) -> None:
    write(path, b"one\n")
    read(file)
    path.unlink()
    write(path, b"one\ntwo\n")
    later = resumed(file)
    assert read(later) == [(1, b"one"), (2, b"two")]
    assert later.life == 1


def test_a_position_is_kept_while_the_file_is_away(path: Path) -> None:
    position = Position(1, 2, 3, 4)
    assert FollowedFile(path, position).position == position


def test_a_pipe_or_a_folder_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(OSError, match="is no regular file"):
            FollowedFile(path).read()


@given(st.lists(st.binary(max_size=20)), st.binary(max_size=5))
def test_however_the_bytes_come_the_lines_are_the_same(pieces: list[bytes], end: bytes) -> None:
    cutter = LineCutter()
    lines = [line for piece in [*pieces, end] for line in cutter.feed(piece)] + cutter.flush()
    whole = b"".join(pieces) + end
    expected = whole.split(b"\n") if whole else []
    if expected and not expected[-1]:
        expected.pop()
    assert [line.data for line in lines] == expected
    assert [line.number for line in lines] == list(range(1, len(expected) + 1))
