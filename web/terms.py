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


def patterns(terms: tuple[str, ...]) -> list[list[str]]:
    """Return LIKE patterns in lists: what Postgres calls `lower` of a message fits all of at least one list.

    A message that fits may still hold not all terms: Postgres may know less of case than we do.
    """
    forms = [*zip(*map(_forms, terms), strict=True)]
    # In `attrs` the text stands as JSON.
    forms += [tuple(json.dumps(term, ensure_ascii=False)[1:-1] for term in form) for form in forms]
    return [[_pattern(term) for term in form] for form in dict.fromkeys(forms)]


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


def _pattern(term: str) -> str:
    return f"%{''.join(map(_character, fold(term)))}%"


def _character(character: str) -> str:
    if character in "\\%_":
        return f"\\{character}"
    # Whether Postgres knows the small letter depends on its locale, so any letter fits there.
    has_case = not character.isascii() and (character.lower() != character or character.upper() != character)
    return "_" if has_case else character
