"""What a card holds when it is opened: an input or an output, each in the form that reads best."""

from typing import Any

from msgspec import Struct

from web import ansi, diff, fold, jsontext, mcp
from web.tree import Tree

# A diff is read from its beginning, an output from its end.
_DIFF_LINES = 60
_FIELDS = 20
# A diff has an element a line: of more lines the whole stands on a page of its own.
_MOST_DIFF_LINES = 1_500
_NODES = 40
_WHOLE_NODES = jsontext.MOST_VALUES
# A colour that was set so far above goes on no longer.
_COLOURED = 20_000


class Block(Struct, frozen=True):
    """One piece of text, of which a long one shows a part.

    Attributes:
        label: what it is, in a word; empty where that goes without saying.
        kind: `term`, `diff`, `tree` or `text`: a class of the stylesheet.
        shown: HTML of the visible piece.
        above: whether what is out of sight comes before it.
        note: how much is visible, empty where all is.
        is_large: the whole is more than a conversation takes.
        added: lines that a diff adds, and `removed` those it takes.
    """

    label: str
    kind: str
    shown: str
    above: bool = False
    note: str = ""
    is_large: bool = False
    added: int = 0
    removed: int = 0


def output(value: Any, *, whole: bool = False) -> list[Block]:
    """Return what came back; of a long text the end stays in sight."""
    if (answer := mcp.read(value)) is not None:
        parts = [block for part in answer.parts for block in _part(part, whole)]
        return [*parts, *(_field(str(name)[:100], told, whole) for name, told in answer.beside.items())]
    return _part(value, whole)


def source(value: Any, *, whole: bool = False) -> list[Block]:
    """Return what was asked; an object's texts each as they are."""
    if value is None:
        return []
    if isinstance(value, str):
        return [_text("", value, whole, above=False)]
    if isinstance(value, dict) and len(value) <= _FIELDS and any(_long(entry) for entry in value.values()):
        return [_field(str(key)[:100], entry, whole) for key, entry in value.items()]
    return [_json("", value, whole)]


def text(value: str, *, whole: bool = False, lines: int = 40) -> Block:
    """Return text as it is, whatever its colours; of a long one the end stays in sight."""
    return _term("", value, whole, above=True, lines=lines)


def _part(value: Any, whole: bool) -> list[Block]:
    if not isinstance(value, str):
        return [_json("", value, whole)]
    return [_text("", value, whole, above=True)] if value.strip() else []


def _text(label: str, value: str, whole: bool, *, above: bool) -> Block:
    if diff.looks_like(value):
        return _diff(label, value, whole)
    if (read := jsontext.read(value)) is not None:
        return _json(label, read, whole, said=True)
    return _term(label, value, whole, above=above)


def _long(value: Any) -> bool:
    return isinstance(value, str) and ("\n" in value or len(value) > 80)


def _field(label: str, value: Any, whole: bool) -> Block:
    if isinstance(value, str):
        return _text(label, value, whole, above=False)
    return _json(label, value, whole)


def _term(label: str, value: str, whole: bool, *, above: bool, lines: int = fold.LINES) -> Block:
    pen = ansi.Pen()
    if whole:
        return Block(label, "term", pen.write(value))
    cut = fold.last(value, lines) if above else fold.first(value, lines)
    hidden = value.rstrip("\n")[: cut.size - len(cut.shown)] if above else ""
    if ansi.has_escape(hidden[-_COLOURED:]):
        # A colour goes on from what is out of sight.
        pen.write(hidden[-_COLOURED:])
    side = "last" if above else "first"
    note = f"Showing the {side} {cut.words}" if cut.folded else ""
    return Block(label, "term", pen.write(cut.shown), above, note, len(value) > fold.WHOLE)


def _diff(label: str, value: str, whole: bool) -> Block:
    read = diff.parse(value if whole else value[: fold.WHOLE])
    if whole:
        return Block(label, "diff", read.html, added=read.added, removed=read.removed)
    cut = fold.first(value, _DIFF_LINES, fold.WHOLE)
    rows = read.html.split("\n</span>")
    shown = "".join(f"{row}\n</span>" for row in rows[: cut.shown_lines] if row)
    note = f"Showing the first {cut.words}" if cut.folded else ""
    return Block(label, "diff", shown, False, note, read.lines > _MOST_DIFF_LINES, read.added, read.removed)


def _json(label: str, value: Any, whole: bool, *, said: bool = False) -> Block:
    tree = Tree(_WHOLE_NODES if whole else _NODES, whole=whole, said=said)
    shown = tree.html(value)
    note = ""
    if not whole and (tree.is_cut or tree.is_short):
        note = f"Showing the first {_NODES} values" if tree.is_cut else "Showing the beginning of long texts"
    return Block(label, "tree", shown, False, note)
