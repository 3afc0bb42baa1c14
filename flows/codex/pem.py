"""Private keys in a log, which come line by line: no single one of their lines has the shape of a key."""

import re

from msgspec import Struct

from flows.patterns import HIDDEN_KEY

# No key has more lines; what goes on for longer is something else.
MAX_LINES = 500
_MAX_HEADERS = 8
_MAX_SHORT = 2
_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_HEADER = re.compile(r"[A-Za-z][A-Za-z-]{1,30}: .{1,200}")
_BODY = re.compile(r"[A-Za-z0-9+/]{16,4096}={0,2}")
# The last line of it, and PGP's sum.
_SHORT = re.compile(r"[A-Za-z0-9+/=]{1,16}")
_STYLE = re.compile(r"\x1b\[[0-9;:]*[mK]")


class Key(Struct):
    """How far a private key was read.

    Attributes:
        offset: where it begins in its first line, behind a time or a diff's sign.
        headers: lines that say something of it.
        lines: of what it is.
        short: of these, the ones that are shorter than any but the last.
    """

    offset: int
    headers: int = 0
    lines: int = 0
    short: int = 0

    def take(self, text: str) -> bool | None:
        """Return whether a line is to be hidden; None where it belongs to no key."""
        plain = _STYLE.sub("", text)
        for line in dict.fromkeys((plain.strip(), plain[self.offset :].strip())):
            if self.lines < MAX_LINES and self.short == 0 and _BODY.fullmatch(line):
                self.lines += 1
                return True
            if self.lines and self.short < _MAX_SHORT and _SHORT.fullmatch(line):
                self.short += 1
                return True
            if not self.lines and self.headers < _MAX_HEADERS and _HEADER.fullmatch(line):
                self.headers += 1
                return False
        return None


def hide(text: str, key: Key | None) -> tuple[str, Key | None]:
    """Return a line of a log as it may be shown, and the key that the next one may belong to.

    Args:
        text: the line; one that is blank says nothing.
        key: what the lines before tell of a private key that has not ended.
    """
    if key is not None and (is_hidden := key.take(text)) is not None:
        return (HIDDEN_KEY, key) if is_hidden else (text, key)
    if "PRIVATE KEY" not in text:
        return text, None
    begun = [*_BEGIN.finditer(text)]
    if not begun or "-----END " in text[begun[-1].end() :]:
        return text, None
    return text, Key(len(_STYLE.sub("", text[: begun[-1].start()])))
