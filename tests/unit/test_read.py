"""What `agent-comms read` makes of what it is given."""

from collections.abc import Iterator

import pytest
from click.testing import CliRunner

import web.read
from flows.message import Event
from flows.settings import Settings
from tests.unit.events import event
from web.read import read
from web.shelf import Shelf, Wanted


class Pile:
    """Messages of which some are read and followed at the same time."""

    def head(self, _: Wanted) -> int:
        return 1

    def newest(self, _: Wanted, count: int) -> list[Event]:
        return [event(f"message {seq}", seq=seq) for seq in (1, 2)][-count:]

    def silent(self, _: Wanted) -> str | None:
        return None

    def follow(self, _: Wanted, seq: int) -> Iterator[Event]:
        yield from (event(f"message {later}", seq=later) for later in range(seq + 1, 5))

    def close(self) -> None:
        """Close nothing."""


def test_what_comes_while_the_newest_are_read_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def shelf(_: Settings) -> Shelf:
        return Pile()

    monkeypatch.setattr(web.read, "_shelf", shelf)
    done = CliRunner().invoke(read, ["--run", "x", "--follow"])
    said = [line.strip() for line in done.output.splitlines() if line.startswith("    ")]
    assert said == ["message 1", "message 2", "message 3", "message 4"]


@pytest.mark.parametrize("issue", ["12", "#12"])
def test_what_a_message_is_about_is_told_by_its_attrs(issue: str) -> None:
    wanted = Wanted(general=True, repository="org/shop", issue=issue)
    assert wanted.holds(event(attrs={"repository": "org/shop", "issueNumber": 12}))
    assert wanted.holds(event(attrs={"repository": "org/shop", "issueNumber": "12"}))
    assert not wanted.holds(event(attrs={"repository": "org/shop"}))
    assert not wanted.holds(event(attrs={"issueNumber": 12}))
