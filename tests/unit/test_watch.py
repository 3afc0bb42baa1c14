import select
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.watch import CALM_AFTER, LOOK_ANYWAY_S, LOOK_LATER_S, LOOK_SOON_S, FileWatch


def told(watch: FileWatch, patience: float = 60) -> bool:
    """Whether a change is told in time, once all told before is forgotten."""
    file = watch.fileno()
    assert file is not None
    return bool(select.select([file], [], [], patience)[0])


def rotate(path: Path) -> None:
    path.with_suffix(".new").write_text("x")
    path.with_suffix(".new").rename(path)


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
@pytest.mark.parametrize(
    "change", [lambda path: path.write_text("x"), Path.touch, rotate], ids=["write", "make", "rename"]
)
@pytest.mark.parametrize("is_there", [True, False])
def test_a_change_is_told_at_once(tmp_path: Path, change: Callable[[Path], None], is_there: bool) -> None:
    path = tmp_path / "events.jsonl"
    if is_there:
        path.touch()
    watch = FileWatch([path])
    assert not told(watch, 0)
    change(path)
    assert told(watch)
    watch.drain()
    assert not told(watch, 0)
    watch.refresh()
    with path.open("a") as file:
        file.write("more")
    assert told(watch)
    assert watch.patience(changed=False) == LOOK_ANYWAY_S
    watch.close()
    assert watch.fileno() is None


def test_without_inotify_it_is_looked_often_and_less_often_once_all_is_calm(tmp_path: Path) -> None:
    watch = FileWatch([tmp_path / "x"], use_inotify=False)
    assert watch.fileno() is None
    watch.refresh()
    watch.drain()
    assert watch.patience(changed=True) == LOOK_SOON_S
    waits = [watch.patience(changed=False) for _ in range(CALM_AFTER)]
    assert (waits[0], waits[-1]) == (LOOK_SOON_S, LOOK_LATER_S)
    assert watch.patience(changed=True) == LOOK_SOON_S
    watch.close()


def test_a_folder_that_is_not_there_yet_is_no_trouble(tmp_path: Path) -> None:
    watch = FileWatch([tmp_path / "later" / "events.jsonl"])
    (tmp_path / "later").mkdir()
    watch.refresh()
    (tmp_path / "later" / "events.jsonl").touch()
    assert told(watch)
    watch.close()
