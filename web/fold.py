"""Long text: what of it is shown at once; the rest is had on demand."""

from msgspec import Struct

LINES = 12
CHARACTERS = 3_000
# More than this isn't put into a conversation at all, but onto a page of its own.
WHOLE = 512 * 1024


class Fold(Struct, frozen=True):
    """A piece of a text.

    Attributes:
        shown: the visible piece.
        lines: how many lines the whole has.
        shown_lines: how many of them are visible, if only in part.
        size: how many characters the whole has.
        within: whether it is cut within a line.
    """

    shown: str
    lines: int
    shown_lines: int
    size: int
    within: bool

    @property
    def folded(self) -> bool:
        """Say whether anything is out of sight."""
        return len(self.shown) < self.size

    @property
    def words(self) -> str:
        """Say how much is visible."""
        if self.within:
            return f"{len(self.shown):,} of {self.size:,} characters"
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
    return _fold(text, text[start:], start > 0 and text[start - 1] != "\n")


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
    return _fold(text, text[:end], end < len(text) and text[end] != "\n")


def _fold(text: str, shown: str, within: bool) -> Fold:
    return Fold(shown, text.count("\n") + 1, shown.count("\n") + 1, len(text), within)
