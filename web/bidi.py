"""Characters that turn the writing around, made visible and without effect.

With U+202E before `/pmt`, what removes that folder reads as if it removed `tmp/`.
"""

import re

_NAMES = {
    "\u061c": ("ALM", "Arabic letter mark"),
    "\u200e": ("LRM", "left-to-right mark"),
    "\u200f": ("RLM", "right-to-left mark"),
    "\u202a": ("LRE", "left-to-right embedding"),
    "\u202b": ("RLE", "right-to-left embedding"),
    "\u202c": ("PDF", "pop directional formatting"),
    "\u202d": ("LRO", "left-to-right override"),
    "\u202e": ("RLO", "right-to-left override"),
    "\u2066": ("LRI", "left-to-right isolate"),
    "\u2067": ("RLI", "right-to-left isolate"),
    "\u2068": ("FSI", "first strong isolate"),
    "\u2069": ("PDI", "pop directional isolate"),
}
_ANY = re.compile(f"[{''.join(_NAMES)}]")
_SIGNS = {
    character: f'<span class="turning" role="img" aria-label="{title}" title="{title}" data-sign="{short}"></span>'
    for character, (short, name) in _NAMES.items()
    for title in [f"U+{ord(character):04X} {name}"]
}
# In a sentence the marks are part of good writing, and turn nothing that is strong by itself.
_IN_WORDS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_PIECE = re.compile(r"<[^>]*>|[^<]+")
_CODE = re.compile(r"<(?P<ends>/?)(?:pre|code)[\s>]")
_TITLE = re.compile(r'(?<=\stitle=")[^"]*')
# Of more in one text a sign says no more than that there is one: a page has to stay light.
_MOST = 1_000


def visible(html: str) -> str:
    """Return HTML in which each of them is a sign that says what it is; in a sentence marks stay what they are.

    Args:
        html: well-formed, no `<` or `>` in attributes' values.
    """
    if html.isascii() or not _ANY.search(html):
        return html
    out: list[str] = []
    left = _MOST
    depth = 0

    def sign(match: re.Match[str]) -> str:
        nonlocal left
        left -= 1
        return _SIGNS[match[0]] if left >= 0 else "\ufffd"

    for piece in _PIECE.findall(html):
        if not piece.startswith("<"):
            out.append((_ANY if depth else _IN_WORDS).sub(sign, piece))
            continue
        if match := _CODE.match(piece):
            depth += -1 if match["ends"] else 1
        out.append(_TITLE.sub(lambda title: _ANY.sub("\ufffd", title[0]), piece))
    return "".join(out)
