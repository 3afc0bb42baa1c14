"""Whatever anybody publishes, nothing of it runs, and it is rendered in time."""

import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.message import Event
from tests.unit.events import event, run
from tests.unit.markup import Markup
from web import ansi, diff, markdown
from web.render import message_html, run_html

KINDS = ("message", "tool_call", "tool_result", "status", "error", "log", "run-outcome")
ELEMENTS = {
    "article", "header", "time", "svg", "use", "bdi", "div", "span", "p", "br", "strong", "em", "s", "code", "pre", "a",
    "h3", "ul", "ol", "li", "blockquote", "table", "thead", "tbody", "tr", "th", "td", "hr", "details", "summary", "i",
}  # fmt: skip
HURT = "<script>hurt()</script><img src=x onerror=hurt()><svg onload=hurt()><style>*{color:red}</style>"
TEXTS = [
    HURT,
    f'"><b data-seq="1" onclick=hurt()>{HURT}',
    "[a](javascript:hurt()) [b](JaVaScRiPt:hurt()) [c](data:text/html,hurt) [d](vbscript:hurt) [e](//evil.example/)",
    "[f](java\tscript:hurt()) [g](&#106;avascript:hurt()) [h](\x01javascript:hurt()) <javascript:hurt()>",
    "![a](https://evil.example/pixel.png) ![b](javascript:hurt()) ![c](data:image/svg+xml,hurt)",
    '[a](https://example.org/"onclick="hurt()) [b](<https://example.org/ onclick=hurt()>)',
    "[a]: javascript:hurt()\n\n[a]",
    "```<script>\nhurt()\n```\n\n~~~ \"><img src=x onerror=hurt()>\nx\n~~~",
    "https://example.org/\"onmouseover=hurt() https://example.org/<script> http://`javascript:hurt()`",
    "<a href=javascript:hurt()>x</a> <iframe src=//evil.example></iframe> <base href=//evil.example>",
    "\x1b[31m<script>hurt()</script>\x1b[999999999999m\x1b]8;;javascript:hurt()\x1b\\link\x1b]8;;\x1b\\\x1b[",
    "--- a/<script>\n+++ b/\"onclick=hurt()\n@@ -1 +1 @@\n-<img src=x onerror=hurt()>\n+<script>hurt()</script>",
    '{"<script>hurt()</script>": "<img src=x onerror=hurt()>", "\\u003csvg onload=hurt()>": [{"\\u0022": 1}]}',
    "- [x] <script>hurt()</script>\n- [ ] <img src=x onerror=hurt()>",
    "| <script> | b |\n| --- | --- |\n| <img src=x onerror=hurt()> | `<svg onload=hurt()>` |",
    "\u202ehurt\u202c \u2066\u2067 العربية \u0000 \ufffd \U0001f9f5",
    "",
    " \n\t ",
]  # fmt: skip


def assert_harmless(html: str) -> Markup:
    markup = Markup(html)
    assert markup.names <= ELEMENTS, markup.names - ELEMENTS
    for tag in markup.tags:
        for name, value in tag.attributes.items():
            assert not name.startswith("on"), name
            assert name not in ("style", "src", "srcdoc", "action", "formaction", "background", "ping"), name
            if name == "href":
                assert_harmless_target(tag.name, value, tag.attributes.get("rel", ""))
    assert sum("data-seq" in tag.attributes for tag in markup.tags) <= 1
    return markup


def assert_harmless_target(element: str, target: str, rel: str) -> None:
    if element == "use":
        assert target.startswith("#i-")
    elif target.startswith("/"):
        assert target.startswith("/agents/")
    elif not target.startswith("#m-"):
        assert urlsplit(target).scheme in ("http", "https", "mailto"), target
        assert "noreferrer" in rel


def hostile_events(text: str) -> list[Event]:
    names = {"agent_id": text, "workflow_name": text, "workflow_uid": text, "workflow_namespace": text}
    tools: list[Any] = [
        None,
        {"name": text, "input": text, "output": text, "status": text, "exit_code": text, "duration_ms": text},
        {"name": [text], "input": {text: text, "b": [text]}, "output": {text: [text]}, "status": {}, "id": text},
        {"name": None, "input": [text, {"a": text}], "output": [text], "exit_code": 1, "duration_ms": -1},
        {
            "input": {"changes": [text, {"path": text}, 1]},
            "output": 7,
            "exit_code": True,
            "duration_ms": float("1e300"),
        },
    ]
    attrs = {
        "author": text,
        "claimed": {text: text},
        "redacted": [text],
        "source": text,
        "item_type": text,
        "item_id": text,
    }
    plain = [event(text, kind, attrs=attrs, **names) for kind in (*KINDS, text)]
    general = [event(text, channel="general", role="user", **names)]
    odd = [event(text, "tool_result", attrs={"tool": text}), event(text, attrs={"item_type": {}, "author": [text]})]
    return plain + general + odd + [event(text, kind, tool=tool, **names) for kind in KINDS for tool in tools]


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_anywhere_in_a_message_does_harm(text: str) -> None:
    for hostile in hostile_events(text):
        assert_harmless(message_html(hostile))
        assert_harmless(message_html(hostile, whole=True))


@pytest.mark.parametrize("text", TEXTS)
def test_no_text_anywhere_in_a_run_does_harm(text: str) -> None:
    names = {"workflow_name": text, "workflow_uid": text, "workflow_namespace": text, "state": text}
    assert_harmless(run_html(run(agents=[text] * 9, last_agent=text, last_content=text, run_id=text, **names)))


@given(st.text(max_size=300), st.sampled_from(KINDS))
def test_any_text_is_harmless(text: str, kind: str) -> None:
    assert_harmless(message_html(event(text, kind, tool={"name": text, "input": text, "output": text})))


@given(st.text(st.sampled_from("<>&\"'[]()!*_`~#-+|\\ \n\t\x1b\r:/.=ax1"), max_size=200))
def test_any_mix_of_markup_is_harmless(text: str) -> None:
    assert_harmless(message_html(event(text)))
    assert_harmless(message_html(event(text, "tool_result", tool={"output": text})))


@given(st.text(st.sampled_from("\x1b[]0123456789;:mKHJ\r\n\x07\\ab<&"), max_size=200))
def test_broken_colours_swallow_no_words(text: str) -> None:
    pen = ansi.Pen()
    half = len(text) // 2
    whole = Markup(f"<pre>{pen.write(text[:half])}{pen.write(text[half:])}</pre>")
    assert "\x1b" not in "".join(whole.tags[0].text)


def test_words_after_a_broken_sequence_are_kept() -> None:
    for broken in ("\x1b[", "\x1b]0;title", "\x1b[38;5", "\x1b", "\x1bP", "\x1b[31;"):
        assert ansi.strip(f"{broken}\nafter").endswith("after"), broken


def test_control_characters_never_reach_the_page() -> None:
    html = message_html(event("a\x00b\x08c\x9bd\x7f", "tool_result", tool={"output": "a\x00b\x08c\x9bd\x7f\ne"}))
    assert not any(char in html for char in "\x00\x08\x9b\x7f")


@pytest.mark.parametrize(
    "pattern",
    ["[", "![", "`a", "*a_ ", "**a ", "> ", "\n- x", "[a](", "://", "http://", "https://a.b/))))", "<!--", "[^", "*_",
     "a|b|c\n", "|", "\\", "&", "\r", "a\r", "\x1b[31mx", "\x1b]", "\x1b[", "+", "--- a\n+++ b\n", "@@ -1 +1 @@\n",
     "```\n", "- [x] ", "a\n===\n", "[a]: b\n", "\t", " ", "_a*b ", "~~a "],
)  # fmt: skip
def test_no_text_of_64_kb_takes_long(pattern: str) -> None:
    text = (pattern * 65_536)[:65_536]
    for kind in ("message", "tool_result", "error", "status"):
        hostile = event(text, kind, tool={"name": "shell", "input": {"command": text}, "output": text})
        begin = time.process_time()
        message_html(hostile)
        # A factor of eight above what this takes on a slow machine; the traps that it guards against take minutes.
        assert time.process_time() - begin < 4, kind


def test_a_colour_for_every_letter_does_not_flood_the_page() -> None:
    html = message_html(event("\x1b[31mx\x1b[32my" * 5_000, "error"))
    assert html.count("<span") < 4_100


def test_lone_surrogates_and_unassigned_characters_are_rendered() -> None:
    for text in ("\ud800", "\U0010ffff", "\ufffe"):
        assert "article" in message_html(event(text, agent_id=text))


@given(st.text(max_size=500))
def test_a_diff_keeps_every_character(text: str) -> None:
    lines = text.rstrip("\n")
    found = Markup(f"<pre>{diff.parse(text).html}</pre>").tags[0].text
    # HTML has one line end where texts have three.
    assert "".join(found) == lines + "\n"


@given(st.text(st.sampled_from("ab \n"), max_size=400), st.integers(min_value=5, max_value=40))
def test_a_text_in_pieces_is_the_same_text(text: str, length: int) -> None:
    pieces = markdown.pieces(text, length)
    assert "".join(pieces).replace("\n", "") == text.replace("\n", "")
    assert max(map(len, pieces)) <= 3 * length


def test_a_block_of_code_goes_on_in_the_next_piece() -> None:
    first, *others = markdown.pieces("~~~py\n" + "x\n\n" * 8 + "~~~\n\nafter", 10)
    assert first.startswith("~~~py\nx")
    assert others[0].startswith("~~~py\n")
    assert all(piece.count("~~~") % 2 == 0 for piece in [first, *others])
    assert others[-1].endswith("after")
