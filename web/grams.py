"""What a message can be found by: the short runs of characters in its words, and who said it where.

A text holds another only if it holds each of its runs of one to four characters, word
by word, and each of its seams between two words. That is true of any script and of any
part of a word, so nothing here knows a language. Each run is hashed to a few of
`SLOTS` numbers; the numbers of a block of messages are its signature (see `web.segment`).
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from sys import intern
from typing import Any, TypeVar
from zlib import crc32

from flows.message import Event

T = TypeVar("T")

SLOTS = 16_384
# The same objects wherever they are kept: a slot then takes a pointer, and none is made anew.
_NUMBERS = tuple(range(SLOTS))
_BITS = 14
# Characters on either side of a seam.
SEAM = 2
# As many tell a block with a word, and one with a term, from one without; more only cost.
ENOUGH_SLOTS = 4
MOST_SLOTS = 16
# Of a longer word, say an image in base64, the ends are enough.
LONGEST_WORD = 1_024
# Of a long text so much is looked at in one go: words and signs, and of those that are new so many.
PIECES_A_BREATH = 500
WORDS_A_BREATH = 50
# So many words, seams and short runs each are remembered, of which most come again and again.
KEPT = 65_536
# What no text holds, so that no word passes for a name or a seam.
_MARK = "\0"

# A word or some signs, and whether there is a space behind.
_WORD = re.compile(r"(?:\w+|[^\w\s]+) ?")


def fold(text: str) -> str:
    """Return a text in which case makes no difference; as long as it was."""
    # The two letters of which `lower` makes something else than one small letter.
    return text.replace("\u0130", "i").lower().replace("\u03c2", "\u03c3")


def slots_of_texts(texts: Iterable[str], breathe: Callable[[], object] = lambda: None) -> set[int]:
    """Return the slots of all runs of characters in some texts.

    Args:
        texts: what was said.
        breathe: called now and then, so that others of this process get their turn.
    """
    found: set[int] = set()
    seen: set[str] = set()
    # Runs of one and two characters come in nearly every word, and are looked at once for all of them.
    short: set[str] = set()
    for text in texts:
        pieces = _pieces(text)
        breathe()
        for start in range(0, len(pieces), PIECES_A_BREATH):
            # And the next one: there is a seam between the two.
            some = pieces[start : start + PIECES_A_BREATH + 1]
            found.update(map(_SLOTS_OF_SEAMS.__getitem__, _seams(some)))
            new = [*{piece.rstrip() for piece in {*some}} - seen]
            seen.update(new)
            short.update("".join(new))
            for first in range(0, len(new), WORDS_A_BREATH):
                for pairs, longer in map(_RUNS_OF_WORDS.__getitem__, new[first : first + WORDS_A_BREATH]):
                    short.update(pairs)
                    found.update(longer)
                breathe()
            breathe()
    found.update(*map(_SPREADS.__getitem__, short))
    return found


def slots_of_term(term: str) -> list[int]:
    """Return the slots that every text with a term in it has: the most telling ones, which are enough."""
    pieces = _pieces(term)
    # Of the first and the last word of a term a text may hold more than the term does.
    sure = pieces[len(pieces[0].rstrip()) < SEAM : len(pieces) - (len(pieces[-1]) < SEAM)] if pieces else []
    found = [*map(_SLOTS_OF_SEAMS.__getitem__, _seams(sure))]
    for word in sorted({piece.rstrip() for piece in pieces}, key=len, reverse=True):
        telling: list[int] = []
        for slots in reversed(list(_slots_by_length(word))):
            if len(telling) < ENOUGH_SLOTS:
                telling += slots
        found += telling
    return list(dict.fromkeys(found))[:MOST_SLOTS]


def slots_of_name(*name: str) -> tuple[int, ...]:
    """Return the slots of something that isn't said, but known of a message: a channel, a workflow, an agent."""
    return _SPREADS[_MARK + _MARK.join(name)]


def names(event: Event) -> Iterator[tuple[str, ...]]:
    """Yield what a message is found by beside its words."""
    place = [event.channel, event.workflow_namespace]
    if event.workflow_uid is not None:
        place.append(event.workflow_uid)
    for depth in range(1, len(place) + 1):
        yield names_of_place(*place[:depth])
        yield names_of_place(*place[:depth], agent=event.agent_id)
        yield names_of_place(*place[:depth], kind=event.kind)
    yield from names_of_topic(event.attrs)


def names_of_place(*place: str, agent: str | None = None, kind: str | None = None) -> tuple[str, ...]:
    """Name a channel, in it a namespace, in that a workflow; perhaps what one agent says there, or one kind."""
    if agent is not None:
        return "agent", agent, *place
    return ("kind", kind, *place) if kind is not None else ("place", *place)


def names_of_topic(attrs: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the names of what a message is about."""
    for key in TOPICS:
        value = attrs.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool):
            yield key, str(value)


TOPICS = ("repository", "issueNumber", "branch")


def texts(event: Event) -> Iterator[tuple[str, str]]:
    """Yield the texts of a message in which words are looked for, and where in the message each is."""
    yield "content", event.content
    if event.tool:
        for key, value in event.tool.items():
            yield from _leaves(f"tool.{key}", value)


def _leaves(where: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{where}.{key}", inner)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(f"{where}[{number}]", inner)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield where, str(value)


def _pieces(text: str) -> list[str]:
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return _WORD.findall(" ".join(fold(text).split()))


def _seams(pieces: list[str]) -> set[str]:
    """Return what is on both sides of where two pieces meet."""
    ends = [piece[-SEAM - 1 :] if piece[-1] == " " else piece[-SEAM:] for piece in pieces]
    return {f"{_MARK}{end}{other[:SEAM]}" for end, other in zip(ends, pieces[1:], strict=False)}


def _slot_of_seam(seam: str) -> int:
    return _NUMBERS[crc32(seam.encode("utf-8", "surrogatepass")) % SLOTS]


def _runs_of_word(word: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Return a word's runs of two characters, and the slots of those of three and four."""
    half = LONGEST_WORD // 2
    parts = (word,) if len(word) <= LONGEST_WORD else (word[:half], word[-half:])
    pairs = {intern(part[start : start + 2]) for part in parts for start in range(len(part) - 1)}
    return tuple(pairs), tuple({_NUMBERS[slot] for part in parts for slots in _slots_of_longer(part) for slot in slots})


def _slots_by_length(word: str) -> Iterator[list[int]]:
    """Yield the slots of a word's runs of one, two, three and four characters.

    Shorter runs have more of them: who looks for one has few others to tell texts apart by.
    """
    yield [slot for character in word for slot in _SPREADS[character]]
    yield [slot for start in range(len(word) - 1) for slot in _SPREADS[word[start : start + 2]]]
    yield from _slots_of_longer(word)


def _slots_of_longer(word: str) -> Iterator[list[int]]:
    data = word.encode("utf-8", "surrogatepass")
    for length in (3, 4):
        starts = range(len(word) - length + 1)
        if len(data) == len(word):
            yield [crc32(data[start : start + length]) % SLOTS for start in starts]
        else:
            yield [crc32(word[start : start + length].encode("utf-8", "surrogatepass")) % SLOTS for start in starts]


def _spread(text: str) -> tuple[int, ...]:
    number = int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    return tuple(_NUMBERS[(number >> shift) % SLOTS] for shift in range(0, 3 * _BITS, _BITS))


class _Kept(dict[str, T]):
    """What was made of texts lately: nothing is counted or moved when something is found again.

    Args:
        make: makes it of a text.
    """

    def __init__(self, make: Callable[[str], T]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, text: str) -> T:
        if len(self) >= KEPT:
            self.clear()
        made = self[text] = self._make(text)
        return made


_SPREADS = _Kept(_spread)
_SLOTS_OF_SEAMS = _Kept(_slot_of_seam)
_RUNS_OF_WORDS = _Kept(_runs_of_word)
