from pathlib import Path

import pytest

from connectors import nkey


def test_a_seed_is_kept_for_its_owner_alone_and_its_public_key_stays_the_same(tmp_path: Path) -> None:
    path = tmp_path / "agents.nk"
    key = nkey.keep(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert nkey.keep(path) == key == nkey.public_key(path.read_text())
    assert key.startswith("U")
    assert [file.name for file in tmp_path.iterdir()] == ["agents.nk"]


def test_what_is_no_seed_is_one_line_and_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "agents.nk"
    path.write_text("precious")
    with pytest.raises(nkey.NkeyError, match=r"agents\.nk: this is no NKey seed"):
        nkey.keep(path)
    assert path.read_text() == "precious"


def test_the_command_prints_the_public_key_and_no_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.nk"
    assert nkey.main([str(path)]) == ""
    printed = capsys.readouterr().out
    assert printed == f"{nkey.public_key(path.read_text())}\n"
    assert nkey.main([]) == "usage: python -m connectors.nkey FILE"
    assert nkey.main([str(tmp_path / "none" / "x.nk")]).startswith("nkey: ")
