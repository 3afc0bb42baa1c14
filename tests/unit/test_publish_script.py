"""`gitops/runtime/publish.sh`, with a stand-in for the nats CLI that writes down what it is given."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from connectors.delivery import JetStreamMessage
from flows.message import Message
from flows.normalize import normalize
from flows.payload import schema
from flows.subject import parse
from flows.topology import GITOPS
from tests.waiting import PATIENCE_S

SCRIPT = GITOPS / "runtime" / "publish.sh"
STAND_IN = """#!/bin/sh
folder=$(dirname "$0")
for argument; do printf '%s\\0' "$argument"; done >"$folder/arguments"
env | grep -a '^NATS_' >"$folder/environment"
for argument; do
    [ "$before" != --creds ] || cat "$argument" >"$folder/creds"
    before=$argument
done
cat >"$folder/stdin"
exit "${STAND_IN_CODE:-0}"
"""
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


class Sent(NamedTuple):
    """What the stand-in was given."""

    subject: str
    payload: dict[str, Any]
    arguments: list[str]
    raw: bytes


class Script:
    """The script, run by a shell, with the stand-in on its path."""

    def __init__(self, folder: Path, shell: str = "dash") -> None:
        self.folder = folder
        self.shell = [shell, "sh"] if shell == "busybox" else [shell]
        stand_in = folder / "nats"
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)

    def run(self, *arguments: str, stdin: bytes = b"", **environ: str) -> "subprocess.CompletedProcess[bytes]":
        path = f"{self.folder}:/usr/bin:/bin"
        return subprocess.run(
            [*self.shell, SCRIPT, *arguments],
            input=stdin,
            env={"PATH": path, "WORKFLOW_NAME": "run-1", "LANG": "C.UTF-8", **environ},
            capture_output=True,
            check=False,
            timeout=PATIENCE_S,
        )

    def send(self, *arguments: str, stdin: bytes = b"", **environ: str) -> Sent:
        done = self.run(*arguments, stdin=stdin, **environ)
        assert (done.returncode, done.stderr) == (0, b""), done
        given = (self.folder / "arguments").read_bytes().decode().split("\0")[:-1]
        raw = (self.folder / "stdin").read_bytes()
        return Sent(given[-1], json.loads(raw), given, raw)


@pytest.fixture(params=SHELLS)
def script(request: pytest.FixtureRequest, tmp_path: Path) -> Script:
    return Script(tmp_path, request.param)


@pytest.fixture(scope="module")
def dash(tmp_path_factory: pytest.TempPathFactory) -> Script:
    return Script(tmp_path_factory.mktemp("dash"))


def row(sent: Sent) -> Message:
    """What the flow makes of it."""
    message = normalize(JetStreamMessage(sent.subject, sent.raw, f"$JS.ACK.s.c.1.1.1.{time.time_ns()}.0"), 1_000_000)
    assert isinstance(message, Message)
    return message


def test_dash_is_among_the_shells() -> None:
    assert "dash" in SHELLS


def test_a_message_is_of_the_schema_and_on_its_subject(script: Script) -> None:
    sent = script.send(
        'I\'ll read "the" tests\n\tfirst: ä ✓ 😀 \\n', WORKFLOW_NAME="build.1 ä", RUN_ID="r", WORKFLOW_STAGE="s"
    )
    Draft202012Validator(schema()).validate(sent.payload)
    assert sent.subject == "workflow.agents.build%2E1%20%C3%A4.build%2E1%20%C3%A4.agent.agent.message"
    assert sent.payload["content"] == 'I\'ll read "the" tests\n\tfirst: ä ✓ 😀 \\n'
    assert (sent.payload["run_id"], sent.payload["stage"], sent.payload["role"]) == ("r", "s", "assistant")
    message = row(sent)
    assert (message.content, message.workflow_name, message.agent_id) == (
        sent.payload["content"],
        "build.1 ä",
        "agent",
    )
    assert "claimed" not in message.attrs
    assert "timestamp_given" not in message.attrs


def test_options_say_the_rest(script: Script) -> None:
    tool = {"name": "shell", "input": {"command": "echo {{ID}} {{{"}}
    sent = script.send(
        *("--kind", "tool_call", "--agent", "re viewer", "--message-id", "m 1", "--tool-json", json.dumps(tool)),
        *("--attrs-json", '{"branch":"main"}', "--", "-x"),
    )
    assert sent.subject == "workflow.agents.run-1.run-1.agent.re%20viewer.tool_call"
    assert (sent.payload["role"], sent.payload["content"]) == ("tool", "-x")
    assert (sent.payload["tool"], sent.payload["attrs"]) == (tool, {"branch": "main"})
    assert sent.payload["message_id"] == "m 1"


def test_what_the_cli_would_take_for_a_template_is_none(script: Script) -> None:
    sent = script.send("{{ID}} {{{")
    assert sent.payload["content"] == "{{ID}} {{{"
    assert b"{{" not in sent.raw


def test_the_general_channel_and_the_adapters_prefix(script: Script) -> None:
    sent = script.send("--general", "--kind", "status", "x", NATS_SUBJECT_PREFIX="argo.workflow", AGENT_RUNTIME="argo")
    assert sent.subject == "argo.workflow.general.status"
    assert (sent.payload["channel"], sent.payload["role"], sent.payload["runtime"]) == ("general", "system", "argo")


def test_the_stream_has_to_answer_and_every_header_is_another(script: Script) -> None:
    first, second = (script.send("x") for _ in range(2))
    assert first.arguments[0] == "pub"
    assert {"--jetstream", "--force-stdin"} <= set(first.arguments)
    headers = {sent.arguments[sent.arguments.index("--header") + 1] for sent in (first, second)}
    assert all(re.fullmatch("Nats-Msg-Id:[0-9a-f]{32}", header) for header in headers)
    assert len(headers) == 2
    assert first.payload["message_id"] != second.payload["message_id"]


def test_credentials_are_named_and_never_shown(script: Script, tmp_path: Path) -> None:
    sent = script.send(
        "x",
        NATS_CREDS="-----BEGIN NATS USER JWT-----",
        NATS_CA_FILE="/ca",
        NATS_INBOX_PREFIX="_INBOX_agents",
        NATS_PASSWORD="hunter2",
        NATS_URL="nats://me:hunter2@nats",
    )
    options = dict(zip(sent.arguments[::2], sent.arguments[1::2], strict=False))
    assert (options["--tlsca"], options["--inbox-prefix"]) == ("/ca", "_INBOX_agents")
    assert (tmp_path / "creds").read_text() == "-----BEGIN NATS USER JWT-----\n"
    assert not Path(options["--creds"]).exists()
    assert "hunter2" not in " ".join(sent.arguments)
    environment = (tmp_path / "environment").read_text()
    assert "NATS_CREDS=" not in environment
    assert "NATS_PASSWORD=hunter2" in environment


@pytest.mark.parametrize(
    ("arguments", "environ", "words"),
    [
        (["x"], {"WORKFLOW_NAME": ""}, "WORKFLOW_UID or WORKFLOW_NAME"),
        (["x"], {"WORKFLOW_NAMESPACE": "general"}, "WORKFLOW_NAMESPACE: general is the shared room's name"),
        (["x", "y"], {}, "it takes one TEXT"),
        (["--colour", "x"], {}, "--colour: there is no such option"),
        (["--kind"], {}, "--kind: it takes a value"),
        (["--agent", "person", "x"], {}, "--agent: person is kept"),
        (["--role", "boss", "x"], {}, "--role: it takes system, user, assistant or tool"),
        (["--tool-json", "[1]", "x"], {}, "--tool-json: it takes a JSON object"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    dash: Script, arguments: list[str], environ: dict[str, Any], words: str
) -> None:
    done = dash.run(*arguments, **environ)
    assert done.returncode == 2
    assert re.fullmatch(rf"publish\.sh: .*{re.escape(words)}.*\n", done.stderr.decode())


def test_it_fails_as_the_cli_does(dash: Script) -> None:
    assert dash.run("x", STAND_IN_CODE="1").returncode == 1


def test_its_help_names_every_option(dash: Script) -> None:
    done = dash.run("--help")
    assert done.returncode == 0
    options = set(re.findall(r"^        (--[a-z-]+)", SCRIPT.read_text(), re.MULTILINE))
    assert options
    assert all(option in done.stdout.decode() for option in options)


@settings(max_examples=15)
@given(content=st.binary(min_size=1, max_size=60))
def test_whatever_bytes_come_on_stdin_they_are_the_content(dash: Script, content: bytes) -> None:
    sent = dash.send(stdin=content)
    assert sent.payload["content"] == content.decode("utf-8", "replace")
    assert sent.raw.isascii()
    assert b"{{" not in sent.raw


@settings(max_examples=10)
@given(name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20))
def test_whatever_a_workflow_is_called_its_subject_says_so(dash: Script, name: str) -> None:
    said = parse(dash.send("x", WORKFLOW_NAME=name).subject)
    assert said is not None
    assert (said.name, said.uid) == (name, name)
