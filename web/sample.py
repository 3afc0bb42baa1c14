"""The sample: two tasks, each told by three agents at a human pace, again and again.

The stories lie in `stories/`, and are published as every other message is. Where
each one stands is kept in a file, so that a restart goes on with the same runs.
"""

import random
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self

import msgspec
import yaml
from msgspec import Struct

from connectors.puback import PublishError
from connectors.publisher import Publisher
from flows.message import CHANNEL_GENERAL
from flows.payload import Speaker, compose
from flows.spelling import Claim

STORIES = Path(__file__).with_name("stories")
NAMESPACE = "agents"
# How long each story has been going on when the sample begins: one is in its midst, one is over and begins anew.
HEAD_STARTS = (timedelta(seconds=95), timedelta(minutes=24))
PAUSE = timedelta(seconds=45)
RETRY_S = 1.0
TICK_S = 0.1
# As Kubernetes names what it generates.
SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
ESCAPE_SIGN = "␛"


class Entry(Struct, forbid_unknown_fields=True):
    """One thing of a story: words in one of six ways, or a tool that is used.

    Attributes:
        after: seconds since the entry before.
        say: Markdown; `think` likewise, `todo` as a list of tasks, `general` into the shared room.
        takes: seconds between a tool's call and its result.
    """

    agent: Literal["planner", "executor", "reviewer"]
    after: float
    say: str | None = None
    think: str | None = None
    todo: str | None = None
    general: str | None = None
    status: str | None = None
    error: str | None = None
    tool: str | None = None
    input: dict[str, Any] | None = None
    output: str | dict[str, Any] | None = None
    takes: float = 0.0
    exit_code: int | None = None


class Line(Struct):
    """A message of a story: who says what, and how long after its beginning."""

    agent: str
    at: timedelta
    claim: Claim


class Story(Struct):
    """A task as its agents tell it."""

    name: str
    lines: list[Line]

    @property
    def length(self) -> timedelta:
        """From the first word to the last."""
        return self.lines[-1].at


class _Written(Struct, forbid_unknown_fields=True):
    """A story as its file holds it."""

    name: str
    attrs: dict[str, Any]
    messages: list[Entry]


def read_stories(folder: Path = STORIES) -> list[Story]:
    """Return the stories of a folder, in the order of their files' names."""
    return [_read_story(path) for path in sorted(folder.glob("*.yaml"))]


def _read_story(path: Path) -> Story:
    loaded = yaml.safe_load(path.read_text(encoding="utf-8").replace(ESCAPE_SIGN, r"\x1b"))
    written = msgspec.convert(_with_escapes(loaded), _Written)
    lines: list[Line] = []
    at = timedelta(0)
    for number, entry in enumerate(written.messages):
        at += timedelta(seconds=entry.after)
        for wait, claim in _claims(entry, written.attrs, item=f"item_{number}"):
            at += timedelta(seconds=wait)
            lines.append(Line(entry.agent, at, claim))
    return Story(written.name, lines)


def _with_escapes(value: Any) -> Any:
    """Put terminals' escape character where YAML could not hold it."""
    if isinstance(value, str):
        return value.replace(r"\x1b", "\x1b")
    if isinstance(value, list):
        return [_with_escapes(part) for part in value]
    if isinstance(value, dict):
        return {name: _with_escapes(part) for name, part in value.items()}
    return value


def _claims(entry: Entry, attrs: dict[str, Any], item: str) -> Iterator[tuple[float, Claim]]:
    """Yield what an entry says, each with the seconds since what it said before."""
    if entry.tool is not None:
        yield from _tool_claims(entry, {**attrs, "item_id": item})
    elif entry.general is not None:
        yield 0, Claim(kind="message", content=entry.general, channel=CHANNEL_GENERAL, attrs=attrs)
    elif entry.think is not None:
        yield 0, Claim(kind="message", content=entry.think, attrs={**attrs, "item_type": "reasoning"})
    elif entry.todo is not None:
        yield 0, Claim(kind="status", role="assistant", content=entry.todo, attrs={**attrs, "item_type": "todo_list"})
    elif entry.status is not None:
        yield 0, Claim(kind="status", content=entry.status, attrs=attrs)
    elif entry.error is not None:
        yield 0, Claim(kind="error", content=entry.error, attrs=attrs)
    else:
        yield 0, Claim(kind="message", content=entry.say, attrs=attrs)


def _tool_claims(entry: Entry, attrs: dict[str, Any]) -> Iterator[tuple[float, Claim]]:
    call = {"name": entry.tool, "input": entry.input}
    yield 0, Claim(kind="tool_call", content=_asked(entry), tool={**call, "status": "in_progress"}, attrs=attrs)
    result: dict[str, Any] = {
        **call,
        "output": entry.output,
        "status": "failed" if entry.exit_code else "completed",
        "duration_ms": round(entry.takes * 1000),
    }
    if entry.exit_code is not None:
        result["exit_code"] = entry.exit_code
    yield entry.takes, Claim(kind="tool_result", tool=result, attrs=attrs)


def _asked(entry: Entry) -> str | None:
    """Say on one line what a tool is asked, where that is a text."""
    asked = entry.input or {}
    if "command" in asked:
        return f"$ {asked['command']}"
    if "changes" in asked:
        return "edit " + ", ".join(change["path"] for change in asked["changes"])
    return asked.get("query")


class Run(Struct):
    """A story that is being told.

    Attributes:
        began_at: when its first word was said, or would have been, had it never been interrupted.
        place: how many of its lines have been published.
    """

    story: str
    name: str
    uid: str
    began_at: datetime
    place: int = 0

    @classmethod
    def of(cls, story: Story, began_at: datetime) -> Self:
        """Return a new run, named as Kubernetes would."""
        suffix = "".join(random.choices(SUFFIX_LETTERS, k=5))  # noqa: S311  # a name, no secret
        return cls(story.name, f"{story.name}-{suffix}", str(uuid.uuid4()), began_at)


class Sample:
    """The stories, and where each one stands.

    Args:
        publisher: connected.
        prefix: first tokens of the subjects.
        stories: each is told by one run at a time.
        memory: a file that remembers the runs.
    """

    def __init__(self, publisher: Publisher, prefix: str, stories: list[Story], memory: Path | None) -> None:
        self._publisher = publisher
        self._prefix = prefix
        self._stories = {story.name: story for story in stories}
        self._memory = memory
        self._runs = self._remembered() or self._begun()

    def _begun(self) -> list[Run]:
        now = datetime.now(UTC)
        starts = (HEAD_STARTS[number % len(HEAD_STARTS)] for number in range(len(self._stories)))
        return [Run.of(story, now - start) for story, start in zip(self._stories.values(), starts, strict=True)]

    def _remembered(self) -> list[Run]:
        if self._memory is None or not self._memory.exists():
            return []
        try:
            runs = msgspec.json.decode(self._memory.read_bytes(), type=list[Run])
        except msgspec.MsgspecError:
            return []
        if [run.story for run in runs] != list(self._stories):
            return []
        for run in runs:
            self._resume(run)
        return runs

    def _resume(self, run: Run) -> None:
        """Go on with the next line now, and not with all that would have been said meanwhile."""
        story = self._stories[run.story]
        if run.place < len(story.lines):
            run.began_at = max(run.began_at, datetime.now(UTC) - story.lines[run.place].at)

    def _remember(self) -> None:
        if self._memory is None:
            return
        unfinished = self._memory.with_suffix(".unfinished")
        unfinished.write_bytes(msgspec.json.encode(self._runs))
        unfinished.replace(self._memory)

    def play(self, stop: Callable[[], bool]) -> None:
        """Say each line when it is due, until asked to stop."""
        while not stop():
            for place, run in enumerate(self._runs):
                self._tell(run, stop)
                self._runs[place] = self._next(run)
            time.sleep(TICK_S)

    def _tell(self, run: Run, stop: Callable[[], bool]) -> None:
        """Say what is due."""
        lines = self._stories[run.story].lines
        while run.place < len(lines) and run.began_at + lines[run.place].at <= datetime.now(UTC) and not stop():
            self._say(run, lines[run.place], stop)
            run.place += 1
            self._remember()

    def _say(self, run: Run, line: Line, stop: Callable[[], bool]) -> None:
        speaker = Speaker(self._prefix, NAMESPACE, run.name, run.uid, line.agent)
        claim = msgspec.structs.replace(
            line.claim,
            timestamp=(run.began_at + line.at).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            # The same once more after a restart: what was said before we noted it is one row all the same.
            message_id=f"{run.uid}-{run.place}",
        )
        message = compose(speaker, claim)
        while not stop():
            try:
                self._publisher.publish(message.subject, message.payload, message_id=message.message_id)
            except PublishError:
                # NATS is away, or the stream full: it is the same in a moment.
                time.sleep(RETRY_S)
            else:
                return

    def _next(self, run: Run) -> Run:
        """Return the run itself or, some time after its end, a new one of the same story."""
        story = self._stories[run.story]
        over = run.began_at + story.length + PAUSE
        now = datetime.now(UTC)
        return run if run.place < len(story.lines) or over > now else Run.of(story, now)


def play(publisher: Publisher, prefix: str, memory: Path | None, stop: Callable[[], bool]) -> None:
    """Tell the stories until asked to stop.

    Args:
        publisher: connected.
        prefix: first tokens of the subjects.
        memory: a file that remembers where the stories stand.
        stop: asked between any two messages.
    """
    Sample(publisher, prefix, read_stories(), memory).play(stop)
