"""Long text in two pieces: what is shown at once, and what unfolds."""

from msgspec import Struct

LINES = 12
CHARACTERS = 3_000
# More than this isn't put into a page at all, but behind a link.
WHOLE = 64 * 1024


class Fold(Struct, frozen=True):
    """A text that was cut in two.

    Attributes:
        hidden: the folded piece; empty where all is shown, and where it would be too large for a page.
        shown: the visible piece.
        lines: how many lines the whole has.
        shown_lines: how many of them are visible.
        cut: whether a piece is in neither, so that the whole has to be asked for.
    """

    hidden: str
    shown: str
    lines: int
    shown_lines: int
    cut: bool

    @property
    def folded(self) -> bool:
        """Say whether anything is out of sight."""
        return bool(self.hidden) or self.cut

    @property
    def words(self) -> str:
        """Say how much is visible."""
        if self.lines == 1:
            return f"{len(self.shown):,} of its characters"
        return f"{self.shown_lines:,} of {self.lines:,} lines"


def last(text: str, lines: int = LINES, characters: int = CHARACTERS) -> Fold:
    """Keep the end of a text in sight: an output ends with its outcome."""
    text = text.rstrip("\n")
    at = len(text)
    for _ in range(lines):
        at = text.rfind("\n", 0, at)
        if at < 0:
            break
    start = max(at + 1, len(text) - characters)
    # Folding two lines away is no gain.
    if text.count("\n", 0, start) <= 2 and start < 240:
        start = 0
    return _fold(text, text[:start], text[start:])


def first(text: str, lines: int = LINES, characters: int = CHARACTERS) -> Fold:
    """Keep the beginning of a text in sight."""
    text = text.rstrip("\n")
    at = -1
    for _ in range(lines):
        at = text.find("\n", at + 1)
        if at < 0:
            at = len(text)
            break
    end = min(at, characters)
    if text.count("\n", end) <= 2 and len(text) - end < 240:
        end = len(text)
    return _fold(text, text[end:], text[:end])


def _fold(text: str, hidden: str, shown: str) -> Fold:
    cut = len(hidden) > WHOLE
    return Fold("" if cut else hidden, shown, text.count("\n") + 1, shown.count("\n") + 1, cut)
