"""Markdown as safe HTML: no raw HTML, no images, links only to where links may lead."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from html import escape

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from web import diff, highlight

_SCHEME = re.compile(r"(?:https?://|mailto:)", re.IGNORECASE)
# A plain address in a text. Of a fixed beginning and bounded, so that no text makes it slow.
_ADDRESS = re.compile(r"https?://[^\s<>\"'`\\|\x00-\x1f\x7f-\x9f]{1,2000}")
_TASK = re.compile(r"\[([ xX])\]\s+")
_MARKUP = re.compile(r"[*_`\[\]<>#~|\\&\n!]|://|^\s*(?:[-+=]|\d+[.)])")
_TAGS = {
    "p", "br", "strong", "em", "s", "code", "pre", "span", "a", "h3", "ul", "ol", "li", "blockquote", "table", "thead",
    "tbody", "tr", "th", "td", "hr", "div", "details", "summary",
}  # fmt: skip
_ATTRIBUTES = {
    "*": {"class"},
    "a": {"href", "title"},
    "ol": {"start"},
    "div": {"class", "role", "aria-label", "tabindex"},
    "span": {"class", "title", "role", "aria-label", "data-n"},
}
_CLEANER = nh3.Cleaner(
    tags=_TAGS,
    clean_content_tags={"script", "style"},
    attributes=_ATTRIBUTES,
    url_schemes={"http", "https", "mailto"},
    link_rel="noreferrer noopener nofollow",
)
# A parser's time grows with the square of what some texts hold: it gets them in pieces of about so many characters,
# of which the first stays in sight, and at some length what remains is shown as it was written.
_PIECE = 6_000
_MOST = 24_000
_MOST_WHOLE = 96_000
_FENCE = re.compile(r" {0,3}(```+|~~~+)")


def html(text: str, *, whole: bool = False) -> str:
    """Return Markdown as HTML; a long text folds after its beginning, unless it is asked for whole."""
    if not _MARKUP.search(text) and len(text) <= 2 * _PIECE:
        return f"<p>{escape(text)}</p>"
    if len(text) <= 2 * _PIECE:
        return _clean(_rendered(text))
    first, *others = pieces(text, _PIECE)
    most = _MOST_WHOLE if whole else _MOST
    rest, written = [], len(first)
    for piece in others:
        rest.append(_clean(_rendered(piece)) if written < most else f'<pre class="text">\n{escape(piece)}</pre>')
        written += len(piece)
    folded = "".join(rest)
    if folded and not whole:
        folded = f'<details class="more"><summary>Show the rest of {len(text):,} characters</summary>{folded}</details>'
    return _clean(_rendered(first)) + folded


def pieces(text: str, length: int) -> list[str]:
    """Divide a text where it pauses, into pieces of about a length; a block of code goes on in the next piece."""
    out: list[str] = []
    lines: list[str] = []
    size = 0
    fence = ""
    for line in _short_lines(text, length):
        pauses = not line.strip() and not fence
        if (size >= length and pauses) or size >= 2 * length:
            out.append("\n".join([*lines, fence.strip()[:3]] if fence else lines))
            lines, size = [fence] if fence else [], 0
        if match := _FENCE.match(line):
            fence = "" if fence and fence.lstrip().startswith(match[1]) else fence or line[:100]
        lines.append(line)
        size += len(line) + 1
    return [*out, "\n".join(lines)]


def _short_lines(text: str, length: int) -> Iterator[str]:
    for line in text.split("\n"):
        for start in range(0, max(len(line), 1), length):
            yield line[start : start + length]


def _rendered(text: str) -> str:
    return str(_parser().render(text))


def _clean(dirty: str) -> str:
    return _CLEANER.clean(dirty)


def plain(text: str) -> str:
    """Return the words of a Markdown text on one line, for excerpts."""
    text = re.sub(r"```[^\n]*", " ", text[:2_000])
    text = re.sub(r"(?m)^\s{0,3}(?:#{1,6}\s|>\s?|[-*+]\s(?:\[[ xX]\]\s)?)", " ", text)
    text = re.sub(r"!?\[([^\]\n]{1,200})\]\([^)\n]{0,500}\)", r"\1", text)
    # Two lines below are more often a name's than a sign of weight, as in `__init__`.
    text = re.sub(r"`|(?<![\w*])\*{1,3}(?=[^\s*])|(?<=[^\s*])\*{1,3}(?![\w*])", "", text)
    return " ".join(text.split())


def _fence(token: Token) -> str:
    words = token.info.split()
    name = words[0] if words else ""
    text = token.content.removesuffix("\n")
    if highlight.language(name) == "diff" or (not name and diff.looks_like(text)):
        return f'<pre class="diff">{diff.parse(text).html}</pre>\n'
    return f'<pre class="code"><code>{highlight.code(text, name)}</code></pre>\n'


def _code_block(token: Token) -> str:
    text = token.content.removesuffix("\n")
    return f'<pre class="code"><code>{escape(text)}</code></pre>\n'


def _image(token: Token) -> str:
    """Show an image as a link: a page never fetches from elsewhere."""
    source = str(token.attrGet("src") or "")
    words = escape(token.content or source)
    if _SCHEME.match(source):
        return f'<a class="image" href="{escape(source)}">{words}</a>'
    return f'<span class="image" title="{escape(source)}">{words}</span>'


_WRITTEN_OUR_WAY: dict[str, Callable[[Token], str]] = {
    "fence": _fence,
    "code_block": _code_block,
    "image": _image,
    "box": lambda token: f'<span class="box" role="img" aria-label="{token.content}"></span>',
    "table_open": lambda _: '<div class="table" role="region" aria-label="Table" tabindex="0"><table>',
    "table_close": lambda _: "</table></div>",
}


def _rule(write: Callable[[Token], str]) -> Callable[..., str]:
    return lambda _renderer, tokens, position, *_: write(tokens[position])


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True})
    for name, write in _WRITTEN_OUR_WAY.items():
        parser.add_render_rule(name, _rule(write))
    parser.enable(["table", "strikethrough"])
    parser.core.ruler.push("headings", _level_headings)
    parser.core.ruler.push("links", _tame_links)
    parser.core.ruler.push("tasks", _mark_tasks)
    parser.core.ruler.push("columns", _align_columns)
    return parser


def _level_headings(state: StateCore) -> None:
    """Make all headings third-level ones, which differ by class: a message is no chapter of the page."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            if token.nesting > 0:
                token.attrSet("class", f"as-{token.tag}")
            token.tag = "h3"


def _align_columns(state: StateCore) -> None:
    """Say by a class to which side a table's column is aligned: neither this nor the pages let styles through."""
    for token in state.tokens:
        if token.type in ("th_open", "td_open"):
            style = str(token.attrs.pop("style", ""))
            if style:
                token.attrSet("class", f"to-{style.removeprefix('text-align:')}")


def _tame_links(state: StateCore) -> None:
    """Keep links that lead to the web or to mail; turn others into text, and plain addresses into links."""
    for token in state.tokens:
        if token.type == "inline" and token.children:
            token.children = list(_linked(token.children))


def _linked(tokens: list[Token]) -> Sequence[Token]:
    out: list[Token] = []
    open_links: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            target = str(token.attrGet("href") or "")
            open_links.append(bool(_SCHEME.match(target)))
            if not open_links[-1]:
                token.tag = "span"
                token.attrs = {"class": "path", "title": target}
        elif token.type == "link_close":
            if open_links and not open_links.pop():
                token.tag = "span"
        elif token.type == "text" and not open_links and "://" in token.content:
            out.extend(_with_addresses(token))
            continue
        out.append(token)
    return out


def _with_addresses(token: Token) -> Sequence[Token]:
    out: list[Token] = []
    end = 0
    for match in _ADDRESS.finditer(token.content):
        address = _without_tail(match[0])
        if address.endswith("//"):
            continue
        out.append(_text(token.content[end : match.start()]))
        out.append(Token("link_open", "a", 1, attrs={"href": address}))
        out.append(_text(address))
        out.append(Token("link_close", "a", -1))
        end = match.start() + len(address)
    out.append(_text(token.content[end:]))
    return out


def _without_tail(address: str) -> str:
    """Leave to the sentence what ends it: a full stop, a closing bracket that the address doesn't open."""
    for _ in range(8):
        tail = address[-1:]
        opening = {")": "(", "]": "[", "}": "{"}.get(tail)
        if tail in ".,;:!?*_~" or (opening and address.count(opening) < address.count(tail)):
            address = address[:-1]
        else:
            break
    return address


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _mark_tasks(state: StateCore) -> None:
    """Turn `[x]` at the beginning of a list item into a box."""
    tokens = state.tokens
    for position in range(2, len(tokens)):
        token = tokens[position]
        if token.type != "inline" or tokens[position - 2].type != "list_item_open":
            continue
        match = _TASK.match(token.content)
        if not match or not token.children or token.children[0].type != "text":
            continue
        done = match[1] != " "
        token.children[0].content = token.children[0].content[match.end() :]
        token.children.insert(0, Token("box", "span", 0, content="done" if done else "open"))
        tokens[position - 2].attrSet("class", "task done" if done else "task")
