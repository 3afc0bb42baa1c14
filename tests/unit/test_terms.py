"""What is looked for, and where in a message it is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.events import event
from web.terms import AROUND, MOST_PLACES, matches, patterns, terms_of


@pytest.mark.parametrize(
    ("typed", "terms"),
    [
        ("flaky checkout", ("flaky", "checkout")),
        ('"flaky checkout" test', ("flaky checkout", "test")),
        ('say "" "  " x', ("say", "x")),
        ('half "open', ("half", '"open')),
        ("twice twice", ("twice",)),
        ("  ", ()),
        ("数据库 错误", ("数据库", "错误")),
    ],
)
def test_words_and_phrases_are_told_apart(typed: str, terms: tuple[str, ...]) -> None:
    assert terms_of(typed) == terms


def test_a_match_says_where_it_is_and_what_is_around() -> None:
    said = "x" * 100 + " The Checkout failed. " + "y" * 100
    (match,) = matches(event(said), ("checkout",)) or []
    assert said[match.start : match.end] == match.text == "Checkout"
    assert match.before == said[match.start - AROUND : match.start]
    assert match.after == said[match.end : match.end + AROUND]
    assert match.field == "content"


def test_every_term_must_be_somewhere_and_each_is_shown() -> None:
    message = event("a a a a a a a a", tool={"name": "shell", "output": "exit B"})
    assert matches(message, ("a", "zebra")) is None
    found = matches(message, ("a", "b")) or []
    assert len(found) == MOST_PLACES
    assert [(match.field, match.text) for match in found[:2]] == [("content", "a"), ("tool.output", "B")]


@pytest.mark.parametrize(
    ("said", "term"),
    [("CAFÉ", "café"), ("Cafe\u0301", "café"), ("café", "cafe\u0301"), ("ΣΟΦΌΣ", "σοφός"), ("İstanbul", "istanbul")],
)
def test_case_and_composition_make_no_difference(said: str, term: str) -> None:
    (match,) = matches(event(said), (term,)) or []
    assert match.text == said


def like(text: str, pattern: str) -> bool:
    """Do what LIKE does."""
    parts = re.findall(r"\\(.)|(%)|(_)|(.)", pattern, re.DOTALL)
    expression = "".join(
        ".*" if many else "." if one else re.escape(escaped or plain) for escaped, many, one, plain in parts
    )
    return re.fullmatch(expression, text, re.DOTALL) is not None


@given(st.text(alphabet="aB%_\\\"'éÉßд数 ", min_size=1, max_size=12), st.text(max_size=5), st.text(max_size=5))
def test_what_holds_a_term_is_like_one_of_its_patterns(term: str, before: str, after: str) -> None:
    for said in (term, term.upper(), term.lower()):
        if len(said) == len(term):
            assert any(like((before + said + after).lower(), pattern) for pattern in patterns(term))


@pytest.mark.parametrize("said", ["ОШИБКА", "Ошибка", "ошибка"])
def test_in_a_locale_that_knows_ascii_only_the_usual_cases_are_found(said: str) -> None:
    assert any(like(f"err: {said}", pattern) for pattern in patterns("Ошибка"))


def test_a_pattern_takes_signs_of_patterns_literally() -> None:
    assert any(like("x50%_\\y", pattern) for pattern in patterns("50%_\\"))
    assert not any(like("x50aby", pattern) for pattern in patterns("50%_\\"))


def test_in_what_stands_as_json_it_is_looked_for_as_json() -> None:
    assert any(like('{"output": "say \\"hi\\""}', pattern) for pattern in patterns('say "hi"'))


def test_a_plain_word_has_one_pattern() -> None:
    assert patterns("Checkout") == ["%checkout%"]
