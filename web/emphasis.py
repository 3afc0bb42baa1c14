"""Marks in HTML what was looked for."""

import re
import unicodedata
from functools import lru_cache
from html import escape

# A tag, or a text up to the next one.
_PIECE = re.compile(r"<[^>]*>|[^<]+")
# The last attribute of an element whose words are the page's own; static/terms.js knows it, too.
_OURS = " data-ours>"
_EMPTY = re.compile(r"<(?:br|hr|img|input|wbr)\b|.*/>$", re.DOTALL)
# Of more places none is marked: a page has to stay light.
_MOST = 500


def mark(html: str, terms: tuple[str, ...]) -> str:
    """Return HTML in which the words that are looked for are marked, where they stand in one piece and were said.

    Args:
        html: well-formed, no `<` or `>` in attributes' values.
        terms: see `web.terms`.
    """
    if not terms:
        return html
    pattern = _pattern(terms)
    left = _MOST

    def marked(match: re.Match[str]) -> str:
        nonlocal left
        if match["term"] is None or left <= 0:
            return match[0]
        left -= 1
        return f"<mark>{match[0]}</mark>"

    found = []
    # How deep within an element that is ours.
    depth = 0
    for piece in _PIECE.findall(html):
        if piece.startswith("<"):
            depth = _depth_after(piece, depth)
        found.append(piece if depth or piece.startswith("<") else pattern.sub(marked, piece))
    return "".join(found)


def _depth_after(tag: str, depth: int) -> int:
    if not depth:
        return int(tag.endswith(_OURS))
    if tag.startswith("</"):
        return depth - 1
    return depth if _EMPTY.match(tag) else depth + 1


@lru_cache(maxsize=256)
def _pattern(terms: tuple[str, ...]) -> re.Pattern[str]:
    forms = {
        escape(form)
        for term in terms
        for form in (term, unicodedata.normalize("NFC", term), unicodedata.normalize("NFD", term))
    }
    spaced = [r"\s+".join(map(re.escape, form.split())) for form in sorted(forms, key=len, reverse=True)]
    # A character that HTML has to write as a word is not found by letters of that word.
    return re.compile(rf"(?P<term>{'|'.join(filter(None, spaced))})|&[#\w]+;", re.IGNORECASE)
