"""What a message and a run look like."""

import json
from datetime import timedelta

import msgspec
import pytest

from flows.message import Event
from tests.unit.events import NOON, event, run, shell
from tests.unit.markup import Markup, Tag
from web.render import message_html, raw, run_html, timeline_html


def shown(*events: object, **options: bool) -> Markup:
    return Markup(message_html(*events, **options))  # type: ignore[arg-type]


def article(markup: Markup) -> Tag:
    (found,) = markup.all("article")
    return found


def test_a_message_is_one_element_that_says_which_it_is() -> None:
    attributes = article(shown(event(seq=42, kind="message", agent_id="reviewer"))).attributes
    assert attributes["data-seq"] == "42"
    assert attributes["data-kind"] == "message"
    assert attributes["data-agent"] == "reviewer"
    assert attributes["data-timestamp"] == "2026-03-05T12:00:00.250000Z"
    assert attributes["id"] == "m-42"


def test_only_one_element_of_a_message_carries_its_number() -> None:
    assert sum("data-seq" in tag.attributes for tag in shown(shell("ls", output="a\nb\nc")).tags) == 1


def test_a_tables_columns_say_to_which_side_they_are_aligned() -> None:
    markup = shown(event("| a | b | c | d |\n|---|:--|--:|:-:|\n| 1 | 2 | 3 | 4 |"))
    for name in ("th", "td"):
        assert [cell.attributes for cell in markup.all(name)] == [
            {},
            {"class": "to-left"},
            {"class": "to-right"},
            {"class": "to-center"},
        ]


def test_markdown_is_rendered() -> None:
    markup = shown(event("**Two** things:\n\n1. `one`\n2. [two](https://example.org/a?b=1&c=2)"))
    assert [tag.words for tag in markup.all("li")] == ["one", "two"]
    assert markup.all("strong")[0].words == "Two"
    (link,) = [tag for tag in markup.all("a") if "rel" in tag.attributes]
    assert link.attributes["href"] == "https://example.org/a?b=1&c=2"
    assert "noreferrer" in link.attributes["rel"]


def test_a_plain_address_becomes_a_link_without_the_full_stop() -> None:
    markup = shown(event("See https://example.org/a_(b)_c. Then (https://example.org/d)!"))
    links = [tag.attributes["href"] for tag in markup.all("a") if "rel" in tag.attributes]
    assert links == ["https://example.org/a_(b)_c", "https://example.org/d"]


def test_a_link_to_a_file_is_text_that_tells_the_path() -> None:
    markup = shown(event("The fix is in [store.py](/workspace/store.py)."))
    (path,) = markup.having("path")
    assert (path.name, path.attributes["title"], path.words) == ("span", "/workspace/store.py", "store.py")


def test_code_is_highlighted_with_classes() -> None:
    markup = shown(event("```python\ndef one():\n    return 1\n```"))
    assert {tag.words for tag in markup.having("s-k")} == {"def", "return"}
    assert markup.all("pre")[0].text[0] == "def"


def test_headings_never_compete_with_the_page() -> None:
    markup = shown(event("# One\n\n## Two\n\n###### Six"))
    assert [tag.attributes["class"] for tag in markup.all("h3")] == ["as-h1", "as-h2", "as-h6"]
    assert markup.names.isdisjoint({"h1", "h2", "h4", "h5", "h6"})


def test_a_fenced_diff_is_a_diff() -> None:
    markup = shown(event("```diff\n@@ -1 +1 @@\n-old\n+new\n```"))
    assert markup.having("d-add")[0].text == ["+new\n"]
    assert markup.having("d-del")[0].attributes["data-n"] == "1"


def test_a_to_do_list_is_a_list_with_boxes_and_a_tally() -> None:
    markup = shown(event("- [x] read\n- [x] **think**\n- [ ] write", "status", attrs={"item_type": "todo_list"}))
    assert [tag.attributes["aria-label"] for tag in markup.having("box")] == ["done", "done", "open"]
    assert [tag.words for tag in markup.all("li")] == ["read", "think", "write"]
    assert markup.having("tally")[0].words == "2 of 3 done"


def test_a_status_of_nothing_but_boxes_is_a_to_do_list_too() -> None:
    assert "is-todo" in article(shown(event("- [ ] write", "status"))).attributes["class"]


def test_a_status_is_a_word_on_a_line() -> None:
    markup = shown(event("Turn 1 started", "status"))
    assert "is-status" in article(markup).attributes["class"]
    assert markup.having("line")[0].words == "planner Turn 1 started"


def test_a_long_status_is_a_text() -> None:
    assert "is-note" in article(shown(event("word " * 60, "status"))).attributes["class"]


def test_reasoning_is_quiet_and_folds_when_it_is_long() -> None:
    short = shown(event("I wonder.", attrs={"item_type": "reasoning"}))
    long = shown(event("**Where is it?**\n\n" + "Here or there. " * 60, attrs={"item_type": "reasoning"}))
    assert "is-reasoning" in article(short).attributes["class"]
    assert not short.all("details")
    assert long.all("summary")[0].words.startswith("Where is it?")


def test_an_error_stands_in_full_and_says_so() -> None:
    markup = shown(event("It broke.\nBadly.", "error"))
    assert "is-error" in article(markup).attributes["class"]
    assert markup.having("alarm")[0].words == "Error"
    assert "".join(markup.having("term")[0].text).strip() == "It broke.\nBadly."


def test_a_tool_call_is_one_line_of_what_was_asked() -> None:
    markup = shown(shell("pytest -q", "tool_call", "$ pytest -q"))
    assert markup.having("tool")[0].words == "shell"
    assert markup.having("asked")[0].words == "pytest -q"
    assert not markup.all("details")


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ({"command": "bash -lc 'ls -la'"}, "ls -la"),
        ({"command": ["bash", "-lc", "ls -la"]}, "ls -la"),
        ({"command": ["git", "commit", "-m", "two words"]}, "git commit -m 'two words'"),
        ({"query": "who\n  asks"}, "who asks"),
        ({"path": "a.py", "content": "x"}, "a.py"),
        ({"changes": [{"path": "a.py"}, {"path": "b.py"}, {"path": "c.py"}]}, "a.py and 2 more"),
        ({"changes": {"a.py": {"add": {}}}}, "a.py"),
        ({"number": 1}, '{"number": 1}'),
        ("words", "words"),
        ([1, 2], "1 2"),
        (None, "from the content"),
    ],
)
def test_what_was_asked_is_found_in_any_input(source: object, asked: str) -> None:
    call = event("from the content", "tool_call", tool={"name": "any", "input": source})
    assert shown(call).having("asked")[0].words == asked


def test_a_result_shows_its_last_line_its_time_and_its_end() -> None:
    markup = shown(shell("pytest", output="one\n\x1b[32mtwo passed\x1b[0m\n", exit_code=0, duration_ms=4_120))
    assert markup.having("gist")[0].words == "two passed"
    assert markup.having("took")[0].words == "4.1 s"
    assert markup.having("outcome")[0].words == "exit 0"
    assert "open" not in markup.all("details")[0].attributes


def test_a_failure_stands_open_with_its_exit_code() -> None:
    markup = shown(shell("pytest", output="one\ntwo failed\n", exit_code=1, status="failed"))
    assert markup.having("outcome")[0].words == "exit 1"
    assert "is-wrong" in markup.having("outcome")[0].attributes["class"]
    assert "open" in markup.all("details")[0].attributes


def test_a_declined_command_says_so() -> None:
    assert shown(shell("rm -rf /", status="declined")).having("outcome")[0].words == "declined"


def test_colours_of_a_terminal_become_classes() -> None:
    markup = shown(shell("x", output="\x1b[1;31mred\x1b[0m and\nplain", exit_code=1))
    assert markup.having("f1")[0].words == "red"
    assert "a1" in markup.having("f1")[0].attributes["class"]
    assert "\x1b" not in message_html(shell("x", output="\x1b[1;31mred\x1b[0m and\nplain"))


def test_long_output_shows_its_end_and_says_how_much_there_is() -> None:
    lines = [f"line {number}" for number in range(5_067)]
    html = message_html(shell("seq", output="\n".join(lines)))
    markup = Markup(html)
    (rest,) = [tag for tag in markup.all("a") if "data-whole" in tag.attributes]
    assert rest.words == "Showing the last 12 of 5,067 lines"
    assert rest.attributes["href"] == "/agents/uid-1/message/7?workflowNamespace=agents&workflowUid=uid-1"
    assert "".join(markup.having("term")[0].text).strip().split("\n") == lines[-12:]
    assert len(html) < 4_000


def test_output_that_is_cut_within_a_line_counts_characters() -> None:
    markup = shown(shell("cat", output="one\n" + "x" * 9_000))
    (rest,) = [tag for tag in markup.all("a") if "data-whole" in tag.attributes]
    assert rest.words == "Showing the last 3,000 of 9,004 characters"


def test_a_colour_goes_on_from_what_is_out_of_sight() -> None:
    output = "\x1b[31m" + "\n".join(f"line {number}" for number in range(100))
    assert shown(shell("x", output=output)).having("f1")[0].words.startswith("line 88")


def test_output_too_large_for_a_conversation_is_a_link_to_a_page_of_its_own() -> None:
    output = "0123456789\n" * 60_000
    html = message_html(shell("cat", output=output, exit_code=0))
    assert len(html) < 10_000
    (rest,) = [tag for tag in Markup(html).all("a") if "60,000 lines" in tag.words]
    assert rest.attributes["href"] == "/agents/uid-1/message/7?workflowNamespace=agents&workflowUid=uid-1"
    assert "data-whole" not in rest.attributes
    assert len(message_html(shell("cat", output=output), whole=True)) > 600_000


def test_a_giant_message_is_a_preview_with_a_link_to_the_whole() -> None:
    giant = event("word " * 100_000)
    html = message_html(giant)
    assert len(html) < 10_000
    assert "The beginning of 500,000 characters" in Markup(html).having("more")[0].words
    assert len(message_html(giant, whole=True)) > 500_000


def test_a_long_message_folds_after_its_beginning() -> None:
    text = "\n\n".join(f"Paragraph {number}: " + "word " * 50 for number in range(80))
    markup = shown(event(text))
    (rest,) = markup.all("details")
    first = [tag for tag in markup.all("p") if tag.words.startswith("Paragraph")]
    assert len(first) == 80
    assert 15 < len(first) - sum(tag.words in rest.words for tag in first) < 40


def test_code_that_is_cut_by_the_fold_stays_code() -> None:
    text = "```python\n" + "x = 1  # <b>\n" * 1_500 + "```\n\nAfterwards."
    markup = shown(event(text))
    assert "".join("".join(tag.text) for tag in markup.all("code")).count("x = 1") == 1_500
    assert markup.all("p")[-1].words == "Afterwards."


def test_a_small_diff_is_open_and_counted() -> None:
    diff = "--- a/x.py\n+++ b/x.py\n@@ -1,2 +1,3 @@\n same\n-old\n+new\n+more\n"
    markup = shown(event(diff, "tool_result", tool={"name": "apply_patch", "input": {"path": "x.py"}, "output": diff}))
    assert "open" in markup.all("details")[0].attributes
    assert markup.having("sum")[0].words == "+2 \N{MINUS SIGN}1"
    assert markup.having("gist")[0].words == "1 file changed"
    assert [tag.attributes["data-n"] for tag in markup.having("d-add")] == ["2", "3"]
    assert "".join("".join(tag.text) for tag in markup.having("diff")).strip() == diff.strip()


def test_json_is_a_tree_that_folds() -> None:
    markup = shown(event("x", "tool_result", tool={"name": "ask", "output": {"a": [1, {"b": None}], "c": "text"}}))
    assert [tag.words for tag in markup.having("t-key")] == ["a", "0", "1", "b", "c"]
    assert [tag.words for tag in markup.having("t-size")] == ["2 entries", "1 key"]
    assert [tag.words for tag in markup.having("t-word")] == ["1", "null"]
    assert [tag.words for tag in markup.having("t-text")] == ["text"]


def test_a_tree_of_many_values_says_that_there_are_more() -> None:
    markup = shown(event("x", "tool_result", tool={"name": "ask", "output": [*range(1_000)]}))
    assert markup.having("rest")[0].words == "960 more"
    (rest,) = [tag for tag in markup.all("a") if "data-whole" in tag.attributes]
    assert rest.words == "Showing the first 40 values"


HITS = json.dumps({"hits": [{"id": n, "title": f"Title {n}", "score": 0.5} for n in range(30)]})


def asked(output: object, **tool: object) -> Event:
    return event("x", "tool_result", tool={"name": "mcp.search", "output": output, **tool})


def test_text_that_is_json_is_a_tree_and_its_line_begins_where_it_begins() -> None:
    markup = shown(asked(HITS))
    assert [tag.words for tag in markup.having("t-key")][:4] == ["hits", "0", "id", "title"]
    assert markup.having("gist")[0].words.startswith('{"hits": [{"id": 0, "title"')
    assert not markup.having("term")
    (rest,) = [tag for tag in markup.all("a") if "data-whole" in tag.attributes]
    assert rest.words == "Showing the first 40 values"
    assert len(shown(asked(HITS), whole=True).having("t-key")) == 1 + 30 * 4
    assert raw(asked(HITS)) == HITS
    (called,) = shown(event("x", "tool_call", tool={"name": "ask", "input": HITS})).having("tree")[:1]
    assert called.name == "ul"


def test_json_says_what_was_written() -> None:
    written = '{"a": 1.10, "b": 12345678901234567890.0, "c": 1e999, "d": -0, "e": "\\u0007\\ud800\\u00e9", "f": {}}'
    markup = shown(asked(written), whole=True)
    assert [tag.words for tag in markup.having("t-word")] == ["1.10", "12345678901234567890.0", "1e999", "-0", "{}"]
    assert markup.having("t-text")[0].words == "\\u0007\\ud800\u00e9"


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        '[{"a": {"b": 1, "b": 1}}]',
        '{"a": NaN}',
        "[1, 2",
        "{}\n{}",
        "[INFO] ready [ok]",
        "[" * 200 + "]" * 200,
        "[" * 50_000 + "]" * 50_000,
        f"[{'1,' * 5_001}1]",
        f'["{"x" * 200_000}"]',
    ],
    ids=["twice", "twice-within", "nan", "half", "lines", "log", "deep", "deepest", "many", "large"],
)
def test_what_is_no_json_or_would_not_be_shown_as_it_is_stays_text(text: str) -> None:
    for whole in (False, True):
        markup = shown(asked(text, exit_code=1), whole=whole)
        assert not markup.having("tree")


def test_a_long_text_of_a_tree_is_shown_to_its_end_on_demand() -> None:
    written = json.dumps({"file": "x" * 3_000 + "end"})
    markup = shown(asked(written))
    (rest,) = [tag for tag in markup.all("a") if "data-whole" in tag.attributes]
    assert rest.words == "Showing the beginning of long texts"
    assert "end" not in markup.having("t-text")[0].words
    assert shown(asked(written), whole=True).having("t-text")[0].words.endswith("end")


def test_keys_of_json_that_came_as_text_are_found() -> None:
    markup = Markup(message_html(asked('{"colour": ["red"]}', exit_code=1), terms=("colour",), whole=True))
    assert [tag.words for tag in markup.all("mark")] == ["colour", "colour"]


def test_texts_of_an_mcp_server_are_shown_as_what_they_are() -> None:
    def part(text: str) -> dict[str, str]:
        return {"type": "text", "text": text}

    one = shown(asked({"content": [part(HITS)], "structuredContent": json.loads(HITS), "isError": False}))
    assert [tag.words for tag in one.having("t-key")][:3] == ["hits", "0", "id"]
    assert one.having("gist")[0].words.startswith('{"hits": [{"id": 0')
    said = shown(asked({"content": [part("ok")], "_meta": None}))
    assert said.having("gist")[0].words == "ok"
    assert not said.all("details")
    assert shown(asked([part(" ")])).having("gist")[0].words == "no output"
    image = {"type": "image", "data": "aGk=", "mimeType": "image/png"}
    several = shown(asked({"content": [part("one\ntwo"), image, part('["three"]')], "isError": True}), whole=True)
    assert "".join(several.having("term")[0].text).strip() == "one\ntwo"
    assert [tag.words for tag in several.having("t-key")] == ["type", "data", "mimeType", "0"]
    assert several.having("label")[-1].words == "isError"
    assert several.having("t-word")[-1].words == "true"
    other = {"type": "text", "text": "a", "annotations": {"priority": 1}}
    assert "priority" in [tag.words for tag in shown(asked({"content": [other, part("b")]})).having("t-key")]


@pytest.mark.parametrize(
    ("output", "gist"),
    [
        ("first\n" + "word " * 2_000, "word word"),
        ("var a=" + "abcdefghij" * 5_000, "var a=abcdefghij"),
        ("begin " + "x" * 5_000 + "\n\n----\n", "begin xxx"),
        ("x" * 5_000 + "\nlast\n", "last"),
        (" " * 5_000 + "end", "end"),
    ],
    ids=["long-line", "only-line", "blank-end", "short-line", "blank-beginning"],
)
def test_the_line_of_an_output_begins_where_a_line_begins(output: str, gist: str) -> None:
    assert shown(shell("x", output=output)).having("gist")[0].words.startswith(gist)


def test_what_is_in_the_first_value_of_a_tree_leaves_room_for_the_others() -> None:
    markup = shown(asked({"hits": [[n, n, n] for n in range(30)], "total": 30}))
    keys = [tag.words for tag in markup.having("t-key")]
    assert len(keys) == 40
    assert keys[-1] == "total"
    assert [tag.words for tag in markup.having("rest")] == ["1 more", *["3 more"] * 27]


def test_texts_of_an_input_are_shown_as_they_are() -> None:
    source = {"path": "a.py", "content": "one\ntwo\n", "mode": 420}
    markup = shown(event("write a.py", "tool_call", tool={"name": "write", "input": source}))
    assert [tag.words for tag in markup.having("label")] == ["path", "content", "mode"]
    assert "".join(markup.having("term")[1].text).strip() == "one\ntwo"


def test_empty_output_says_so() -> None:
    assert shown(shell("true", content=" ", output="", exit_code=0)).having("gist")[0].words == "no output"


@pytest.mark.parametrize(
    ("output", "content"),
    [("", "shell"), (None, "shell"), ([], "shell"), ("\n", 'shell "\\n"')],
    ids=["empty", "none", "list", "line-end"],
)
def test_the_name_of_a_tool_that_answers_nothing_is_no_output(output: object, content: str) -> None:
    result = event(content, "tool_result", tool={"name": "shell", "input": {"command": "true"}, "output": output})
    for markup in (shown(result), shown(result, whole=True)):
        assert [tag.words for tag in markup.having("gist")] == ["no output"]
        assert not markup.having("term")
    assert raw(result).strip() == ""
    said = event("shell", "tool_result", tool={"name": "which", "output": None})
    assert shown(said).having("gist")[0].words == raw(said) == "shell"


def test_a_tool_that_is_asked_nothing_is_named_once() -> None:
    markup = shown(event("view_image", "tool_call", tool={"name": "view_image", "input": None}))
    assert markup.having("request")[0].words == "view_image"
    assert not markup.all("details")


def test_the_agent_is_named_once_while_it_goes_on() -> None:
    markup = Markup(timeline_html([event("a"), event("b"), event("c", agent_id="executor"), event("d")]))
    assert ["same" in tag.attributes["class"] for tag in markup.all("article")] == [False, True, False, False]


def test_after_a_pause_the_agent_is_named_again() -> None:
    markup = Markup(timeline_html([event("a"), event("b", timestamp=NOON + timedelta(minutes=5))]))
    assert ["same" in tag.attributes["class"] for tag in markup.all("article")] == [False, False]


def test_a_long_command_unfolds() -> None:
    command = "scripts/load.sh --path /search --rate 60 --seconds 10"
    assert shown(shell(command, "tool_call", f"$ {command}")).having("term")[0].words == command


def test_after_a_status_the_agent_is_named_again() -> None:
    markup = Markup(timeline_html([event("Turn 1 started", "status"), event("b")]))
    assert ["same" in tag.attributes["class"] for tag in markup.all("article")] == [False, False]


def test_a_result_joins_its_call() -> None:
    call, result = shell("ls", "tool_call", "$ ls"), shell("ls", output="a")
    other = shell("pwd", output="/")
    together = Markup(timeline_html([call, result, other])).all("article")
    assert ["joined" in tag.attributes["class"] for tag in together] == [False, True, False]
    assert ["answered" in tag.attributes["class"] for tag in together] == [True, False, False]
    apart = Markup(timeline_html([call, other, result])).all("article")
    assert not any(name in tag.attributes["class"] for tag in apart for name in ("joined", "answered"))


def test_a_call_tells_of_its_result_further_below() -> None:
    calls = [shell(f"job {n}", "tool_call", id=f"c{n}") for n in (1, 2)]
    results = [shell(f"job {n}", id=f"c{n}", exit_code=n - 1, duration_ms=4_100) for n in (1, 2)]
    told = [msgspec.structs.replace(one, seq=seq) for seq, one in enumerate([*calls, *results], 1)]
    markup = Markup(timeline_html(told))
    assert [tag.words for tag in markup.having("answer")] == ["Result below4.1 sexit 0", "Result below4.1 sexit 1"]
    assert [tag.attributes["href"] for tag in markup.all("a") if tag.words.startswith("Result")] == ["#m-3", "#m-4"]


def test_what_went_wrong_says_so() -> None:
    for wrong in (event("x", "error"), shell("x", exit_code=2), shell("x", status="failed")):
        assert "data-wrong" in article(shown(wrong)).attributes
    for right in (event("x"), shell("x", exit_code=0), shell("x", "tool_call", status="failed")):
        assert "data-wrong" not in article(shown(right)).attributes


def test_a_message_has_a_link_that_opens_it_among_those_around_it() -> None:
    (link,) = shown(event(seq=42)).having("at")
    assert link.attributes["href"] == "/agents/uid-1?workflowNamespace=agents&workflowUid=uid-1&at=42#m-42"
    (link,) = shown(event(seq=42, channel="general")).having("at")
    assert link.attributes["href"] == "/agents/general?at=42#m-42"


@pytest.mark.parametrize("uid", ["general", "ops", "run", "a/b", "..", "/", "x\\y"])
def test_a_run_whose_name_is_no_last_part_of_a_path_is_named_in_the_query(uid: str) -> None:
    (link,) = shown(event(seq=42, workflow_uid=uid)).having("at")
    assert link.attributes["href"].startswith("/agents/run?workflowNamespace=agents&workflowUid=")


def test_no_sign_in_a_name_turns_the_writing_around() -> None:
    html = message_html(event(agent_id="gnp\u202e.exe", tool={"name": "\u2066rm", "input": {}}))
    shown_html = html.replace('data-agent="gnp\u202e.exe"', "")
    assert "\u202e" not in shown_html
    assert "gnp\ufffd.exe" in shown_html


def test_what_is_looked_for_is_marked_and_nothing_else() -> None:
    html = message_html(event("An `ERROR` &amp; **errors** in [amp](https://example.org/amp)"), terms=("error", "amp"))
    markup = Markup(html)
    assert [tag.words for tag in markup.all("mark")] == ["ERROR", "error", "amp"]
    assert 'href="https://example.org/amp"' in html


@pytest.mark.parametrize(
    ("said", "term", "found"),
    [
        (event("At 12."), "12", ["12"]),
        (event("The planner plans.", "status"), "planner", ["planner"]),
        (event("An error.", "error"), "error", ["error"]),
        (shell("make", output="", exit_code=12), "exit", []),
        (event("", "tool_result", tool={"name": "shell", "output": ""}), "output", []),
        (event(kind="tool_result", tool={"name": "ask", "output": {"all": ["x"]}}), "entry", []),
    ],
)
def test_words_of_the_page_are_not_marked_though_they_hold_what_is_looked_for(
    said: Event, term: str, found: list[str]
) -> None:
    markup = Markup(message_html(said, terms=(term,), whole=True))
    assert [tag.words for tag in markup.all("mark")] == found


def test_no_name_has_what_is_said_pass_for_words_of_the_page() -> None:
    said = event("Marked.", agent_id="x data-ours>", tool={"name": " data-ours>", "input": {}})
    assert "<mark>Marked</mark>" in message_html(said, terms=("marked",))


def test_a_call_id_joins_what_the_input_does_not() -> None:
    call = event("ask", "tool_call", tool={"name": "ask", "input": {"q": 1}}, attrs={"item_id": "item_3"})
    result = event("yes", "tool_result", tool={"name": "ask"}, attrs={"item_id": "item_3"})
    assert "joined" in Markup(timeline_html([call, result])).all("article")[1].attributes["class"]


def test_a_day_begins_with_a_line() -> None:
    markup = Markup(timeline_html([event("a"), event("b", timestamp=NOON + timedelta(days=1))]))
    assert [tag.words for tag in markup.having("day")] == ["Thursday, 5 March 2026", "Friday, 6 March 2026"]


def test_in_the_general_channel_a_message_names_its_run() -> None:
    markup = shown(event(channel="general", workflow_namespace="research"))
    (where,) = markup.having("where")
    assert where.attributes["href"] == "/agents/uid-1?workflowNamespace=research&workflowUid=uid-1"
    assert where.words == "mend-the-importer"
    assert not shown(event()).having("where")
    (where,) = shown(event(channel="general", workflow_uid=None)).having("where")
    assert where.attributes["href"] == "/agents/mend-the-importer?workflowNamespace=agents"


def test_what_is_not_as_it_was_published_is_marked() -> None:
    markup = shown(event(attrs={"source": "backfill", "claimed": {"agent_id": "root"}, "redacted": ["token"]}))
    assert [tag.words for tag in markup.having("tag")] == ["claim overruled", "redacted"]
    # Beside its time: in a run that was recovered it is true of every message.
    (at,) = markup.having("at")
    assert at.words.endswith("recovered")
    assert "is-recovered" in article(markup).attributes["class"]


def test_a_run_that_was_recovered_says_so_in_the_list() -> None:
    words = Markup(run_html(run(attrs={"backfill": {"recovered": 7, "live_percent": 0}}))).having("counts")[0].words
    assert words.endswith("recovered")
    assert "partly" not in words


def test_an_unusual_kind_is_named() -> None:
    assert [tag.words for tag in shown(event(kind="run-outcome")).having("tag")] == ["run-outcome"]


def test_a_person_is_called_by_their_name() -> None:
    markup = shown(event(agent_id="person", role="user", attrs={"author": "Ada"}))
    assert "is-person" in article(markup).attributes["class"]
    assert markup.having("agent")[0].words == "Ada"


def test_an_agent_has_the_same_hue_everywhere_and_others_another() -> None:
    def hue(agent: str) -> str:
        (found,) = [
            name for name in article(shown(event(agent_id=agent))).attributes["class"].split() if "hue-" in name
        ]
        return found

    assert len({hue("planner"), hue("executor"), hue("reviewer")}) == 3
    row = Markup(run_html(run(agents=["planner"])))
    assert hue("planner") in row.having("mark")[0].attributes["class"].split()


def test_a_run_is_a_row_that_leads_to_its_page() -> None:
    markup = Markup(run_html(run(messages=1_204, errors=2), NOON + timedelta(minutes=12)))
    (row,) = markup.all("li")
    assert row.attributes["data-run"] == "uid-1"
    assert row.attributes["data-state"] == "running"
    assert row.attributes["data-timestamp"] == "2026-03-05T12:00:00.250000Z"
    assert markup.having("name")[0].attributes["href"] == "/agents/uid-1?workflowNamespace=agents&workflowUid=uid-1"
    assert markup.having("counts")[0].words == "1,204 messages4 calls2 errors"
    assert markup.having("words")[0].words == "planner Beginning."
    assert markup.having("when")[0].words == "12 min ago"


def test_the_last_words_of_a_run_are_words() -> None:
    row = Markup(run_html(run(last_content="# Done\n\n- [x] **all** `of` it\n\x1b[31mred\x1b[0m")))
    assert row.having("words")[0].words == "planner Done all of it red"


def test_a_run_that_said_nothing_yet_has_a_row() -> None:
    row = Markup(
        run_html(run(last_at=None, first_at=None, started_at=None, last_content=None, last_agent=None, agents=[]))
    )
    assert row.all("li")[0].attributes["data-timestamp"] == ""


@pytest.mark.parametrize("state", ["running", "succeeded", "failed", "stale", "unknown"])
def test_a_state_is_a_word_and_not_only_a_colour(state: str) -> None:
    assert Markup(run_html(run(state=state))).having("state")[0].words == state


@pytest.mark.parametrize(("agent", "shown"), [("person", "Ada"), ("planner", "planner"), ("Person", "Person")])
def test_only_a_person_is_shown_by_the_authors_name(agent: str, shown: str) -> None:
    markup = Markup(message_html(event("hello", agent_id=agent, attrs={"author": "Ada"})))
    assert markup.having("agent")[0].words == shown
