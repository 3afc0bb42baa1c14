"""Log lines: one event a line whatever is in it, with fields, without secrets, and not the same one again and again."""

import ast
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flows.hiding import hide, secrets_of
from flows.logs import AGAIN_S, LineFormatter, Repetition

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("flows", "connectors", "web") for path in (ROOT / folder).rglob("*.py"))


def record(message: str, *values: object, level: int = logging.WARNING, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("flows.x", level, "x.py", 1, message, values, None)
    vars(made).update(fields)
    return made


def logfmt(line: str) -> dict[str, str]:
    """Read a line as its readers do."""
    pairs = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)(?: |$)', line)
    assert " ".join(f"{name}={value}" for name, value in pairs) == line
    return {name: json.loads(value) if value.startswith('"') else value for name, value in pairs}


HOSTILE = ["a b", 'say "hi"', "two\nlines", "\x1b[31mred", "\x9b2J", "a=b", "", "ends\\", "\u2028sep", "snowman ☃"]


@pytest.mark.parametrize("value", HOSTILE)
def test_whatever_a_line_holds_it_is_one_line_and_can_be_read_back(value: str) -> None:
    told = record("said %s", value, run=value, message_id="m-1")
    line = LineFormatter("logfmt").format(told)
    assert line.isprintable()
    assert logfmt(line)["message"] == f"said {value}"
    assert logfmt(line)["run"] == value
    line = LineFormatter("json").format(told)
    assert line.isprintable()
    assert json.loads(line)["run"] == value
    assert json.loads(line)["message_id"] == "m-1"


def test_fields_that_are_not_known_are_left_out_and_the_usual_ones_come_first() -> None:
    line = LineFormatter("logfmt").format(record("x", run=None, stream_seq=7))
    assert re.fullmatch(r"time=\S+ level=warning logger=flows.x message=x stream_seq=7", line)


def test_a_traceback_is_a_field_of_the_same_line() -> None:
    told = record("failed")
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        told.exc_info = (type(error), error, error.__traceback__)
    line = LineFormatter("logfmt").format(told)
    assert "\n" not in line
    assert "ZeroDivisionError" in logfmt(line)["error"]


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_no_secret_is_on_a_line(style: str) -> None:
    formatter = LineFormatter("json" if style == "json" else "logfmt", frozenset({"hunter2hunter2"}))
    line = formatter.format(record("connect with %s", "hunter2hunter2", run="hunter2hunter2"))
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("url", "kept"),
    [("bogus", True), ("nats://bogus:4222, tls://other", True), ("nats://tok3n@bogus", False), ("tok3n@bogus", False)],
)
def test_an_address_is_hidden_where_it_says_who_connects(url: str, kept: bool) -> None:
    said = hide(f"NATS_URL: {url} is not there", secrets_of({"NATS_URL": url}))
    assert (url in said, "tok3n" in said) == (kept, False)


def test_what_is_said_again_and_again_is_written_once_and_then_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("flows.logs.time.monotonic", lambda: now)
    repetition = Repetition()
    assert repetition.filter(record("a batch of %d waits: refused", 7))
    for number in range(5):
        assert not repetition.filter(record("a batch of %d waits: refused", number))
    assert repetition.filter(record("a batch of %d waits: another reason", 7))
    now += AGAIN_S
    again = record("a batch of %d waits: refused", 9)
    assert repetition.filter(again)
    assert "repeated=5" in LineFormatter("logfmt").format(again)


def test_what_is_no_warning_is_always_written_and_what_is_remembered_is_bounded() -> None:
    repetition = Repetition()
    assert all(repetition.filter(record("x", level=logging.INFO)) for _ in range(3))
    for number in range(2_000):
        repetition.filter(record("%s", chr(0x4E00 + number)))
    assert len(repetition._known) <= 512


def warnings_in(path: Path) -> list[ast.Call]:
    calls = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call))
    return [
        call
        for call in calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in ("warning", "error", "exception", "critical")
        and ast.unparse(call.func.value) in ("log", "server.log")
    ]


def test_each_warning_says_what_to_do() -> None:
    """By what is written there: `extra` holds a `todo`, or comes from what makes one."""
    found = [(path, call) for path in SOURCES for call in warnings_in(path)]
    assert len(found) > 20
    silent = [
        f"{path.name}:{call.lineno}"
        for path, call in found
        if not any(
            keyword.arg == "extra"
            and ("todo" in (told := ast.unparse(keyword.value)) or told in ("fields", "_of_letter(letter)"))
            for keyword in call.keywords
        )
    ]
    assert silent == []


def test_what_nobody_has_caught_is_one_line_too_in_threads_as_well() -> None:
    program = (
        "import threading; from flows.logs import set_up; from flows.settings import Settings\n"
        "set_up(Settings(agent_comms_log_format='json'))\n"
        "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()\n"
        "raise LookupError('no\\nway with hunter2hunter2')"
    )
    environ = {"PATH": os.environ["PATH"], "NATS_PASSWORD": "hunter2hunter2"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["critical", "critical"]
    assert "ZeroDivisionError" in lines[0]["error"]
    assert lines[1]["message"] == "uncaught: no\nway with ***"
    assert all(line["todo"] for line in lines)
