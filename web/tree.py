"""JSON as a tree that folds: keys, values in their kinds' colours, and how much is in what is folded."""

import json
import re
from html import escape
from itertools import islice
from typing import Any

from web import words
from web.jsontext import Number

# What of a tree stands open: its first levels, as long as they are short.
_OPEN_DEPTH = 2
_OPEN_SIZE = 12
_LONGEST_TEXT = 2_000
_LONGEST_KEY = 200
# What has no shape of its own, or is no character at all: it is written as JSON writes it.
_SHAPELESS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Tree:
    """Writes JSON values as HTML.

    Args:
        most: so many nodes; what is beyond is said to be left out.
        whole: long texts are shown to their end.
        said: the keys are what somebody said, too, and found by it.

    Attributes:
        is_cut: nodes were left out.
        is_short: long texts were.
    """

    def __init__(self, most: int, *, whole: bool = False, said: bool = False) -> None:
        self._left = most
        self._whole = whole
        self._ours = "" if said else " data-ours"
        self.is_cut = False
        self.is_short = False

    def html(self, value: Any) -> str:
        """Return a value as HTML; an object or a list as a tree."""
        if isinstance(value, dict | list) and value:
            return f'<ul class="tree">{self._entries(value, 0)}</ul>'
        return f'<span class="tree">{self._leaf(value)}</span>'

    def _entries(self, value: dict[Any, Any] | list[Any], depth: int) -> str:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        # What stands beside one another first: what is in the first of them would leave the others no room.
        shown = list(islice(pairs, self._left))
        self._left -= len(shown)
        parts = [self._entry(key, entry, depth) for key, entry in shown]
        if rest := len(value) - len(shown):
            self.is_cut = True
            parts.append(f'<li class="rest" data-ours>{rest:,} more</li>')
        return "".join(parts)

    def _entry(self, key: Any, entry: Any, depth: int) -> str:
        name = f'<code class="t-key"{self._ours}>{self._text(str(key), _LONGEST_KEY)}</code>'
        if not isinstance(entry, dict | list) or not entry:
            return f"<li>{name} {self._leaf(entry)}</li>"
        is_open = " open" if depth + 1 < _OPEN_DEPTH and len(entry) <= _OPEN_SIZE else ""
        size = words.count(len(entry), "key" if isinstance(entry, dict) else "entry")
        inner = self._entries(entry, depth + 1)
        return (
            f'<li><details{is_open}><summary>{name} <span class="t-size" data-ours>{size}</span></summary>'
            f"<ul>{inner}</ul></details></li>"
        )

    def _leaf(self, value: Any) -> str:
        if isinstance(value, str):
            return f'<code class="t-text">{self._text(value, _LONGEST_TEXT)}</code>'
        word = value.text if isinstance(value, Number) else json.dumps(value, ensure_ascii=False, default=str)
        return f'<span class="t-word">{self._text(word, _LONGEST_TEXT)}</span>'

    def _text(self, text: str, longest: int) -> str:
        shown = text
        if len(text) > longest and not self._whole:
            shown = text[:longest] + "…"
            self.is_short = True
        return escape(_SHAPELESS.sub(lambda match: f"\\u{ord(match[0]):04x}", shown))
