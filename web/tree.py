"""JSON as a tree that folds: keys, values in their kinds' colours, and how much is in what is folded."""

import json
from html import escape
from typing import Any

from web import words

# What of a tree stands open: its first levels, as long as they are short.
_OPEN_DEPTH = 2
_OPEN_SIZE = 12
_LONGEST_TEXT = 2_000


class Tree:
    """Writes JSON values as HTML.

    Args:
        most: so many nodes; what is beyond is said to be left out.
    """

    def __init__(self, most: int) -> None:
        self._left = most
        self.is_cut = False

    def html(self, value: Any) -> str:
        """Return a value as HTML; an object or a list as a tree."""
        if isinstance(value, dict | list) and value:
            return f'<ul class="tree">{self._entries(value, 0)}</ul>'
        return f'<span class="tree">{_leaf(value)}</span>'

    def _entries(self, value: dict[Any, Any] | list[Any], depth: int) -> str:
        parts = []
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for number, (key, entry) in enumerate(pairs):
            if self._left <= 0:
                self.is_cut = True
                parts.append(f'<li class="rest" data-ours>{len(value) - number:,} more</li>')
                break
            self._left -= 1
            parts.append(self._entry(key, entry, depth))
        return "".join(parts)

    def _entry(self, key: Any, entry: Any, depth: int) -> str:
        name = f'<code class="t-key" data-ours>{escape(str(key)[:200])}</code>'
        if not isinstance(entry, dict | list) or not entry:
            return f"<li>{name} {_leaf(entry)}</li>"
        is_open = " open" if depth + 1 < _OPEN_DEPTH and len(entry) <= _OPEN_SIZE else ""
        size = words.count(len(entry), "key" if isinstance(entry, dict) else "entry")
        inner = self._entries(entry, depth + 1)
        return (
            f'<li><details{is_open}><summary>{name} <span class="t-size" data-ours>{size}</span></summary>'
            f"<ul>{inner}</ul></details></li>"
        )


def _leaf(value: Any) -> str:
    if isinstance(value, str):
        shown = value if len(value) <= _LONGEST_TEXT else value[:_LONGEST_TEXT] + "…"
        return f'<code class="t-text">{escape(shown)}</code>'
    return f'<span class="t-word">{escape(json.dumps(value, ensure_ascii=False, default=str))}</span>'
