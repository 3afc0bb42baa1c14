"""The encodings in which bytes may spell a text: more than one where they are a mixture, or no text at all."""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

# UTF-16 spells a letter of ASCII with one NUL, UTF-32 with three. So many in a row are no accident.
_LEAST_LETTERS = 4
_LETTER = rb"[\t\n\r\x1b -~]"


class _Wide(Struct, frozen=True):
    """An encoding that spells each character with several bytes.

    Attributes:
        name: of the codec.
        width: bytes of a letter.
        lead: where in a letter's bytes the one is that isn't NUL.
        mark: what a text may begin with to say that it is in this encoding.
        parts: matches at any place either what can be characters, or what can't and is passed over.
    """

    name: str
    width: int
    lead: int
    mark: bytes
    parts: re.Pattern[bytes]


def _wide(name: str, width: int, lead: int, mark: bytes, unit: bytes) -> _Wide:
    # Possessive: what is passed is not kept in mind, however much it is.
    parts = rb"(?P<text>(?:%b)++)|(?:(?!%b)%b)++" % (unit, unit, b"." * width)
    return _Wide(name, width, lead, mark, re.compile(parts, re.DOTALL))


# The wider first: what is replaced in them leaves the others where they stand. Of two that read the same letters one
# byte apart, the one that sees all but the first: no token is found without its beginning, but many without their end.
_WIDE = (
    _wide("utf-32-be", 4, 3, codecs.BOM_UTF32_BE, rb"\0[\0-\x10].."),
    _wide("utf-32-le", 4, 0, codecs.BOM_UTF32_LE, rb"..[\0-\x10]\0"),
    _wide("utf-16-be", 2, 1, codecs.BOM_UTF16_BE, rb".."),
    _wide("utf-16-le", 2, 0, codecs.BOM_UTF16_LE, rb".."),
)
_LETTERS = {
    width: re.compile(rb"%b(?:\0{%d}%b){%d,}" % (_LETTER, width - 1, _LETTER, _LEAST_LETTERS - 1)) for width in (2, 4)
}


class _Part(NamedTuple):
    """A text, and where it is spelled."""

    begin: int
    end: int
    text: str


def rewrite(data: bytes, change: Callable[[str], str]) -> bytes:
    """Return bytes in which every text is changed that they may spell, in place; the same where none is.

    What is no part of a changed text stays as it is, byte for byte.

    Args:
        data: in one encoding, in several, or in none; a text may begin at any byte.
        change: returns a text as it is to be; the same where nothing is to be changed.
    """
    if 0 in data or data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        for wide in _WIDE:
            for start in sorted(_starts(data, wide)):
                changes = _changes([*_parts(data, wide, start)], change)
                data = _spelled(data, changes, wide.name, "surrogatepass")
    whole = [_Part(0, len(data), data.decode("utf-8", "surrogateescape"))]
    return _spelled(data, _changes(whole, change), "utf-8", "surrogateescape")


def _starts(data: bytes, wide: _Wide) -> set[int]:
    """Return at which of its first bytes data may begin to be read in an encoding, so that letters are seen."""
    starts = {0} if data.startswith(wide.mark) else set()
    for letters in _LETTERS[wide.width].finditer(data):
        starts.add((letters.start() - wide.lead) % wide.width)
        if len(starts) == wide.width:
            break
    return starts


def _parts(data: bytes, wide: _Wide, start: int) -> Iterator[_Part]:
    """Yield the texts that data holds, read in an encoding from a byte on."""
    has_letters = _LETTERS[wide.width].search
    marked = data.startswith(wide.mark)
    for match in wide.parts.finditer(data, start):
        begin, end = match.span("text")
        # Most of what could be characters says nothing.
        if begin >= 0 and (has_letters(data, begin, end) or (marked and not begin)):
            yield _Part(begin, end, data[begin:end].decode(wide.name, "surrogatepass"))


def _changes(parts: Sequence[_Part], change: Callable[[str], str]) -> list[_Part]:
    """Return those that are changed, as they are to be; looked for in many at once, then in each half of them."""
    text = "\n".join([part.text for part in parts])
    changed = change(text)
    if changed == text:
        return []
    if len(parts) == 1:
        return [parts[0]._replace(text=changed)]
    middle = len(parts) // 2
    return _changes(parts[:middle], change) + _changes(parts[middle:], change)


def _spelled(data: bytes, changes: Iterable[_Part], encoding: str, errors: str) -> bytes:
    """Return data with texts in the place of what is there."""
    pieces: list[bytes] = []
    done = 0
    for part in changes:
        pieces += [data[done : part.begin], part.text.encode(encoding, errors)]
        done = part.end
    return b"".join((*pieces, data[done:])) if pieces else data
