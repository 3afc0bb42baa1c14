import os
from pathlib import Path

import msgspec
import pytest

from connectors.tail import Position
from flows.codex import State
from flows.ledger import MAX_AT_ONCE, Desk, Gap, Ledger, Mark
from flows.payload import Speaker
from flows.settings import Settings

SPEAKER = Speaker("workflow", "agents", "run-1", "uid-1", "executor")


def desk(folder: Path, speaker: Speaker = SPEAKER) -> Desk:
    return Desk.of(Settings(agent_comms_spool_dir=folder), speaker)


@pytest.mark.parametrize(("path", "thread"), [("log:/x", "t"), ("log:/\udcff", "t"), ("log:/\\udcff", "\ud800")])
def test_what_one_publisher_keeps_the_next_one_finds(tmp_path: Path, path: str, thread: str) -> None:
    first = desk(tmp_path)
    ledger = Ledger("session", started=True, marks={path: Mark(Position(1, 2, 3, 4, b"\xff\n"), State(thread=thread))})
    ledger.leave("x", 7)
    first.write(ledger)
    first.close()
    assert desk(tmp_path).read() == ledger


@pytest.mark.parametrize("content", [b"", b"{", b'{"marks":7}'])
def test_a_ledger_that_cannot_be_read_is_an_empty_one(tmp_path: Path, content: bytes) -> None:
    taken = desk(tmp_path)
    assert taken.folder
    (taken.folder / "ledger.json").write_bytes(content)
    assert taken.read() == Ledger()


def test_every_agent_of_every_workflow_has_its_own_desk(tmp_path: Path) -> None:
    others = [
        msgspec.structs.replace(SPEAKER, **change)
        for change in ({}, {"uid": "uid-2"}, {"agent": "planner"}, {"namespace": "batch"}, {"step": "pod-1"})
    ]
    assert len({desk(tmp_path, other).folder for other in others}) == len(others)


def test_two_at_once_have_two_desks_and_one_that_is_left_is_taken_again(tmp_path: Path) -> None:
    first, second = desk(tmp_path), desk(tmp_path)
    assert first.folder != second.folder
    first.close()
    assert desk(tmp_path).folder == first.folder


def test_too_many_at_once_is_an_error_in_words(tmp_path: Path) -> None:
    taken = [desk(tmp_path) for _ in range(MAX_AT_ONCE)]
    with pytest.raises(OSError, match="16 publishers of this agent keep something there already"):
        desk(tmp_path)
    for each in taken:
        each.close()


def test_the_default_folder_is_this_users_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    taken = Desk.of(Settings(), SPEAKER)
    assert taken.folder
    root = tmp_path / f"agent-comms-{os.getuid()}"
    assert taken.folder.parent == root
    assert root.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_somebody_else_has_laid_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "theirs").mkdir()
    (tmp_path / f"agent-comms-{os.getuid()}").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="belongs to somebody else"):
        Desk.of(Settings(), SPEAKER)


def test_lines_that_follow_each_other_are_one_gap() -> None:
    ledger = Ledger()
    for line in (3, 4, 5, 9, 10, 10, 20):
        ledger.leave("a", line)
    ledger.leave("b", 1)
    assert ledger.gaps == {"a": [Gap(3, 5), Gap(9, 10), Gap(20, 20)], "b": [Gap(1, 1)]}
    assert ledger.left == 8
