"""Terminal output as HTML: colours become classes, every other escape sequence disappears."""

import re
from functools import lru_cache
from html import escape

# One alternative a family of sequences; each stops at the next ESC, so that a broken one swallows nothing else.
_SEQUENCE = re.compile(
    r"\x1b\[(?P<sgr>[0-9;:]*)m"
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # cursor, erase, modes
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)"  # titles, hyperlinks, device strings
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f]"
)
_STYLES = {1: "a1", 2: "a2", 3: "a3", 4: "a4", 9: "a9"}
_ENDS = {22: ("a1", "a2"), 23: ("a3",), 24: ("a4",), 29: ("a9",)}
# After so many changes of colour in one text the rest goes on without: a page has to stay light.
_MOST_SPANS = 4_000
_BASE = (
    (0, 0, 0),
    (187, 0, 0),
    (0, 160, 0),
    (187, 140, 0),
    (40, 80, 220),
    (170, 0, 170),
    (0, 160, 170),
    (190, 190, 190),
)
_BRIGHT = (
    (105, 105, 105),
    (255, 85, 85),
    (85, 230, 85),
    (255, 220, 85),
    (110, 150, 255),
    (255, 110, 255),
    (85, 240, 240),
)
_PALETTE = (*_BASE, *_BRIGHT, (255, 255, 255))


def strip(text: str) -> str:
    """Return the text without escape sequences and control characters."""
    return _SEQUENCE.sub("", _rewind(text)) if _has_control(text) else text


def has_escape(text: str) -> bool:
    """Say whether a text speaks to a terminal."""
    return "\x1b" in text


class Pen:
    """Writes terminal text as HTML, piece by piece; a colour goes on from one piece to the next."""

    def __init__(self) -> None:
        self._styles: set[str] = set()
        self._front: int | None = None
        self._back: int | None = None
        self._inverse = False
        self._spans = 0

    def write(self, text: str) -> str:
        """Return a piece of text as HTML whose spans are all closed."""
        if not _has_control(text):
            return self._span(text)
        text = _rewind(text)
        parts: list[str] = []
        end = 0
        for match in _SEQUENCE.finditer(text):
            parts.append(self._span(text[end : match.start()]))
            end = match.end()
            if (codes := match["sgr"]) is not None:
                self._set(codes)
        parts.append(self._span(text[end:]))
        return "".join(parts)

    def _span(self, text: str) -> str:
        if not text:
            return ""
        classes = self._classes()
        if not classes or self._spans >= _MOST_SPANS:
            return escape(text)
        self._spans += 1
        return f'<span class="{classes}">{escape(text)}</span>'

    def _classes(self) -> str:
        front, back = (self._back, self._front) if self._inverse else (self._front, self._back)
        names = sorted(self._styles)
        if front is not None:
            names.append(f"f{front}")
        if back is not None:
            names.append(f"b{back}")
        if self._inverse and (front is None or back is None):
            names.append("inv")
        return " ".join(names)

    def _set(self, codes: str) -> None:
        numbers = [int(code[-4:] or 0) for code in re.split("[;:]", codes)]
        while numbers:
            code = numbers.pop(0)
            if code == 0:
                self._styles.clear()
                self._front = self._back = None
                self._inverse = False
            elif code in _STYLES:
                self._styles.add(_STYLES[code])
            elif code in _ENDS:
                self._styles.difference_update(_ENDS[code])
            elif code in (7, 27):
                self._inverse = code == 7
            elif code in (38, 48):
                self._colour(code == 38, _extended(numbers))
            elif code in (39, 49):
                self._colour(code == 39, None)
            elif 30 <= code <= 37 or 40 <= code <= 47:
                self._colour(code < 40, code % 10)
            elif 90 <= code <= 97 or 100 <= code <= 107:
                self._colour(code < 100, code % 10 + 8)

    def _colour(self, front: bool, colour: int | None) -> None:
        if front:
            self._front = colour
        else:
            self._back = colour


def _has_control(text: str) -> bool:
    return (not text.isprintable() and _SEQUENCE.search(text) is not None) or "\r" in text


def _rewind(text: str) -> str:
    """Keep of a line that was rewritten in place what a terminal shows: its last writing."""
    if "\r" not in text:
        return text
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def _extended(numbers: list[int]) -> int | None:
    """Read a colour of 256 or of 16 million and return the nearest of the theme's 16."""
    mode = numbers.pop(0) if numbers else 0
    if mode == 5 and numbers:
        return _of_256(numbers.pop(0) & 255)
    if mode == 2 and len(numbers) >= 3:
        red, green, blue = numbers[:3]
        del numbers[:3]
        return _nearest(red & 255, green & 255, blue & 255)
    numbers.clear()
    return None


def _of_256(number: int) -> int:
    if number < 16:
        return number
    if number >= 232:
        grey = 8 + 10 * (number - 232)
        return _nearest(grey, grey, grey)
    cube = (0, 95, 135, 175, 215, 255)
    number -= 16
    return _nearest(cube[number // 36], cube[number // 6 % 6], cube[number % 6])


@lru_cache(maxsize=1024)
def _nearest(red: int, green: int, blue: int) -> int:
    def distance(index: int) -> int:
        r, g, b = _PALETTE[index]
        return (r - red) ** 2 + (g - green) ** 2 + (b - blue) ** 2

    return min(range(16), key=distance)
