"""Text for a terminal or a file: without what speaks to a terminal, and without what can't be seen."""

import re

from web import ansi

# What turns the direction of the text behind it, ends lines, or can't be seen; joiners stay, words need them.
_HIDDEN = re.compile("[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff]")


def plain(text: str) -> str:
    """Return a text without what speaks to a terminal and what can't be seen; its only line end is the newline."""
    text = ansi.strip(text)
    return text if text.isascii() else _HIDDEN.sub("", text)


def plain_name(text: str) -> str:
    """Return a name on one line."""
    return " ".join(plain(text).split())
