"""Whatever a text holds, its slots hold those of it: or something would not be found."""

import unicodedata
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.events import event
from web import grams
from web.grams import (
    LONGEST_WORD,
    MOST_SLOTS,
    SLOTS,
    fold,
    names,
    names_of_place,
    slots_of_name,
    slots_of_term,
    slots_of_texts,
)
from web.grams import texts as texts_of

SCRIPTS = "aZ9_ .,/:-()\n\tßéÉ\u0130\u0131Σ\u03c3ς数据库テスト권한дДшא٣ค्हि→🎉é"
# Whatever Postgres holds.
STORABLE = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
SAID = st.text(alphabet=SCRIPTS, max_size=60) | st.text(alphabet=STORABLE, max_size=40)


@settings(max_examples=400)
@given(SAID, st.data())
def test_a_text_has_the_slots_of_each_of_its_parts(said: str, data: st.DataObject) -> None:
    # Where lines break is no matter; a letter and its accent are one.
    said = unicodedata.normalize("NFC", " ".join(said.split()))
    start = data.draw(st.integers(0, len(said)))
    part = said[start : data.draw(st.integers(start, len(said)))].strip()
    assert set(slots_of_term(part)) <= slots_of_texts([f"x {said} y", "z"])


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ("raise CheckoutTimeoutError(order)", "timeout"),
        ("src/app/checkout_flow.py:42", "app/checkout"),
        ("error[E0308]: mismatched types", "E0308"),
        ("数据库连接错误", "连接"),
        ("数据库连接错误", "错"),
        ("テストが失敗しました", "失敗"),
        ("ОШИБКА соединения", "ошибка"),
        ("Verbindungsfehler", "FEHLER"),
        ("Cafe\u0301 au lait", "café"),
        ("σοφός", "ΣΟΦΌΣ"),
        ("a\nb", "a b"),
    ],
)
def test_parts_of_words_in_any_case_and_script(said: str, part: str) -> None:
    assert set(slots_of_term(part)) <= slots_of_texts([said])


@pytest.mark.parametrize("term", ["checkout", "数据", "E0308", "src/app/main.rs", "zq", "→"])
def test_a_text_without_a_term_hardly_ever_has_its_slots(term: str) -> None:
    # A block's worth of other words.
    said = [f"step {number}: read the file and ran the tests in module_{number}" for number in range(400)]
    assert not set(slots_of_term(term)) <= slots_of_texts(said)


def test_a_term_has_few_slots_and_they_are_in_range() -> None:
    for term in ("a", "it", "the quick brown fox jumps over the lazy dog " * 20, "数" * 900):
        slots = slots_of_term(term)
        assert 0 < len(slots) <= MOST_SLOTS
        assert all(0 <= slot < SLOTS for slot in slots)


def test_of_a_word_that_is_no_word_the_ends_are_found() -> None:
    blob = "".join(chr(0x4E00 + number) for number in range(3 * LONGEST_WORD))
    found = slots_of_texts([blob])
    assert set(slots_of_term(blob[:20])) <= found
    assert set(slots_of_term(blob[-20:])) <= found


def test_a_long_text_lets_others_have_their_turn() -> None:
    breaths: list[int] = []
    slots_of_texts([" ".join(f"word{number}" for number in range(5_000))], lambda: breaths.append(1))
    assert len(breaths) >= 9


def test_a_name_is_no_word() -> None:
    said = slots_of_texts(["agent planner run agents uid-1"])
    assert not set(slots_of_name(*names_of_place("run", "agents", "uid-1", agent="planner"))) <= said


def test_a_message_is_found_by_its_place_agent_kind_and_topics() -> None:
    message = event(kind="error", attrs={"repository": "org/shop", "issueNumber": 12, "branch": True})
    known = set(names(message))
    assert names_of_place("run") in known
    assert names_of_place("run", "agents", kind="error") in known
    assert names_of_place("run", "agents", "uid-1", agent="planner") in known
    assert ("repository", "org/shop") in known
    assert ("issueNumber", "12") in known
    assert not any(name[0] == "branch" for name in known)


def test_what_tools_take_and_give_is_text_too() -> None:
    message = event("done", tool={"name": "shell", "input": {"command": ["ls", "-l"]}, "output": "x", "exit_code": 2})
    assert dict(texts_of(message)) == {
        "content": "done",
        "tool.name": "shell",
        "tool.input.command[0]": "ls",
        "tool.input.command[1]": "-l",
        "tool.output": "x",
        "tool.exit_code": "2",
    }


@given(st.text(max_size=100))
def test_folding_keeps_every_character_in_its_place(said: str) -> None:
    assert len(fold(said)) == len(said)


def test_how_much_is_looked_at_in_one_go_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(f"word{number} (x={number}), naïve_café" for number in range(300))
    whole = slots_of_texts([text])
    for most in (1, 2, 7):
        breaths: list[None] = []
        monkeypatch.setattr(grams, "PIECES_A_BREATH", most)
        assert slots_of_texts([text], partial(breaths.append, None)) == whole
        assert len(breaths) > 1_000 / most
