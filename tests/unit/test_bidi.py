"""What turns the writing around is shown as what it is, and turns nothing."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.events import event, run, shell
from tests.unit.markup import Markup
from tests.unit.test_render_hostile import KINDS
from web.bidi import visible
from web.render import message_html, raw, run_html

TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
MARKS = "\u200e\u200f\u061c"
COMMAND = "rm -rf \u202e/pmt"
DIFF = f"--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+{COMMAND}"
EVERYWHERE = {
    "a message": event(f"Run {COMMAND} now"),
    "code in it": event(f"Run `{COMMAND}` now"),
    "a block of code": event(f"```sh\n{COMMAND}\n```"),
    "a diff in it": event(f"```diff\n{DIFF}\n```"),
    "a character that is written as a number": event("Run rm -rf &#x202e;/pmt now"),
    "a table": event(f"| a | b |\n| --- | --- |\n| {COMMAND} | x |"),
    "a link's words": event(f"[{COMMAND}](https://example.org)"),
    "a heading": event(f"# {COMMAND}"),
    "a thought": event(f"{COMMAND} " * 100, attrs={"item_type": "reasoning"}),
    "a to-do list": event(f"- [ ] {COMMAND}", "status"),
    "a status": event(COMMAND, "status"),
    "an error": event(COMMAND, "error"),
    "a log": event(f"\x1b[31m{COMMAND}", "log"),
    "what a command printed": event(COMMAND, attrs={"artifact": "stdout", "line": 1}),
    "a command that started": event(f"started: {COMMAND}", "run-started"),
    "what a tool was asked": shell(COMMAND, "tool_call"),
    "its input": shell(f"{COMMAND}\n{COMMAND}", "tool_call"),
    "its output": shell("make", output=f"{COMMAND}\nend"),
    "its diff": shell("git diff", output=DIFF),
    "its JSON": event("", "tool_result", tool={"name": "a", "output": {"b": [COMMAND]}}),
    "a key of it": event("", "tool_result", tool={"name": "a", "output": {COMMAND: 1}}),
}
SIGN = "U+202E right-to-left override"


def turned(html: str) -> list[str]:
    """Return what turns the writing around where somebody sees it; scripts are told names as they are."""
    return re.findall(f"[{TURNING}]", re.sub(r' data-[a-z]+="[^"]*"', "", html))


@pytest.mark.parametrize("place", EVERYWHERE)
@pytest.mark.parametrize("options", [{}, {"whole": True}, {"terms": ("pmt",)}])
def test_an_override_is_a_sign_wherever_it_stands(place: str, options: dict[str, Any]) -> None:
    html = message_html(EVERYWHERE[place], **options)
    assert not turned(html)
    signs = Markup(html).having("turning")
    assert signs
    assert {(tag.attributes["title"], tag.attributes["data-sign"], tag.words) for tag in signs} == {(SIGN, "RLO", "")}


@pytest.mark.parametrize("character", TURNING)
def test_each_of_them_is_named(character: str) -> None:
    (sign,) = Markup(message_html(event(f"a{character}b"))).having("turning")
    assert sign.attributes["aria-label"] == sign.attributes["title"]
    assert sign.attributes["title"].startswith(f"U+{ord(character):04X} ")


@pytest.mark.parametrize("mark", MARKS)
def test_a_mark_is_shown_in_code_and_stays_what_it_is_in_a_sentence(mark: str) -> None:
    markup = Markup(message_html(event(f"سلام{mark}! `a{mark}b`")))
    (sentence,) = markup.all("p")
    assert f"سلام{mark}!" in "".join(sentence.text)
    assert [tag.attributes["title"][:6] for tag in markup.having("turning")] == [f"U+{ord(mark):04X}"]
    for outside in (shell(f"a{mark}b", "tool_call"), event("", "tool_result", tool={"output": {"a": f"b{mark}"}})):
        assert Markup(message_html(outside)).having("turning")


def test_letters_that_are_read_from_the_right_stay() -> None:
    text = "مرحبا بالعالم, שלום"
    html = message_html(event(text))
    assert text in html
    assert 'dir="auto"' in html


def test_it_is_copied_as_it_was_published() -> None:
    assert raw(EVERYWHERE["a message"]) == f"Run {COMMAND} now"


def test_what_a_run_said_last_turns_nothing_around() -> None:
    html = run_html(run(last_content=COMMAND))
    assert Markup(html).having("turning")
    assert not turned(html)


def test_what_is_told_where_one_points_turns_nothing_around() -> None:
    html = message_html(event(f'[a](https://example.org "x{TURNING}y")'))
    assert f'title="x{"�" * len(TURNING)}y"' in html


def test_many_of_them_do_not_flood_the_page() -> None:
    html = message_html(event("\u202ea" * 10_000, "error"), whole=True)
    assert html.count('class="turning"') == 1_000
    assert "\u202e" not in html


@given(st.text(st.sampled_from(f"{TURNING}{MARKS}ab `<>&\"'*_|\n\x1b[1m"), max_size=120), st.sampled_from(KINDS))
def test_no_text_turns_anything_around(text: str, kind: str) -> None:
    html = message_html(event(text, kind, tool={"name": text, "input": {"command": text}, "output": {text: text}}))
    assert not turned(html)
    Markup(html)


def test_html_without_them_is_what_it_was() -> None:
    html = '<p title="é">é &amp; <code>ü</code></p>'
    assert visible(html) is html
