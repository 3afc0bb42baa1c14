"""Who may stay: connections are told when their person may not, and addresses are believed where they are ours."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.settings import Settings
from tests.readers import Readers
from tests.waiting import wait_until
from web.door import Door, Visit
from web.endings import Endings
from web.limits import Limit
from web.person import ANYBODY, Person, make_person
from web.pool import Pool
from web.problems import Problem

ALICE = make_person("alice", "token", [(("a",), ("read",))])


@pytest.fixture
def start_door(tmp_path: Path) -> Iterator[Callable[..., Door]]:
    doors = []
    # Nobody signs in here, and nobody listens there.
    pool = Pool("host=127.0.0.1 port=1")

    def start(**settings: str) -> Door:
        readers = Readers(tmp_path / "readers.toml")
        given = {"agent_comms_auth": "token", "agent_comms_readers_file": readers.path, **settings}
        doors.append(Door(Settings(**given), Endings(pool)))  # type: ignore[arg-type]  # as they are named
        return doors[-1]

    yield start
    for door in doors:
        door.close()
    pool.close()


def test_whoever_stays_too_long_is_told_once(start_door: Callable[..., Door]) -> None:
    told: list[bool] = []
    leave = start_door().watch(Visit(ALICE, lambda: ALICE, time.time() + 0.1), told.append)
    wait_until(lambda: told)
    assert told == [True]
    leave()


def test_who_may_do_something_else_is_told_to_come_again(start_door: Callable[..., Door], tmp_path: Path) -> None:
    now: list[Person | None] = [ALICE]
    told: list[bool] = []
    door = start_door()
    door.watch(Visit(ALICE, lambda: now[0]), told.append)
    stays: list[bool] = []
    door.watch(Visit(ALICE, lambda: ALICE), stays.append)
    now[0] = make_person("alice", "token", [(("a", "b"), ("read",))])
    Readers(tmp_path / "readers.toml").add("somebody", "x")
    wait_until(lambda: told)
    assert (told, stays) == ([False], [])


def test_one_whose_end_fails_keeps_nobody_else(
    start_door: Callable[..., Door], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[bool] = []
    door = start_door()

    def fail(_: bool) -> None:
        raise OSError

    door.watch(Visit(ALICE, lambda: ALICE, time.time()), fail)
    door.watch(Visit(ALICE, lambda: ALICE, time.time() + 0.1), told.append)
    wait_until(lambda: told)
    assert "door: failed" in caplog.text


def test_where_nobody_is_asked_nobody_is_looked_after() -> None:
    door = Door(Settings(), Endings(Pool("")))
    door.watch(Visit(ANYBODY, lambda: ANYBODY), lambda _: None)()
    door.start()
    assert door.roster is None


@pytest.mark.parametrize(
    ("address", "is_proxy"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("fd00::1", True),
        ("11.1.2.3", False),
        ("fd01::1", False),
        ("10.1.2.3 ", False),
        ("", True),
        (None, True),
        ("x", False),
    ],
)
def test_the_proxys_addresses_are_these(start_door: Callable[..., Door], address: str | None, is_proxy: bool) -> None:
    assert start_door(agent_comms_proxy_addresses="10.0.0.0/8, fd00::/64,unix").is_proxy(address) is is_proxy
    assert not start_door().is_proxy(address)


def test_so_many_a_minute_are_let_through() -> None:
    limit = Limit(2, "Too much.")
    limit.take("a")
    limit.take("a")
    with pytest.raises(Problem, match="Too much") as raised:
        limit.take("a")
    assert raised.value.status == 429
    assert 1 <= int(raised.value.headers["Retry-After"]) <= 30
    limit.take("b")
    with pytest.raises(Problem):
        limit.check("a")
