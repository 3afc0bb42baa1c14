"""What a run has changed: its files, and each change to them, where its events carry it."""

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


class File(Struct):
    """A file that was changed, and its changes in the order in which they were made."""

    path: str
    changes: list[Change]

    @property
    def added(self) -> int:
        """Lines that were added, counting each change by itself."""
        return sum(change.added for change in self.changes)

    @property
    def removed(self) -> int:
        """Lines that were taken away."""
        return sum(change.removed for change in self.changes)

    @property
    def how(self) -> str:
        """What became of it in the end."""
        return self.changes[-1].how

    @property
    def last_at(self) -> datetime:
        """When it was changed last."""
        return self.changes[-1].event.timestamp


class Changes(Struct, frozen=True):
    """What a run has changed.

    Attributes:
        files: in the order of their first change.
        bounded: whether there may be more.
    """

    files: list[File]
    bounded: bool

    @property
    def added(self) -> int:
        """Lines that were added."""
        return sum(file.added for file in self.files)

    @property
    def removed(self) -> int:
        """Lines that were taken away."""
        return sum(file.removed for file in self.files)


def changes_of(connection: Connection, run: RunRow) -> Changes:
    """Read what a run has changed."""
    namespace, uid = run.key
    events, bounded = read_events(connection, "run_changes", MOST_EVENTS, {"namespace": namespace, "uid": uid})
    return Changes(files_of(events), bounded)


def files_of(events: list[Event]) -> list[File]:
    """Return the files that some results of tools have changed."""
    files: dict[str, File] = {}
    for event in events:
        if tool.is_wrong(event):
            # What failed has changed nothing.
            continue
        for path, how, text in _changes(event):
            rows = text.split("\n")
            read = diff.parse("\n".join(rows[:MOST_LINES])) if text else diff.Diff("", 0, 0, 0)
            whole = diff.parse(text) if len(rows) > MOST_LINES else read
            change = Change(event, how, read.html, whole.added, whole.removed, max(0, len(rows) - MOST_LINES))
            files.setdefault(path, File(path, [])).changes.append(change)
    return [*files.values()]


def _changes(event: Event) -> Iterator[tuple[str, str, str]]:
    """Yield the path, the kind and the diff, if any, of each file that an event changes."""
    said = tool.asked_of(event)
    for text in (said.get("output"), event.content, *_texts(said.get("input"))):
        if isinstance(text, str) and diff.looks_like(text) and (sections := diff.sections(text)):
            yield from sections
            return
    source = said.get("input")
    changes = source.get("changes") if isinstance(source, dict) else None
    if isinstance(changes, dict):
        changes = [{"path": path, **_flat(change)} for path, change in changes.items()]
    for change in changes if isinstance(changes, list) else ():
        if isinstance(change, dict) and isinstance(change.get("path"), str):
            how = _KINDS.get(str(change.get("kind") or change.get("type") or "").lower(), "changed")
            text = next((change[key] for key in ("diff", "unified_diff") if isinstance(change.get(key), str)), "")
            yield change["path"], how, text.strip("\n")
    if not changes and isinstance(source, dict):
        path = next((source[key] for key in ("file_path", "path") if isinstance(source.get(key), str)), None)
        if path:
            yield path, "changed", ""


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
