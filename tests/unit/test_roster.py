"""Who may read what, as the file says, now and after it was changed."""

import hashlib
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from flows.settings import SettingError
from web.cli import main
from web.person import make_person
from web.roster import Roster
from web.sight import EVERYTHING, Sight


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def reader(name: str, token: str, more: str = "namespaces = ['a']") -> str:
    return f"[[reader]]\nname = '{name}'\ntoken_sha256 = '{digest(token)}'\n{more}\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "readers.toml"
    path.write_text(reader("alice", "x"), encoding="utf-8")
    return path


def test_a_token_is_its_readers(file: Path) -> None:
    roster = Roster(file)
    found = roster.by_token("x")
    assert found is not None
    assert (found.name, found.namespaces, found.rights) == ("alice", ("a",), ("read",))
    assert roster.by_token("y") is roster.by_token("") is None


def test_a_changed_file_is_read_again_though_its_times_and_size_are_the_same(file: Path) -> None:
    roster = Roster(file)
    roster.refresh()
    status = file.stat()
    file.write_text(reader("alice", "y"), encoding="utf-8")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    roster.refresh()
    assert roster.by_token("x") is None
    assert roster.by_token("y") is not None


@pytest.mark.parametrize("content", ["", "\n", "[[reader]]\nname = 'alice'\n", "x", "\udcff"])
def test_a_file_that_is_wrong_leaves_everything_as_it_was(
    file: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    roster = Roster(file)
    file.write_text(content, encoding="utf-8", errors="surrogateescape")
    roster.refresh()
    roster.refresh()
    assert roster.by_token("x") is not None
    (record,) = caplog.records
    assert record.getMessage().startswith("AGENT_COMMS_READERS_FILE: ")
    assert digest("x") not in record.getMessage()


def test_a_file_that_is_gone_leaves_everything_as_it_was(file: Path) -> None:
    roster = Roster(file)
    file.unlink()
    roster.refresh()
    assert roster.by_token("x") is not None
    file.write_text(reader("bob", "y"), encoding="utf-8")
    roster.refresh()
    assert roster.by_token("x") is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (reader("a", "x", "namespaces = []"), r"reader\[0\].namespaces"),
        (reader("a", "x", "namespaces = ['a']\nrights = ['write']"), "rights"),
        (reader("a", "x", "namespaces = ['a']\nright = ['read']"), "right"),
        (reader("a\\nb", "x").replace("'a\\nb'", '"a\\nb"'), "name"),
        ("[[reader]]\nname='a'\ntoken_sha256='ab'\nnamespaces=['a']", "token_sha256"),
        (reader("a", "x") + reader("b", "x"), "two readers have one token_sha256"),
        ("[[group]]\nname='a'", "namespaces"),
        ("[[user]]", "user"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "readers.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SettingError, match=f"AGENT_COMMS_READERS_FILE: .*{words}") as raised:
        Roster(path)
    assert "\n" not in str(raised.value)


def test_each_grant_counts_in_its_own_namespaces() -> None:
    person = make_person("alice", "proxy", [(("a", "b"), ("read",)), (("b", "c"), ("read", "operate"))])
    assert person.read == Sight(("a", "b", "c"))
    assert person.operate == Sight(("b", "c"))
    assert not person.may("speak")
    assert make_person("alice", "proxy", [(("a",), ("read",)), (("*",), ("read",))]).read == EVERYTHING


def test_a_sight_holds_its_namespaces_and_a_home() -> None:
    assert "a" in Sight(("a",))
    assert "*" not in Sight(("a",))
    assert "b" not in Sight(("a",))
    assert None not in Sight(("a",))
    assert "b" in EVERYTHING
    assert Sight(("b", "a")).home == "b"
    assert Sight(("b", "agents")).home == EVERYTHING.home == "agents"
    assert (Sight(("a",)).sole, Sight(("a", "b")).sole, EVERYTHING.sole) == ("a", None, None)


def test_the_command_makes_a_token_that_the_file_knows(tmp_path: Path) -> None:
    words = ["token", 'Zoë "Z" O\'Hara', "--namespace", "a", "--namespace", "b", "--right", "read", "--right", "speak"]
    told = CliRunner().invoke(main, words)
    assert told.exit_code == 0, told.output
    token, _, block = told.stdout.partition("\n\n")
    assert token not in block
    path = tmp_path / "readers.toml"
    path.write_text(block, encoding="utf-8")
    found = Roster(path).by_token(token)
    assert found is not None
    assert (found.name, found.namespaces, found.rights) == ('Zoë "Z" O\'Hara', ("a", "b"), ("read", "speak"))
    assert CliRunner().invoke(main, words).stdout != told.stdout


def test_several_namespaces_may_follow_one_option_and_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "readers.toml"
    path.write_text(CliRunner().invoke(main, ["token", "a", "--namespace", "x", "y"]).stdout.partition("\n\n")[2])
    (found,) = Roster(path).by_name("a")
    assert found.namespaces == ("x", "y")
    assert CliRunner().invoke(main, ["token", "a"]).exit_code == 2
    assert CliRunner().invoke(main, ["token", "a\n", "--namespace", "x"]).exit_code == 2
