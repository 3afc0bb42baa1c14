"""What a command prints is shown as it prints it, and what an agent says as it means it."""

from datetime import timedelta
from typing import Any

import pytest

from flows.codex import Reader
from flows.message import Event
from tests.unit.events import NOON, event, run
from tests.unit.markup import Markup
from web.markdown import plain
from web.render import message_html, raw, run_html, timeline_html
from web.transcript import markdown

PRINTED = [
    "src/__init__.py",
    "2*3*4 and a*b*c",
    "~~old~~",
    "---",
    "5) five",
    "# no heading",
    "    indented   by     four",
    "-rw-r--r--  1 root  root   5196 a.py",
    "a\tb\tc",
    "- [ ] nothing to do",
    "<b>&amp;</b> [link](https://example.org) https://example.org",
]


def line(text: str, number: int = 1, artifact: str = "stdout", **fields: Any) -> Event:
    """Return a line that a command printed, as it is stored."""
    (claim,) = Reader("log", "live", artifact).read(number, text.encode())
    assert claim.attrs
    return event(claim.content or "", claim.kind or "", seq=number, attrs=claim.attrs, **fields)


@pytest.mark.parametrize("text", PRINTED)
def test_what_a_command_prints_is_shown_as_it_prints_it(text: str) -> None:
    markup = Markup(message_html(line(text)))
    (shown,) = markup.all("pre")
    assert "".join(shown.text) == f"\n{text}"
    assert not markup.having("md")


@pytest.mark.parametrize("text", PRINTED)
def test_it_is_copied_and_exported_as_it_was_printed(text: str) -> None:
    assert raw(line(text)) == text
    _, _, *quoted = b"".join(markdown([line(text)])).decode().rstrip("\n").split("\n")
    assert quoted == ["> ```", f"> {text}", "> ```"]


def test_its_colours_are_classes_and_a_long_line_folds() -> None:
    assert Markup(message_html(line("\x1b[31mred\x1b[0m"))).having("f1")[0].words == "red"
    folded = Markup(message_html(line("long " * 2_000)))
    assert folded.all("a", **{"data-whole": ""})[0].words == "Showing the last 3,000 of 9,999 characters"


@pytest.mark.parametrize("kind", ["message", "log", "status", "note"])
def test_whatever_its_lines_are_called_they_are_printed(kind: str) -> None:
    followed = event("a  *b*", kind, attrs={"artifact": "build-log", "line": 3})
    assert "".join(Markup(message_html(followed)).all("pre")[0].text) == "\na  *b*"


def test_what_codex_says_in_its_lines_stays_markdown() -> None:
    said = b'{"type":"item.completed","item":{"id":"item_0","type":"agent_message","text":"**Done**, in `a.py`"}}'
    asked = b'{"prompt":"**Mend** it"}'
    for data in (said, asked):
        (claim,) = Reader("codex-events", "live", "events").read(1, data)
        assert claim.attrs
        markup = Markup(message_html(event(claim.content or "", attrs=claim.attrs)))
        assert markup.all("strong")
        assert not markup.all("pre")


def test_lines_that_follow_each_other_are_one_text() -> None:
    later = NOON + timedelta(seconds=2)
    events = [
        line("one"),
        line("two", 2),
        line("after a blank one", 4),
        line("later", 5, timestamp=later),
        line("elsewhere", 6, "build-log", timestamp=later),
        line("another's", 7, agent_id="reviewer", timestamp=later),
    ]
    classes = [tag.attributes["class"].split() for tag in Markup(timeline_html(events)).all("article")]
    assert ["flows" in names for names in classes] == [False, True, False, True, False, False]
    assert ["at-once" in names for names in classes] == [False, True, True, False, True, False]


def test_a_command_that_has_started_is_shown_as_it_is() -> None:
    command = "sh -c 'ls  __pycache__ *.py*\n    && echo `date`'"
    started = event(f"started: {command}", "run-started", role="system", attrs={"status": "started"})
    markup = Markup(message_html(started))
    (code,) = markup.all("code")
    assert "".join(code.text) == command
    assert markup.having("line")[0].words == f"planner started: {' '.join(command.split())}"
    assert b"> ```\n> started: sh -c 'ls  __pycache__ *.py*\n>     &&" in b"".join(markdown([started]))


def test_how_a_command_ended_is_a_word_on_a_line() -> None:
    ended = event("failed (exit code 3)", "run-finished", role="system", attrs={"status": "failed"})
    assert Markup(message_html(ended)).having("line")[0].words == "planner failed (exit code 3)"


@pytest.mark.parametrize("text", ["src/__init__.py", "2*3*4", "2 ** 8 = 2**8"])
def test_the_list_of_runs_takes_no_sign_from_a_name_or_a_sum(text: str) -> None:
    assert plain(text) == text
    assert Markup(run_html(run(last_content=text))).having("words")[0].words == f"planner {text}"
