"""What a card holds when it is opened: an input or an output, each in the form that reads best."""

import json
from html import escape
from typing import Any

from msgspec import Struct

from web import ansi, diff, fold, highlight

# A diff is read from its beginning, an output from its end.
_DIFF_LINES = 60
_FIELDS = 20


class Block(Struct, frozen=True):
    """One piece of text, folded where it is long.

    Attributes:
        label: what it is, in a word; empty where that goes without saying.
        kind: `term`, `diff`, `json` or `text`: a class of the stylesheet.
        shown: HTML of the visible piece.
        hidden: HTML of the piece that unfolds, empty where there is none.
        above: whether the hidden piece comes before the visible one.
        note: how much is visible, empty where all is.
        cut: whether a piece is in neither.
        added: lines that a diff adds, and `removed` those it takes.
    """

    label: str
    kind: str
    shown: str
    hidden: str = ""
    above: bool = False
    note: str = ""
    cut: bool = False
    added: int = 0
    removed: int = 0


def output(value: Any, *, whole: bool = False) -> list[Block]:
    """Return what came back; of a long text the end stays in sight."""
    if isinstance(value, str):
        if not value.strip():
            return []
        return [_diff("", value, whole) if diff.looks_like(value) else _term("", value, whole, above=True)]
    return [_json("", value, whole)]


def source(value: Any, *, whole: bool = False) -> list[Block]:
    """Return what was asked; an object's texts each as they are."""
    if value is None:
        return []
    if isinstance(value, str):
        return [_diff("", value, whole) if diff.looks_like(value) else _term("", value, whole, above=False)]
    if isinstance(value, dict) and len(value) <= _FIELDS and any(_long(entry) for entry in value.values()):
        return [_field(str(key)[:100], entry, whole) for key, entry in value.items()]
    return [_json("", value, whole)]


def text(value: str, *, whole: bool = False, lines: int = 40) -> Block:
    """Return text as it is, whatever its colours; of a long one the end stays in sight."""
    return _term("", value, whole, above=True, lines=lines)


def _long(value: Any) -> bool:
    return isinstance(value, str) and ("\n" in value or len(value) > 80)


def _field(label: str, value: Any, whole: bool) -> Block:
    if isinstance(value, str):
        return _diff(label, value, whole) if diff.looks_like(value) else _term(label, value, whole, above=False)
    return _json(label, value, whole)


def _term(label: str, value: str, whole: bool, *, above: bool, lines: int = fold.LINES) -> Block:
    pen = ansi.Pen()
    if whole:
        return Block(label, "term", pen.write(value))
    cut = fold.last(value, lines) if above else fold.first(value, lines)
    if above:
        hidden = pen.write(cut.hidden)
        shown = pen.write(cut.shown)
    else:
        shown = pen.write(cut.shown)
        hidden = pen.write(cut.hidden)
    side = "last" if above else "first"
    note = f"Showing the {side} {cut.words}" if cut.folded else ""
    return Block(label, "term", shown, hidden, above, note, cut.cut)


def _diff(label: str, value: str, whole: bool) -> Block:
    if whole:
        read = diff.parse(value)
        return Block(label, "diff", read.html, added=read.added, removed=read.removed)
    cut = fold.first(value, _DIFF_LINES, fold.WHOLE)
    read = diff.parse(cut.shown + cut.hidden)
    rows = read.html.split("\n</span>")
    shown = "".join(f"{row}\n</span>" for row in rows[: cut.shown_lines] if row)
    hidden = "".join(f"{row}\n</span>" for row in rows[cut.shown_lines :] if row)
    note = f"Showing the first {cut.words}" if cut.folded else ""
    return Block(label, "diff", shown, hidden, False, note, cut.cut, read.added, read.removed)


def _json(label: str, value: Any, whole: bool) -> Block:
    if isinstance(value, bool | int | float) or value is None:
        return Block(label, "json", escape(json.dumps(value)))
    written = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    if whole:
        return Block(label, "json", highlight.code(written, "json"))
    cut = fold.first(written, 24)
    note = f"Showing the first {cut.words}" if cut.folded else ""
    return Block(label, "json", highlight.code(cut.shown, "json"), escape(cut.hidden), False, note, cut.cut)
