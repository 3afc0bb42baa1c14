"""What somebody looks for in messages: terms, the patterns that Postgres sieves by, and the places that match.

A term is a word or, between quotes, a phrase. A message fits if it holds each term,
as it is or in other case, also within a word.
"""

import json
import re
import unicodedata
from collections.abc import Iterator

from msgspec import Struct

from flows.message import Event
from web.grams import fold, texts

# As much of the text around a place is shown.
AROUND = 60
MOST_PLACES = 5

_CAPITALS = re.compile("[A-Z]+")
# Those that mean something in a pattern.
_SIGNS = re.compile(r"[\\%_]")
_TERM = re.compile(r'"([^"]*)"|(\S+)')


class Match(Struct, frozen=True):
    """One place in a message.

    Attributes:
        field: where in the message, such as `content` or `tool.input.command`.
        start: where in that text it begins, in characters (code points).
        end: where it ends.
        before: some of the text before it.
        text: what matched.
        after: some of the text after it.
    """

    field: str
    start: int
    end: int
    before: str
    text: str
    after: str


def terms_of(query: str) -> tuple[str, ...]:
    """Return the terms of what was typed, each once."""
    found = (phrase or word for phrase, word in _TERM.findall(query))
    return tuple(dict.fromkeys(term for term in map(str.strip, found) if term))


def patterns(term: str) -> list[str]:
    """Return LIKE patterns: what Postgres calls `lower` of a message that holds the term is like one of them.

    Not all of which it is true hold the term: Postgres compares no accents.
    """
    # Postgres may know small letters of ASCII only, by its locale.
    cases = (fold, _same, str.upper, str.title) if not term.isascii() else (fold,)
    found = [_ascii_lower(case(form)) for form in _forms(term) for case in cases]
    # In `attrs` the text stands as JSON.
    found += [json.dumps(form, ensure_ascii=False)[1:-1] for form in found]
    return [f"%{_SIGNS.sub(_escaped, form)}%" for form in dict.fromkeys(found)]


def matches(event: Event, terms: tuple[str, ...]) -> list[Match] | None:
    """Return the first places that match, at least one of each term; None where a term is nowhere."""
    places: dict[str, list[Match]] = {term: [] for term in terms}
    for field, text in texts(event):
        folded = fold(text)
        for term, found in places.items():
            found += [_match(field, text, start, end) for start, end in _places(folded, term)]
    if not all(places.values()):
        return None
    firsts = [found[0] for found in places.values()]
    others = [match for found in places.values() for match in found[1:]]
    return [*firsts, *others][: max(MOST_PLACES, len(firsts))]


def _places(folded: str, term: str) -> Iterator[tuple[int, int]]:
    for form in dict.fromkeys(fold(form) for form in _forms(term)):
        start = folded.find(form)
        for _ in range(MOST_PLACES):
            if start < 0:
                break
            yield start, start + len(form)
            start = folded.find(form, start + len(form))


def _forms(term: str) -> tuple[str, str, str]:
    """Return a term as it was typed, with its accents on its letters, and with them beside."""
    return term, unicodedata.normalize("NFC", term), unicodedata.normalize("NFD", term)


def _match(field: str, text: str, start: int, end: int) -> Match:
    before, after = max(0, start - AROUND), end + AROUND
    return Match(field, start, end, text[before:start], text[start:end], text[end:after])


def _same(text: str) -> str:
    return text


def _ascii_lower(text: str) -> str:
    return _CAPITALS.sub(lambda found: found[0].lower(), text)


def _escaped(found: re.Match[str]) -> str:
    return f"\\{found[0]}"
