"""What a run has changed: its files, and each change to them, where its events carry it."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from msgspec import Struct
from psycopg import Connection

from flows.message import Event
from web import diff, tool
from web.queries import RunRow, read_events

MOST_EVENTS = 1_000
# Of a change more lines are not shown here, but with its message.
MOST_LINES = 400
_KINDS = {"add": "added", "create": "added", "delete": "deleted", "remove": "deleted", "update": "changed"}
# What a tool is called that changes files, as in the query `run_changes`.
_CHANGES_FILES = re.compile(r"patch|edit|write(?!_stdin)|file_?change", re.IGNORECASE)
# What prints how files differ from what they were. Whatever else prints a diff may print that of any file.
_PRINTS_CHANGES = re.compile(r"\bgit\b[^\n|;&]*\b(?:diff|show)\b")


class Change(Struct, frozen=True):
    """One change to one file.

    Attributes:
        how: `added`, `deleted` or `changed`.
        html: the change as lines of a diff; empty where its event doesn't carry it.
        cut: lines that are left out.
    """

    event: Event
    how: str
    html: str
    added: int
    removed: int
    cut: int

    @property
    def is_carried(self) -> bool:
        """Whether its event says what was changed."""
        return bool(self.html) and (self.how != "deleted" or self.removed > 0)


class File(Struct):
    """A file that was changed, and its changes in the order in which they were made.

    Attributes:
        printed: all that had been changed, as it was printed last; None where nobody has asked.
        after: how many changes were made until then.
    """

    path: str
    changes: list[Change]
    printed: Change | None = None
    after: int = 0

    @property
    def counted(self) -> list[Change]:
        """What its lines are counted by: each change by itself, or what was printed and the changes since."""
        if self.printed is None or all(change.is_carried for change in self.changes):
            return self.changes
        return [self.printed, *self.changes[self.after :]]

    @property
    def added(self) -> int:
        """Lines that were added."""
        return sum(change.added for change in self.counted)

    @property
    def removed(self) -> int:
        """Lines that were taken away."""
        return sum(change.removed for change in self.counted)

    @property
    def is_partial(self) -> bool:
        """Whether more lines may have been changed than are counted."""
        return not all(change.is_carried for change in self.counted)

    @property
    def how(self) -> str:
        """What became of it in the end."""
        return self.changes[-1].how

    @property
    def last_at(self) -> datetime:
        """When it was changed last."""
        return self.changes[-1].event.timestamp

    @property
    def shown(self) -> list[Change]:
        """What is shown of it."""
        return self.changes if self.counted is self.changes or not self.printed else [*self.changes, self.printed]


class Changes(Struct, frozen=True):
    """What a run has changed.

    Attributes:
        files: in the order of their first change.
        bounded: whether there may be more.
    """

    files: list[File]
    bounded: bool

    @property
    def size(self) -> int:
        """About so many characters are in it."""
        return sum(len(change.html) + len(change.event.content) for file in self.files for change in file.shown)

    @property
    def added(self) -> int:
        """Lines that were added."""
        return sum(file.added for file in self.files)

    @property
    def removed(self) -> int:
        """Lines that were taken away."""
        return sum(file.removed for file in self.files)

    @property
    def is_partial(self) -> bool:
        """Whether more lines may have been changed than are counted."""
        return self.bounded or any(file.is_partial for file in self.files)


def changes_of(connection: Connection, run: RunRow) -> Changes:
    """Read what a run has changed."""
    namespace, uid = run.key
    events, bounded = read_events(connection, "run_changes", MOST_EVENTS, {"namespace": namespace, "uid": uid})
    return Changes(files_of(events), bounded)


def files_of(events: list[Event]) -> list[File]:
    """Return the files that some results of tools have changed; what is printed of others changes none."""
    files: dict[str, File] = {}
    for event in events:
        if tool.is_wrong(event):
            # What failed has changed nothing.
            continue
        if _changes_files(event):
            for path, how, text in _changes(event):
                changed = _find(files, path) or files.setdefault(path, File(path, []))
                changed.changes.append(_change(event, how, text))
        elif _prints_changes(event):
            for path, how, text in _printed(event):
                if file := _find(files, path):
                    file.printed, file.after = _change(event, how, text), len(file.changes)
    return [*files.values()]


def _changes_files(event: Event) -> bool:
    about = tool.asked_of(event)
    source = about.get("input")
    return (isinstance(source, dict) and "changes" in source) or bool(_CHANGES_FILES.search(str(about.get("name"))))


def _prints_changes(event: Event) -> bool:
    asked = tool.asked_of(event).get("input")
    return not asked or bool(_PRINTS_CHANGES.search(asked if isinstance(asked, str) else tool.read(event).asked))


def _find(files: dict[str, File], path: str) -> File | None:
    """Return a file by its path; where one is told in full and the other is not, by the end that they share."""
    path = path.removeprefix("./")
    if path in files:
        return files[path]
    whole = path.startswith("/")
    fitting = [
        file
        for name, file in files.items()
        if name.startswith("/") is not whole and (_is_end(name, path) if whole else _is_end(path, name))
    ]
    # Of several nobody knows which one it is.
    return fitting[0] if len(fitting) == 1 else None


def _change(event: Event, how: str, text: str) -> Change:
    rows = text.split("\n")
    read = diff.parse("\n".join(rows[:MOST_LINES])) if text else diff.Diff("", 0, 0, 0)
    whole = diff.parse(text) if len(rows) > MOST_LINES else read
    return Change(event, how, read.html, whole.added, whole.removed, max(0, len(rows) - MOST_LINES))


def _changes(event: Event) -> Iterator[tuple[str, str, str]]:
    """Yield the path, the kind and the diff, if any, of each file that an event changes."""
    source = tool.asked_of(event).get("input")
    for text in _texts(source):
        if isinstance(text, str) and diff.looks_like(text) and (sections := diff.sections(text)):
            yield from sections
            return
    # Such a tool may answer with what it has changed.
    answered = {path: (path, how, text) for path, how, text in _printed(event)}
    named = [*_named(source)]
    if not named:
        yield from answered.values()
        return
    for path, how, text in named:
        yield path, how, text or _answer(answered, path)


def _answer(answered: dict[str, tuple[str, str, str]], path: str) -> str:
    fitting = [text for name, _, text in answered.values() if _is_end(name, path) or _is_end(path, name)]
    return fitting[0] if len(fitting) == 1 else ""


def _is_end(path: str, whole: str) -> bool:
    """Whether one path is the end of another."""
    return f"/{whole.removeprefix('./')}".endswith(f"/{path.removeprefix('./')}")


def _printed(event: Event) -> list[tuple[str, str, str]]:
    """Return the files of a diff that an event prints."""
    for text in (tool.asked_of(event).get("output"), event.content):
        if isinstance(text, str) and diff.looks_like(text) and (sections := diff.sections(text)):
            return sections
    return []


def _named(source: Any) -> Iterator[tuple[str, str, str]]:
    """Yield the files that a tool was told to change."""
    if not isinstance(source, dict):
        return
    changes = source.get("changes")
    if isinstance(changes, dict):
        changes = [{"path": path, **_flat(change)} for path, change in changes.items()]
    for change in changes if isinstance(changes, list) else ():
        if isinstance(change, dict) and isinstance(change.get("path"), str):
            how = _KINDS.get(str(change.get("kind") or change.get("type") or "").lower(), "changed")
            text = next((change[key] for key in ("diff", "unified_diff") if isinstance(change.get(key), str)), "")
            yield change["path"], how, _as_diff(text.strip("\n"), how)
    if not changes:
        path = next((source[key] for key in ("file_path", "path") if isinstance(source.get(key), str)), None)
        if path:
            yield path, "changed", ""


def _as_diff(text: str, how: str) -> str:
    """Return the text of a file that was added or deleted as the diff that it stands for."""
    sign = {"added": "+", "deleted": "-"}.get(how)
    if not text or sign is None or diff.looks_like(text):
        return text
    return "\n".join(sign + line for line in text.split("\n"))


def _flat(change: Any) -> dict[str, Any]:
    """Return `{"update": {"unified_diff": …}}` as `{"kind": "update", "unified_diff": …}`."""
    if isinstance(change, dict) and len(change) == 1:
        ((kind, inner),) = change.items()
        if isinstance(inner, dict):
            return {"kind": kind, **inner}
    return change if isinstance(change, dict) else {}


def _texts(source: Any) -> Iterator[Any]:
    if isinstance(source, str):
        yield source
    elif isinstance(source, dict):
        yield from (source[key] for key in ("patch", "diff", "input") if key in source)
