import gzip
import io
import random
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from connectors.archive import LIMITS, Limits, members
from connectors.lines import Line
from connectors.unpack import ArchiveError, Damage

TEXT = b'{"type":"thread.started"}\n\n{"type":"turn.started"}\r\nlast'


def lines_of(file: BinaryIO, limits: Limits = LIMITS) -> Iterator[Line]:
    for member in members(file, limits):
        for some in member.lines:
            yield from some


def read(data: bytes, limits: Limits = LIMITS) -> list[tuple[str, list[tuple[int, bytes]]]]:
    return [
        (member.name, [(line.number, line.data) for lines in member.lines for line in lines])
        for member in members(io.BytesIO(data), limits)
    ]


LINES = [(1, b'{"type":"thread.started"}'), (2, b""), (3, b'{"type":"turn.started"}\r'), (4, b"last")]


def tar(*files: tuple[str, bytes], format: int = tarfile.GNU_FORMAT) -> bytes:  # noqa: A002
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_a_plain_file_is_its_own_only_member() -> None:
    assert read(TEXT) == [("", LINES)]


def test_an_empty_file_has_no_lines() -> None:
    assert read(b"") == [("", [])]


@pytest.mark.parametrize("level", [0, 1, 9])
def test_gzip_is_told_by_its_first_bytes(level: int) -> None:
    assert read(gzip.compress(TEXT, level)) == [("", LINES)]


def test_gzip_of_several_members_is_one_file() -> None:
    assert read(gzip.compress(TEXT[:30]) + gzip.compress(b"") + gzip.compress(TEXT[30:]) + bytes(513)) == [("", LINES)]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_each_plain_file_of_an_archive_is_a_member(format: int) -> None:  # noqa: A002
    long = "x" * 90 + "/" + "y" * 95
    archive = tar(("./a.jsonl", TEXT), ("empty", b""), (long, b"z" * 2_000), format=format)
    for packed in (archive, gzip.compress(archive)):
        assert read(packed) == [("./a.jsonl", LINES), ("empty", []), (long, [(1, b"z" * 2_000)])]


def test_an_archive_of_the_oldest_format_is_told_by_its_check_sum() -> None:
    archive = bytearray(tar(("a.jsonl", TEXT), format=tarfile.USTAR_FORMAT))
    archive[257:512] = bytes(255)
    archive[148:156] = b" " * 8
    archive[148:156] = b"%06o\0 " % sum(archive[:512])
    for packed in (bytes(archive), gzip.compress(archive)):
        assert read(packed) == [("a.jsonl", LINES)]
    archive[0] += 1
    assert [name for name, _ in read(bytes(archive))] == [""]


def test_a_name_that_only_an_extended_header_can_hold_is_read() -> None:
    name = "ordner/" + "ü" * 300
    assert read(tar((name, b"x"), format=tarfile.PAX_FORMAT)) == [(name, [(1, b"x")])]
    assert read(tar((name, b"x"), format=tarfile.GNU_FORMAT)) == [(name, [(1, b"x")])]


def test_a_member_that_is_compressed_is_unpacked_too() -> None:
    assert read(gzip.compress(tar(("a.jsonl.gz", gzip.compress(TEXT))))) == [("a.jsonl.gz", LINES)]


def test_a_member_that_nobody_reads_is_passed_over() -> None:
    archive = tar(("a", b"1\n" * 100_000), ("b", TEXT))
    assert [member.name for member in members(io.BytesIO(archive))] == ["a", "b"]


def test_links_devices_and_folders_are_left_out() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo("implementation-events.jsonl")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
        info = tarfile.TarInfo("a")
        info.size = len(TEXT)
        archive.addfile(info, io.BytesIO(TEXT))
    assert read(buffer.getvalue()) == [("a", LINES)]


def test_lines_end_at_line_feeds_alone() -> None:
    text = "eins\u2028zwei\u2029drei\x85vier\x0bfünf\x0csechs\rsieben".encode()
    assert read(text + b"\n" + text) == [("", [(1, text), (2, text)])]


def test_a_character_on_the_edge_of_a_chunk_stays_whole() -> None:
    line = "ä".encode() * 400_000
    assert read(b"x" + line) == [("", [(1, b"x" + line)])]


@pytest.mark.parametrize("cut", [1, 9, 100, 5_000])
def test_what_is_cut_off_is_truncated(cut: int) -> None:
    noise = random.Random(1).randbytes(20_000)
    for whole in (gzip.compress(noise), gzip.compress(tar(("a", noise)))):
        with pytest.raises(ArchiveError) as caught:
            read(whole[:-cut])
        assert caught.value.damage is Damage.TRUNCATED


@pytest.mark.parametrize("kept", [600, 1_500, 1_024 + 100])
def test_an_archive_that_is_cut_off_is_truncated(kept: int) -> None:
    with pytest.raises(ArchiveError) as caught:
        read(tar(("a", b"x" * 512), ("b", b"y" * 5_000))[:kept])
    assert caught.value.damage is Damage.TRUNCATED


def test_what_comes_before_the_damage_is_read() -> None:
    lines: list[Line] = []
    noise = random.Random(1)
    text = b"".join(noise.randbytes(500).hex().encode() + b"\n" for _ in range(2_000))
    packed = bytearray(gzip.compress(text))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(ArchiveError) as caught:
        lines.extend(lines_of(io.BytesIO(bytes(packed))))
    assert caught.value.damage is Damage.CORRUPT
    assert len(lines) > 100
    assert [line.data for line in lines[:100]] == text.split(b"\n")[:100]


def test_what_comes_before_the_damage_of_a_small_file_is_read() -> None:
    lines = lines_of(io.BytesIO(gzip.compress(b"first\n" + random.Random(1).randbytes(400), 0)[:-300]))
    assert next(lines).data == b"first"
    with pytest.raises(ArchiveError) as raised:
        list(lines)
    assert raised.value.damage is Damage.TRUNCATED


def test_a_wrong_checksum_is_damage() -> None:
    packed = bytearray(gzip.compress(TEXT))
    packed[-6] ^= 1
    with pytest.raises(ArchiveError, match="damaged"):
        read(bytes(packed))


def test_a_damaged_header_is_damage() -> None:
    archive = bytearray(tar(("a", b"x" * 512), ("b", b"y")))
    archive[1_024 + 3] ^= 1
    with pytest.raises(ArchiveError) as caught:
        read(bytes(archive))
    assert caught.value.damage is Damage.CORRUPT


def test_something_after_the_end_of_gzip_is_damage() -> None:
    with pytest.raises(ArchiveError, match="something else follows"):
        read(gzip.compress(TEXT) + b"<html>")


@pytest.mark.parametrize("magic", [b"PK\x03\x04", b"\x28\xb5\x2f\xfd", b"BZh9", b"\xfd7zXZ\x00"])
def test_a_foreign_format_is_named(magic: bytes) -> None:
    with pytest.raises(ArchiveError) as caught:
        read(magic + bytes(100))
    assert caught.value.damage is Damage.FOREIGN


class Zeros:
    """Gigabytes of zeros, compressed, without anybody having them."""

    def __init__(self, size: int) -> None:
        self._deflate = zlib.compressobj(9, wbits=31)
        self._left = size

    def read(self, _size: int, /) -> bytes:
        data = b""
        while not data and self._left >= 0:
            portion = min(self._left, 1 << 20)
            data = self._deflate.compress(bytes(portion)) if portion else self._deflate.flush()
            self._left -= portion or 1
        return data


def test_a_bomb_is_given_up_at_the_limit() -> None:
    with pytest.raises(ArchiveError) as caught:
        list(lines_of(Zeros(1 << 40), Limits(bytes=64 << 20)))  # type: ignore[arg-type]
    assert caught.value.damage is Damage.TOO_LARGE


def test_a_bomb_beside_what_is_read_counts_too() -> None:
    bomb = gzip.compress(tar(("zeros", bytes(4 << 20)), ("a", TEXT)))
    with pytest.raises(ArchiveError) as caught:
        list(members(io.BytesIO(bomb), Limits(bytes=1 << 20)))
    assert caught.value.damage is Damage.TOO_LARGE


def test_packed_again_and_again_it_is_not_read() -> None:
    packed = TEXT
    for _ in range(4):
        packed = gzip.compress(packed)
    with pytest.raises(ArchiveError) as caught:
        read(packed)
    assert caught.value.damage is Damage.FOREIGN


def test_a_header_that_is_no_header_is_not_kept_in_memory() -> None:
    info = tarfile.TarInfo("bomb")
    info.type, info.size = tarfile.XHDTYPE, 1 << 30
    with pytest.raises(ArchiveError, match="header is too large"):
        read(info.tobuf() + bytes(10 << 10))


def test_a_size_that_is_negative_or_huge_ends_the_reading() -> None:
    info = tarfile.TarInfo("a")
    info.size = 1 << 60
    with pytest.raises(ArchiveError) as caught:
        read(info.tobuf(tarfile.GNU_FORMAT) + b"x" * 1_000)
    assert caught.value.damage is Damage.TRUNCATED


def test_blank_lines_without_end_are_given_up() -> None:
    with pytest.raises(ArchiveError) as caught:
        read(b"\n" * 1_000_000, Limits(lines=100_000))
    assert caught.value.damage is Damage.TOO_LARGE


def test_a_line_that_is_too_long_is_counted_and_lost() -> None:
    whole = b"1\n" + b"x" * 3_000_000 + b"\n3"
    lines = list(lines_of(io.BytesIO(whole), Limits(line_bytes=1 << 20)))
    assert [(line.number, line.data, line.lost) for line in lines] == [(1, b"1", 0), (2, b"", 3_000_000), (3, b"3", 0)]


def test_a_text_in_a_wide_encoding_is_respelled_where_it_is_wanted() -> None:
    text = "".join(f"{number} ä 😀\n" for number in range(60_000))
    lines = [(at, line.encode()) for at, line in enumerate(text.splitlines(), start=1)]
    packed = gzip.compress(tar(("a.jsonl", text.encode("utf-16")), ("b.log", "x\n".encode("utf-16"))))
    found = [
        (member.name, [(line.number, line.data) for some in member.lines for line in some])
        for member in members(io.BytesIO(packed), is_text=lambda name: name == "a.jsonl")
    ]
    assert found == [("a.jsonl", lines), ("b.log", [(1, b"\xff\xfex\0"), (2, b"\0")])]
