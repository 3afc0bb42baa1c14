from pathlib import Path

import pytest

from connectors.parcel import Parcel
from connectors.spool import Spool, SpoolError

ROOM = 1024 * 1024


def parcel(number: int, size: int = 10) -> Parcel:
    return Parcel("workflow.x", b"p" * size, f"m-{number}", "events.jsonl", number, counts=True)


def taken(spool: Spool) -> list[int]:
    found = []
    while entry := spool.take():
        found.append(entry[1].line)
    return found


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "spool" if request.param == "disk" else None


def test_what_is_put_in_comes_out_in_order(folder: Path | None) -> None:
    spool = Spool(folder, ROOM)
    assert spool.is_empty
    for number in range(100):
        assert spool.append(parcel(number))
        if number % 7 == 0:
            assert spool.take()
    assert taken(spool) == list(range(15, 100))
    assert spool.take() is None
    assert not spool.is_empty


def test_it_takes_no_more_than_it_may_and_more_once_something_is_done(folder: Path | None) -> None:
    spool = Spool(folder, ROOM)
    kept = 0
    while spool.append(parcel(kept, 1000)):
        kept += 1
    assert 900 < kept < ROOM / 1000
    assert spool.size <= ROOM
    for _ in range(200):
        entry = spool.take()
        assert entry
        spool.done(entry[0])
    assert spool.append(parcel(kept, 1000))
    assert taken(spool) == list(range(200, kept + 1))


def test_a_queue_that_is_used_for_long_stays_small(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOM)
    for number in range(20_000):
        assert spool.append(parcel(number, 500))
        entry = spool.take()
        assert entry
        assert entry[1].line == number
        spool.done(entry[0])
    assert spool.is_empty
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < ROOM


def test_a_later_process_gets_what_was_not_done(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOM)
    for number in range(3000):
        spool.append(parcel(number, 300))
    tickets = [entry[0] for _ in range(1000) if (entry := spool.take())]
    for ticket in reversed(tickets[:500]):
        spool.done(ticket)
    spool.checkpoint()
    # Killed: nothing was closed.
    recovered: list[Parcel] = []
    later = Spool(tmp_path, ROOM, recovered=recovered.append)
    assert [parcel.line for parcel in recovered] == list(range(500, 3000))
    assert taken(later) == list(range(500, 3000))


def test_what_is_done_out_of_order_is_remembered(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOM)
    for number in range(3):
        spool.append(parcel(number))
    first, second, third = (entry[0] for _ in range(3) if (entry := spool.take()))
    spool.done(third)
    spool.done(first)
    spool.checkpoint()
    assert taken(Spool(tmp_path, ROOM)) == [1]
    spool.done(second)
    spool.checkpoint()
    assert taken(Spool(tmp_path, ROOM)) == []


def test_one_parcel_that_nobody_takes_keeps_neither_room_nor_what_comes_after_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOM)
    assert spool.append(parcel(0))
    stuck = spool.take()
    for number in range(1, 5000):
        assert spool.append(parcel(number, 1000))
        entry = spool.take()
        assert entry
        spool.done(entry[0])
    spool.close()
    recovered: list[Parcel] = []
    later = Spool(tmp_path, ROOM, recovered=recovered.append)
    assert [parcel.line for parcel in recovered] == taken(later) == [0]
    assert stuck
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < ROOM / 4


def test_what_0_1_0_has_left_is_taken_from_where_it_came_to(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOM)
    for number in range(3):
        spool.append(parcel(number))
    first = spool.take()
    assert first
    spool.close()
    (tmp_path / "head").write_text(f"[0,{first[0].end}]")
    assert taken(Spool(tmp_path, ROOM)) == [1, 2]


def damaged(folder: Path, how: str, *numbers: int) -> None:
    for number in numbers:
        file = folder / f"{number:08}.spool"
        file.write_bytes(bytes(file.stat().st_size if how == "zeros" else 0))


@pytest.mark.parametrize("how", ["empty", "zeros"])
@pytest.mark.parametrize("numbers", [(0,), (3,), (3, 4), (15,), (14, 15), tuple(range(16))])
def test_a_segment_that_the_disk_lost_is_stepped_over_and_its_lines_are_told(
    tmp_path: Path, how: str, numbers: tuple[int, ...]
) -> None:
    spool = Spool(tmp_path, ROOM)
    kept = 1
    while spool.append(parcel(kept, 30_000)):
        kept += 1
    assert len([*tmp_path.glob("*.spool")]) >= 12
    spool.close()
    files = sorted(tmp_path.glob("*.spool"))
    here = [int(files[number % len(files)].stem) for number in numbers if number < len(files) or number >= 14]
    damaged(tmp_path, how, *here)
    lost: list[int] = []
    later = Spool(tmp_path, ROOM, lost=lambda _, first, last: lost.extend(range(first, last + 1)))
    found = taken(later)
    assert lost
    assert sorted(found + lost) == list(range(1, kept))
    assert later.append(parcel(kept))
    assert taken(later) == [kept]


@pytest.mark.parametrize("how", ["empty", "zeros"])
def test_a_segment_that_is_damaged_while_it_waits_is_stepped_over(tmp_path: Path, how: str) -> None:
    lost: list[int] = []
    spool = Spool(tmp_path, ROOM, lost=lambda _, first, last: lost.extend(range(first, last + 1)))
    kept = 1
    while spool.append(parcel(kept, 30_000)):
        kept += 1
    first = spool.take()
    assert first
    damaged(tmp_path, how, 2, 5)
    found = [first[1].line, *taken(spool)]
    assert lost
    assert sorted(found + lost) == list(range(1, kept))


def test_messages_without_a_line_are_counted_where_they_are_lost(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOM)
    for number in range(3):
        assert spool.append(Parcel("workflow.x", b"p", f"m-{number}", "api", counts=True))
    entry = spool.take()
    assert entry
    spool.done(entry[0])
    spool.close()
    damaged(tmp_path, "empty", 0)
    lost: list[tuple[str, int, int]] = []
    Spool(tmp_path, ROOM, lost=lambda *lines: lost.append(lines))
    assert lost == [("", 1, 2)]


@pytest.mark.parametrize("cut", [1, 7, 12, 30])
def test_a_parcel_that_was_not_written_to_its_end_is_left_out(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path, ROOM)
    for number in range(3):
        spool.append(parcel(number, 50))
    file = tmp_path / "00000000.spool"
    file.write_bytes(file.read_bytes()[:-cut])
    later = Spool(tmp_path, ROOM)
    assert later.append(parcel(9))
    assert taken(later) == [0, 1, 9]


def test_garbage_is_left_out(tmp_path: Path) -> None:
    Spool(tmp_path, ROOM).append(parcel(0))
    with (tmp_path / "00000000.spool").open("ab") as file:
        file.write(b"\xff" * 100)
    (tmp_path / "head").write_bytes(b"no")
    assert taken(Spool(tmp_path, ROOM)) == [0]


def test_a_parcel_that_is_not_as_it_was_written_is_left_out_with_all_after_it(tmp_path: Path) -> None:
    spool = Spool(tmp_path, ROOM)
    for number in range(3):
        spool.append(parcel(number, 50))
    file = tmp_path / "00000000.spool"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    assert taken(Spool(tmp_path, ROOM)) == [0]


def test_what_was_taken_can_be_given_back(folder: Path | None) -> None:
    spool = Spool(folder, ROOM)
    for number in range(5):
        spool.append(parcel(number))
    entries = [spool.take() for _ in range(3)]
    assert entries[0]
    spool.done(entries[0][0])
    assert [parcel.line for parcel in spool.give_back()] == [1, 2, 3, 4]
    assert taken(spool) == [1, 2, 3, 4]


def test_a_parcel_larger_than_what_is_read_at_once_comes_whole(folder: Path | None) -> None:
    spool = Spool(folder, 10 * ROOM)
    for number, size in enumerate((10, 3_000_000, 10, 500_000)):
        assert spool.append(parcel(number, size))
    sizes = []
    while entry := spool.take():
        sizes.append(len(entry[1].payload))
    assert sizes == [10, 3_000_000, 10, 500_000]


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match=r"file/spool: Not a directory$"):
        Spool(tmp_path / "file" / "spool", ROOM)
