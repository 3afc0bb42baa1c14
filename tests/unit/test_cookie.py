"""The cookie of whoever has signed in."""

import pytest

from tests.unit.test_roster import digest
from web.cookie import Cookies
from web.roster import Reader

NOW = 1_800_000_000.0
ALICE = Reader(name="alice", token_sha256=digest("x"), namespaces=("a",))
BOB = Reader(name="bob", token_sha256=digest("y"), namespaces=("b",))
COOKIES = Cookies("", 3_600)


def test_it_says_who_has_signed_in_and_until_when() -> None:
    cookie = COOKIES.sign(ALICE, NOW)
    assert COOKIES.name(cookie) == "alice"
    session = COOKIES.session(cookie, [BOB, ALICE], NOW + 3_599)
    assert session is not None
    assert (session.reader, session.until) == (ALICE, NOW + 3_600)
    other = COOKIES.session(COOKIES.sign(ALICE, NOW), [ALICE], NOW)
    assert other is not None
    assert other.id != session.id
    assert Cookies("", 3_600).session(cookie, [ALICE], NOW) is not None
    assert COOKIES.sign(ALICE, NOW) != cookie


def test_it_holds_neither_the_token_nor_its_digest() -> None:
    cookie = COOKIES.sign(Reader(name="alice", token_sha256=digest("a-long-token"), namespaces=("a",)), NOW)
    assert "a-long-token" not in cookie
    assert digest("a-long-token") not in cookie


def test_it_ends_when_it_was_to_though_sign_ins_last_longer_by_then() -> None:
    cookie = Cookies("", 60).sign(ALICE, NOW)
    assert COOKIES.session(cookie, [ALICE], NOW + 59) is not None
    assert COOKIES.session(cookie, [ALICE], NOW + 60) is None


def test_it_is_nobodys_once_it_is_too_old_or_the_token_another_one() -> None:
    cookie = COOKIES.sign(ALICE, NOW)
    assert COOKIES.session(cookie, [ALICE], NOW + 3_600) is None
    assert COOKIES.session(cookie, [ALICE], NOW - 3_600) is None
    assert Cookies("", 60).session(cookie, [ALICE], NOW + 61) is None
    assert COOKIES.session(cookie, [Reader(name="alice", token_sha256=digest("z"), namespaces=("a",))], NOW) is None
    assert COOKIES.session(cookie, [], NOW) is None


def test_whoever_has_read_the_file_can_sign_none_where_there_is_a_key() -> None:
    keyed = Cookies("a key of sixteen letters", 3_600)
    assert keyed.session(COOKIES.sign(ALICE, NOW), [ALICE], NOW) is None
    assert keyed.session(keyed.sign(ALICE, NOW), [ALICE], NOW) is not None


def test_a_changed_one_is_nobodys() -> None:
    claim, _, mac = COOKIES.sign(ALICE, NOW).partition(".")
    other, _, others = COOKIES.sign(BOB, NOW).partition(".")
    for forged in (f"{claim}.{others}", f"{other}.{mac}", f"{claim}A.{mac}", f"{claim}.", claim, f"{claim}.{mac[:-4]}"):
        assert COOKIES.session(forged, [ALICE, BOB], NOW) is None


@pytest.mark.parametrize("cookie", ["", ".", "é.é", "a" * 5_000, "bnVsbA.bnVsbA", "W10.W10", "\ud800.", "=.="])
def test_nonsense_is_nobodys(cookie: str) -> None:
    assert COOKIES.name(cookie) is None
    assert COOKIES.session(cookie, [ALICE], NOW) is None
