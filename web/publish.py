"""The command `agent-comms publish`: an agent speaks."""

from __future__ import annotations

import os
import queue
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from web.failure import IN_PART, WRONG, Failure, say, tell

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from connectors.puback import PubAck
    from connectors.publisher import Publisher
    from flows.payload import Outgoing, Speaker
    from flows.settings import Settings
    from flows.spelling import Claim

FOLLOWED = click.Path(path_type=Path, dir_okay=False, allow_dash=True)
STDIN = Path("-")
# Stands for an option that was given without its value, which no kind can be.
WITHOUT_KIND = " "


def _object(_context: click.Context, _parameter: click.Parameter, text: str | None) -> dict[str, Any] | None:
    import msgspec

    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        message = f"it takes a JSON object: {error}"
        raise click.BadParameter(message) from error


def pairs(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Read an option's NAME=VALUE, given any number of times."""
    for text in texts:
        if not text.partition("=")[0] or "=" not in text:
            message = f"it takes NAME=VALUE, but got {text!r}"
            raise click.BadParameter(message)
    return dict(text.split("=", 1) for text in texts)


_SPEAKING = (
    click.option("--agent", help="Who speaks; by default AGENT_ID."),
    click.option("--namespace", help="By default WORKFLOW_NAMESPACE."),
    click.option("--name", help="The workflow's name; by default WORKFLOW_NAME."),
    click.option("--uid", help="The workflow's uid; by default WORKFLOW_UID, or the name."),
    click.option("--run-id", help="By default RUN_ID."),
    click.option("--step", help="By default WORKFLOW_STEP."),
    click.option("--stage", help="By default WORKFLOW_STAGE."),
)


def speaking(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say who speaks."""
    for option in reversed(_SPEAKING):
        command = option(command)
    return command


@click.command(short_help="Publish a message, or follow what an agent writes.")
@click.argument("text", required=False)
@click.option(
    "--codex-events",
    "events",
    multiple=True,
    type=FOLLOWED,
    metavar="FILE",
    help="Follow the output of `codex exec --json`; - is stdin. Can be repeated.",
)
@click.option(
    "--log-file",
    "logs",
    multiple=True,
    type=FOLLOWED,
    metavar="FILE",
    help="Follow a log, each line a message; - is stdin. Can be repeated.",
)
@click.option(
    "--stdin", "from_stdin", is_flag=True, help="The message is what comes on stdin; beside a file, each of its lines."
)
@click.option("--json-lines", is_flag=True, help="Each line on stdin is a payload; what it lacks is filled in.")
@click.option(
    "--general",
    "general_kinds",
    multiple=True,
    is_flag=False,
    flag_value=WITHOUT_KIND,
    metavar="[KIND]",
    help="Speak in the general channel instead of the run's. Following: say a KIND in both. Can be repeated.",
)
@click.option("--kind", help="message (the default), tool_call, tool_result, status, error, or any other.")
@click.option("--role", type=click.Choice(["system", "user", "assistant", "tool"]), help="By default the kind decides.")
@click.option("--tool-json", callback=_object, help="{name, input, output, status, exit_code, duration_ms}")
@click.option("--attr", "attrs", multiple=True, metavar="NAME=VALUE", callback=pairs, help="Can be repeated.")
@click.option("--message-id", help="The message's identity; by default a new one.")
@speaking
@click.option(
    "--until-exit", type=click.IntRange(1, 2**31 - 1), metavar="PID", help="Follow until this process has ended."
)
@click.option(
    "--until-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Follow until this file is there; it may hold the exit code, and tells of a good end without one.",
)
@click.option(
    "--exit-code-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where the agent's exit code is written at its end; it ends nothing by itself.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0, 3600),
    default=10.0,
    show_default=True,
    help="How long the last lines are tried at the end, in seconds.",
)
@click.option("--strict", is_flag=True, help="Exit with 4 where a followed line was not published.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 300),
    default=30.0,
    show_default=True,
    help="How long a message is tried, in seconds.",
)
def publish(
    text: str | None,
    *,
    events: tuple[Path, ...],
    logs: tuple[Path, ...],
    general_kinds: tuple[str, ...],
    timeout: float,
    **said: Any,
) -> None:
    """Publish TEXT, or what comes on stdin, and wait until the stream has stored it.

    Without TEXT, what a pipe or a file brings on stdin is the message, all of it; with -
    whatever stdin is. A status, or a tool's call or result with --tool-json, needs no
    content: for these an open stdin is waited for a second, and read once something comes.

    Prints the stored message's place in the stream and its id. Exit codes: 0 stored,
    1 refused, 2 a wrong setting, option or message, 3 NATS can't be reached,
    4 some of the lines are wrong and the others stored.

    With --codex-events or --log-file it follows these files, whatever happens to them,
    until the run is over: each line is published as it is written, and how the run has
    begun and ended is said in the general channel too, as are its errors. An exit code
    tells how it ended, or Codex's last turn; where neither does, it is unknown. What NATS
    does not take is kept for later. Exit code 0, whatever NATS does, unless --strict.
    """
    from flows.settings import Settings

    reads_stdin = text == "-" or said["from_stdin"] or said["json_lines"] or STDIN in {*events, *logs}
    if sys.stdin is None and reads_stdin:
        message = "stdin is closed"
        raise Failure(message, WRONG)
    if events or logs:
        _refuse(text is not None or said["json_lines"], "TEXT and --json-lines go with no followed file")
        _refuse(WITHOUT_KIND in general_kinds, "--general takes a KIND with a followed file")
        _follow(overridden(Settings.from_env(), said), events, logs, frozenset(general_kinds), said)
        return
    if general_kinds and text is None and not said["from_stdin"] and not said["json_lines"]:
        # `--general TEXT`: the option has taken what was meant for the argument.
        taken = [kind for kind in general_kinds if kind != WITHOUT_KIND]
        text, general_kinds = taken[-1] if taken else None, (WITHOUT_KIND,)
    _refuse(any(kind != WITHOUT_KIND for kind in general_kinds), "--general takes a KIND only with a followed file")
    _refuse(
        sum((text is not None, said["from_stdin"], said["json_lines"])) > 1,
        "TEXT, --stdin and --json-lines exclude each other",
    )
    _refuse(
        bool(said["json_lines"] and said["message_id"]), "--message-id is one message's, and --json-lines reads many"
    )
    _publish(overridden(Settings.from_env(), said), text, said, general=bool(general_kinds), timeout=timeout)


def _refuse(wrong: bool, message: str) -> None:
    if wrong:
        raise click.UsageError(message)


def _publish(settings: Settings, text: str | None, said: dict[str, Any], *, general: bool, timeout: float) -> None:
    from connectors.publisher import Publisher
    from flows.nats import nats_options
    from flows.payload import Speaker
    from flows.spelling import Claim
    from flows.tracing import Tracing
    from web import stdin

    speaker = Speaker.of(settings)
    defaults = Claim(
        message_id=said["message_id"], kind=said["kind"], tool=said["tool_json"], attrs=said["attrs"] or None
    )
    tracing = Tracing.of("agent-comms-publish")
    depart = tracing.depart if tracing else None
    options = nats_options(settings, "agent-comms-publish")
    max_bytes = settings.agent_comms_max_message_bytes
    try:
        with Publisher(options, patience=timeout, depart=depart) as publisher:
            if said["json_lines"]:
                _publish_lines(publisher, speaker, defaults, max_bytes, general=general)
            else:
                defaults.content = stdin.text() if said["from_stdin"] else _words(text, defaults)
                _publish_one(publisher, speaker, defaults, max_bytes, general=general)
    finally:
        if tracing:
            tracing.close()


def _follow(
    settings: Settings,
    events: tuple[Path, ...],
    logs: tuple[Path, ...],
    general: frozenset[str],
    said: dict[str, Any],
) -> None:
    from connectors.pipe import PipeReader
    from web.follow import Station, report_on
    from web.until import Until

    stdin = [*events, *logs].count(STDIN) + said["from_stdin"]
    _refuse(stdin > 1, "stdin can be read once")
    _refuse(bool(said["message_id"] or said["tool_json"]), "--message-id and --tool-json are one message's")
    station = Station.of(
        settings, "agent-comms-publish", general=general, log_kind=said["kind"] or "message", attrs=said["attrs"]
    )
    until = Until(said["until_exit"], said["until_file"], said["exit_code_file"])
    until.listen(station.wake)
    for path in events:
        if path != STDIN:
            station.sidecar.follow(path, "codex-events")
    for path in logs:
        if path != STDIN:
            station.sidecar.follow(path, "log")
    if stdin:
        pipe = PipeReader(os.dup(sys.stdin.fileno()), station.wake)
        station.sidecar.listen(pipe, "codex-events" if STDIN in events else "log", "stdin")
        pipe.start()
    station.sidecar.started()
    report = station.run(until, said["grace"])
    for line in until.doubts():
        say(line)
    click.get_current_context().exit(report_on(report, station.post.desk, strict=said["strict"]))


def overridden(settings: Settings, said: dict[str, Any]) -> Settings:
    """Return the settings as the options change them."""
    import msgspec

    flags = {
        "agent_id": said["agent"],
        "agent_role": said.get("role"),
        "workflow_namespace": said["namespace"],
        "run_id": said["run_id"],
        "workflow_step": said["step"],
        "workflow_stage": said["stage"],
    }
    changes = {field: value for field, value in flags.items() if value}
    if said["name"] or said["uid"]:
        # Another workflow: nothing of the environment's own is mixed into it.
        changes = {"run_id": None, **changes, "workflow_name": said["name"], "workflow_uid": said["uid"]}
    return msgspec.structs.replace(settings, **changes)


def _words(text: str | None, said: Claim) -> str | None:
    """Return what is said: TEXT, or what comes on stdin; None where neither says anything."""
    from flows.payload import needs_content
    from web import stdin

    if text == "-":
        return stdin.text()
    if text is not None or not stdin.is_fed():
        return text
    return (stdin.text() if needs_content(said) else stdin.text_at_hand()) or None


def _publish_one(publisher: Publisher, speaker: Speaker, said: Claim, max_bytes: int, *, general: bool) -> None:
    from connectors.puback import TooLarge
    from flows.payload import compose, shrink

    message = compose(speaker, said, general=general)
    payload = _cut_to(message.payload, max_bytes)
    try:
        ack = publisher.publish(message.subject, payload, message_id=message.message_id)
    except TooLarge as error:
        cut = shrink(payload, publisher.max_payload)
        if cut is None:
            raise
        ack = publisher.publish(message.subject, cut, message_id=message.message_id)
        say(f"{error}; it was cut to {len(cut):,}")
    tell(_stored(ack, message))


def _cut_to(payload: bytes, max_bytes: int, which: str = "the message") -> bytes:
    """Return a payload that becomes a row: whole it would be a dead letter, and cut it says most of what it has to."""
    from flows.payload import shrink

    if len(payload) <= max_bytes:
        return payload
    cut = shrink(payload, max_bytes)
    if cut is None:
        return payload
    allowed = f"AGENT_COMMS_MAX_MESSAGE_BYTES allows {max_bytes:,}"
    say(f"{which} has {len(payload):,} bytes; {allowed}; it was cut to {len(cut):,}")
    return cut


def _stored(ack: PubAck, message: Outgoing) -> str:
    return f"seq={ack.seq} message_id={message.message_id}{' duplicate=true' if ack.duplicate else ''}"


class _Report(threading.Thread):
    """Says of each line, in order, what came of it, while the next ones are read."""

    def __init__(self) -> None:
        super().__init__(name="report", daemon=True)
        self._entries: queue.Queue[tuple[int, Outgoing, Future[PubAck]] | None] = queue.Queue(maxsize=2000)
        self._stored = 0
        self._failed = 0

    def add(self, number: int, message: Outgoing, future: Future[PubAck]) -> None:
        """Take a line that was sent."""
        self._entries.put((number, message, future))

    def refuse(self, number: int, reason: str) -> None:
        """Say that a line is not sent."""
        self._failed += 1
        say(f"line {number}: {reason}")

    def run(self) -> None:
        from connectors.puback import PublishError

        while entry := self._entries.get():
            number, message, future = entry
            try:
                ack = future.result()
            except PublishError as error:
                self.refuse(number, str(error))
            else:
                self._stored += 1
                tell(_stored(ack, message))

    def end(self) -> None:
        """Wait for what is under way, and fail where a line did."""
        self._entries.put(None)
        self.join()
        if self._failed:
            text = f"{self._failed} of {self._failed + self._stored} lines were not stored"
            raise Failure(text, IN_PART)


def _publish_lines(publisher: Publisher, speaker: Speaker, defaults: Claim, max_bytes: int, *, general: bool) -> None:
    from flows.payload import PayloadError, compose, read_line

    report = _Report()
    report.start()
    lines: BinaryIO = sys.stdin.buffer
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            message = compose(speaker, _filled(read_line(line), defaults), general=general)
        except PayloadError as error:
            report.refuse(number, str(error))
            continue
        payload = _cut_to(message.payload, max_bytes, f"line {number}")
        future = publisher.publish_soon(message.subject, payload, message_id=message.message_id)
        report.add(number, message, future)
    report.end()


def _filled(said: Claim, defaults: Claim) -> Claim:
    said.kind = said.kind or defaults.kind
    said.tool = said.tool or defaults.tool
    if defaults.attrs:
        said.attrs = {**defaults.attrs, **(said.attrs or {})}
    return said
