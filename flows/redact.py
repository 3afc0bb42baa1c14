"""Replaces credentials by a marker that names their kind, before anything is stored.

A credential is known by its shape, wherever it stands, or by the name of the key that
holds it, in attrs, tool input and headers. Most messages hold none, and one pass over
the raw payload tells.
"""

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate, product
from typing import Any

import msgspec
from ahocorasick_rs import BytesAhoCorasick, Implementation
from msgspec import Struct

from flows import encodings
from flows.dead_letter import DeadLetter
from flows.message import Message
from flows.patterns import PATTERNS, Pattern, PatternError, load_patterns
from flows.settings import SettingError, Settings

# Keys whose value is a credential: the whole name, or its end, without punctuation and in lower case.
SECRET_NAMES = (
    "password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "secretkey", "privatekey",
    "authorization", "credential", "credentials", "cookie", "sessionid", "pwd",
)  # fmt: skip
# What a payload with such a key holds, in lower case. More letters than seven have too many spellings.
_LONGEST_HINT = 7
_NAME_HINTS = tuple(
    hint[-_LONGEST_HINT:]
    for hint in (
        *("passw", "passphrase", "secret", "token", "authoriz", "credential", "cookie", "pwd", '"pass'),
        *(
            f"{first}{between}{second}"
            for first, second in (("api", "key"), ("access", "key"), ("private", "key"), ("session", "id"))
            for between in ("", "_", "-", " ", ".")
        ),
    )
)
# Payloads are looked through in parts of so many bytes, which a core's cache holds.
TOGETHER_BYTES = 256 * 1024
# A password that is a number has so many digits.
SHORTEST_NUMBER = 6
# The hint that a key may say that its value is a credential.
NAMED = "named"
# Sets of hints that occur together are few; hostile payloads could make more.
MAX_SEARCHES = 4_096
# An escape may hide a marker's letters, and so may a style of a terminal.
_ESCAPES = ("\\u", "\\/", "\x1b")
# A style within a credential parts it: `grep --color` does so to what it was asked for.
_STYLE = re.compile(r"\x1b\[[0-9;:]*[mK]")
_STYLE_SAID = re.compile(rb"(?:\x1b|\\u001b)\[[0-9;:]*[mK]")
_NOT_LETTERS = re.compile(r"[^a-z0-9]")
_MARKER = re.compile(r"\[redacted:[A-Za-z0-9_-]{1,64}\]")
# A key and its value in text that may be JSON: for dead letters, which could not be read.
_NAMED_IN_TEXT = re.compile(
    r"(?i)([\"'](?:[\w.-]{0,40}(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|authorization|credentials?|cookie))[\"']\s*:\s*)([\"'])((?:\\.|(?!\2)[^\\]){1,9000000})(\2|$)"
)


class Search(Struct, frozen=True):
    """What a message is searched for.

    Attributes:
        patterns: the shapes of credentials that it may hold.
        names: whether a key in it may say that its value is one.
        breathe: called before each step, so that others of this process get their turn.
    """

    patterns: tuple[Pattern, ...]
    names: bool
    breathe: Callable[[], object] | None = None


class Redactor:
    """Replaces credentials in messages and dead letters.

    Args:
        more: further patterns, such as a company's own.
    """

    def __init__(self, more: Iterable[Pattern] = ()) -> None:
        self._more = tuple(more)
        patterns = (*PATTERNS, *self._more)
        markers = {marker for pattern in patterns for marker in pattern.markers}
        self._hints = [*sorted({*markers, *_ESCAPES}), NAMED]
        self._escapes = {self._hints.index(escape) for escape in _ESCAPES}
        # All that come after the markers say the same.
        self._name_hint = len(self._hints) - 1
        # Every spelling of a name is a hint of its own, and all are looked for in one pass, whose
        # time their number doesn't change: another pass over a copy in lower case would double it.
        looked_for = [*self._hints[:-1], *(spelling for hint in _NAME_HINTS for spelling in _spellings(hint))]
        self._finder = BytesAhoCorasick([hint.encode() for hint in looked_for], implementation=Implementation.DFA)
        self._everything = Search(patterns, names=True)
        unmarked = tuple(pattern for pattern in patterns if not pattern.markers)
        # What is searched for in a message without any hint.
        self._least = Search(unmarked, names=False) if unmarked else None
        self._searches: dict[frozenset[int], Search] = {}

    def __reduce__(self) -> tuple[type["Redactor"], tuple[tuple[Pattern, ...]]]:
        # What it looks for with is made anew in another process.
        return type(self), (self._more,)

    def messages(self, messages: Sequence[Message]) -> list[Message]:
        """Return messages without credentials, in their order; one that holds none is itself."""
        searches = self._searches_for(messages)
        if not searches and not self._least:
            return [*messages]
        return [
            self._message(message, search) if (search := searches.get(at, self._least)) else message
            for at, message in enumerate(messages)
        ]

    def message(self, message: Message) -> Message:
        """Return one message without credentials; itself where it holds none."""
        return self.messages([message])[0]

    def suspects(self, texts: Sequence[bytes]) -> Collection[int]:
        """Return the places of those texts that may hold a credential: all others hold none.

        Args:
            texts: what is said in a message, and its attrs as JSON.
        """
        return range(len(texts)) if self._least else self._hints_in(texts).keys()

    def _searches_for(self, messages: Sequence[Message]) -> dict[int, Search]:
        """Return what to search which of the messages for, by their places."""
        hints = self._hints_in([message.origin.data if message.origin else b"" for message in messages])
        # An escape may hide a hint's letters: these are looked through again as what they say.
        again = [at for at, found in hints.items() if not self._escapes.isdisjoint(found)]
        again += [at for at, message in enumerate(messages) if message.origin is None]
        for at in again:
            hints.pop(at, None)
        for place, found in self._hints_in([_as_said(messages[at]) for at in again]).items():
            if found := found - self._escapes:
                hints[again[place]] = found
        return {at: self._search(frozenset(found)) for at, found in hints.items()}

    def _hints_in(self, payloads: Sequence[bytes]) -> dict[int, set[int]]:
        """Return which hints are found in which of the payloads, by their places.

        They are looked through together, at 1 µs for 400 bytes: each call gives the
        interpreter up, and takes it back only when the threads beside this one let it.
        """
        hints: dict[int, set[int]] = {}
        for first, some in _together(payloads):
            hits = self._finder.find_matches_as_indexes(b"\n".join(some), overlapping=True)
            ends = list(accumulate(len(payload) + 1 for payload in some)) if hits else []
            for hint, start, _ in hits:
                found = hints.setdefault(first + bisect_right(ends, start), set())
                found.add(min(hint, self._name_hint))
        return hints

    def _search(self, hints: frozenset[int]) -> Search:
        search = self._searches.get(hints)
        if search is None:
            if len(self._searches) >= MAX_SEARCHES:
                self._searches.clear()
            search = self._searches[hints] = self._make_search({self._hints[hint] for hint in hints})
        return search

    def _make_search(self, hints: set[str]) -> Search:
        return Search(
            patterns=tuple(
                pattern
                for pattern in self._everything.patterns
                if not pattern.markers or not hints.isdisjoint(pattern.markers)
            ),
            names=NAMED in hints,
        )

    def _message(self, message: Message, search: Search) -> Message:
        found: set[str] = set()
        changes: dict[str, Any] = {
            field: self._text(value, found, search)
            for field in ("content", "run_id", "step_id", "stage")
            if (value := getattr(message, field)) is not None
        }
        attrs = self._value(message.attrs, found, search)
        if not found:
            return message
        attrs["redacted"] = sorted(found)
        return msgspec.structs.replace(message, attrs=attrs, **changes)

    def letter(self, letter: DeadLetter) -> DeadLetter:
        """Return the dead letter without credentials; itself where it holds none."""
        found: set[str] = set()
        payload = self._payload(letter.payload, found)
        headers = self._value(letter.headers, found, self._everything)
        subject, detail = self.text(letter.subject, found), self.text(letter.detail, found)
        if not found:
            return letter
        return msgspec.structs.replace(
            letter, payload=payload, headers=headers, subject=subject, detail=detail, redacted=tuple(sorted(found))
        )

    def _payload(self, payload: bytes, found: set[str]) -> bytes:
        """Return bytes that may be JSON without credentials; the same bytes where they hold none."""
        within: set[str] = set()
        try:
            value = json.loads(payload, object_pairs_hook=partial(self._pairs, within))
        except (ValueError, RecursionError):
            return self._bytes(payload, found)
        # As a value first: an escape may hide a letter, and a name its value in a list.
        redacted = self._value(value, within, self._everything)
        found |= within
        if within:
            return json.dumps(redacted, ensure_ascii=False).encode("utf-8", "surrogatepass")
        # What is JSON in another Unicode may be something else in ASCII.
        return payload if json.detect_encoding(payload).startswith("utf-8") else self._bytes(payload, found)

    def _pairs(self, found: set[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Return a JSON object; of a key that is there twice it holds the last value, and the others are looked at."""
        value = dict(pairs)
        if len(value) < len(pairs):
            for key, item in pairs:
                if item is not value[key]:
                    self._value({key: item}, found, self._everything)
        return value

    def _bytes(self, payload: bytes, found: set[str]) -> bytes:
        """Return bytes that are no JSON without credentials; the same bytes where they hold none."""
        within: set[str] = set()
        kept = encodings.rewrite(payload, partial(self._said, within))
        if kept is not payload:
            found |= within
        return kept

    def _said(self, found: set[str], text: str) -> str:
        """Return a text that may be JSON in part without credentials."""
        return _NAMED_IN_TEXT.sub(partial(self._named, found), self.text(text, found))

    def value(self, value: Any, found: set[str], breathe: Callable[[], object] | None = None) -> Any:
        """Return a JSON value without credentials.

        Args:
            value: storable; however much it holds, it is searched only for what may be in it.
            found: their kinds are added to it.
            breathe: called now and then, so that others of this process get their turn.
        """
        said = msgspec.json.encode(value)
        hints = self._hints_in([said]).get(0, set())
        if not self._escapes.isdisjoint(hints):
            # A style may part a hint.
            hints |= self._hints_in([_STYLE_SAID.sub(b"", said)]).get(0, set())
        search = self._make_search({self._hints[hint] for hint in hints})
        # What its keys are called is looked at in any case, which costs little beside the patterns.
        return self._value(value, found, msgspec.structs.replace(search, names=True, breathe=breathe))

    def text(self, text: str, found: set[str]) -> str:
        """Return a text without credentials; their kinds are added to `found`."""
        return self._text(text, found, self._everything)

    def _text(self, text: str, found: set[str], search: Search) -> str:
        text = self._marked(text, found, search)
        if "\x1b" in text and (plain := _STYLE.sub("", text)) != text:
            within: set[str] = set()
            marked = self._marked(plain, within, search)
            found |= within
            # The styles of a text that shows a credential are given up.
            return marked if within else text
        return text

    def _marked(self, text: str, found: set[str], search: Search) -> str:
        for pattern in search.patterns:
            if search.breathe:
                search.breathe()
            if not pattern.markers or any(marker in text for marker in pattern.markers):
                text = pattern.regex.sub(partial(_mark, pattern.kind, found), text)
        return text

    def _value(self, value: Any, found: set[str], search: Search, *, named: bool = False) -> Any:
        """Return a JSON value without credentials; `named` where a key has said that it is one."""
        if isinstance(value, str):
            if named and value.strip() and not _MARKER.fullmatch(value):
                found.add("named")
                return "[redacted:named]"
            return self._text(value, found, search)
        if isinstance(value, list):
            return [self._value(item, found, search, named=named) for item in value]
        if isinstance(value, dict):
            if search.breathe:
                search.breathe()
            return {self._text(key, found, search): self._item(key, value[key], found, search, named) for key in value}
        return value

    def _item(self, key: str, value: Any, found: set[str], search: Search, named: bool) -> Any:
        if search.names and _is_password(key, value):
            value, named = str(value), True
        return self._value(value, found, search, named=named or (search.names and is_secret_name(key)))

    def _named(self, found: set[str], match: "re.Match[str]") -> str:
        if _MARKER.fullmatch(match[3]):
            return match[0]
        found.add("named")
        return f"{match[1]}{match[2]}[redacted:named]{match[4]}"


def _spellings(hint: str) -> Iterator[str]:
    """Spell a hint in every mixture of lower and upper case."""
    return map("".join, product(*(dict.fromkeys((letter, letter.upper())) for letter in hint)))


def _as_said(message: Message) -> bytes:
    """Return what is looked through of a message whose payload may hide it behind escapes, or is not at hand."""
    said = (message.content, message.run_id, message.step_id, message.stage)
    texts = "\n".join(text for text in said if text)
    whole = texts.encode("utf-8", "surrogatepass") + b"\n" + msgspec.json.encode(message.attrs)
    plain = _STYLE_SAID.sub(b"", whole)
    return whole if plain == whole else whole + b"\n" + plain


def _together(payloads: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    """Cut a batch where its payloads come to enough bytes; yield each part with its first place."""
    first = size = 0
    for at, payload in enumerate(payloads):
        size += len(payload)
        if size >= TOGETHER_BYTES:
            yield first, payloads[first : at + 1]
            first, size = at + 1, 0
    if first < len(payloads):
        yield first, payloads[first:]


def redactor_of(settings: Settings) -> Redactor:
    """Return the redactor that the settings ask for.

    Raises:
        SettingError: the pattern file is wrong.
    """
    try:
        return Redactor(load_patterns(settings.agent_comms_redact_file))
    except PatternError as error:
        message = f"AGENT_COMMS_REDACT_FILE: {error}"
        raise SettingError(message) from error


def is_secret_name(key: str) -> bool:
    """Tell whether the value under a key is a credential by the key's name."""
    letters = _NOT_LETTERS.sub("", key.lower())
    return letters == "pass" or letters.endswith(SECRET_NAMES)


def _is_password(key: str, value: Any) -> bool:
    """Tell whether a number is one: a token that is a number counts tokens, and a short one is a setting."""
    if not isinstance(value, int | float) or isinstance(value, bool) or len(str(value)) < SHORTEST_NUMBER:
        return False
    return _NOT_LETTERS.sub("", key.lower()).endswith(("password", "passwd", "passphrase", "pwd", "secret"))


def _mark(kind: str, found: set[str], match: "re.Match[str]") -> str:
    found.add(kind)
    whole = match[0]
    if "secret" not in match.re.groupindex:
        return f"[redacted:{kind}]"
    start, end = match.start("secret") - match.start(), match.end("secret") - match.start()
    return f"{whole[:start]}[redacted:{kind}]{whole[end:]}"
