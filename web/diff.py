"""Unified diffs, and the patches agents write, line by line with their meaning as classes."""

import re
from html import escape

from msgspec import Struct

_START = re.compile(r"^(?:diff --git |--- \S.*\n\+\+\+ \S|\*\*\* Begin Patch|@@ -\d+(?:,\d+)? \+\d+)", re.MULTILINE)
_HUNK = re.compile(r"@@ -(\d+)(?:,(?P<old>\d+))? \+(\d+)(?:,(?P<new>\d+))? @@")
_FILE = ("diff --git ", "--- ", "+++ ", "*** ")
_META = (
    "index ",
    "new file mode",
    "deleted file mode",
    "old mode",
    "new mode",
    "similarity index",
    "rename ",
    "copy ",
    "Binary ",
)


_PATCHED = re.compile(r"\*\*\* (?P<how>Add|Update|Delete) File: (?P<path>.+)")
_SIDE = re.compile(r"(?:--- (?:a/)?|\+\+\+ (?:b/)?)(?P<path>[^\t\n]+)")
_PATH = re.compile(r"^(?:\+\+\+ (?:b/)?|\*\*\* (?:Add|Update|Delete) File: )([^\t\n]+)", re.MULTILINE)


class Diff(Struct, frozen=True):
    """A diff as HTML, and what it changes in numbers."""

    html: str
    added: int
    removed: int
    lines: int


def looks_like(text: str) -> bool:
    """Say whether a text is a diff: it begins as one, or soon does."""
    return _START.search(text, 0, 2_000) is not None


def files(text: str) -> list[str]:
    """Return the paths that a diff changes, without what it deletes."""
    return [path for path in dict.fromkeys(_PATH.findall(text)) if path != "/dev/null"]


def sections(text: str) -> list[tuple[str, str, str]]:
    """Return of each file in a diff its path, what becomes of it (`added`, `deleted`, `changed`), and its part."""
    found: list[tuple[str, str, list[str]]] = []
    rows = text.rstrip("\n").split("\n")
    left = 0
    for place, row in enumerate(rows):
        if match := _HUNK.match(row):
            left = int((match["old"] or "1")[-9:]) + int((match["new"] or "1")[-9:])
        elif left > 0:
            # Within a hunk a line that begins with two more signs is one that is taken away.
            left -= 2 if row.startswith(" ") or not row else 1
        elif (started := _begins(rows, place)) and (not found or found[-1][0] or row.startswith(("diff ", "*** "))):
            found.append((*started, []))
        if found:
            path, how, lines = found[-1]
            if left <= 0 and not path and (named := _named(row)):
                found[-1] = (named, how, lines)
            if row.startswith(("deleted file", "+++ /dev/null")):
                found[-1] = (found[-1][0], "deleted", lines)
            elif row.startswith(("new file", "--- /dev/null")):
                found[-1] = (found[-1][0], "added", lines)
            lines.append(row)
    return [(path, how, "\n".join(lines)) for path, how, lines in found if path]


def _begins(rows: list[str], place: int) -> tuple[str, str] | None:
    """Return the path and what becomes of it where a file's part of a diff begins; the path may be told later."""
    row = rows[place]
    if match := _PATCHED.match(row):
        return match["path"].strip(), {"Add": "added", "Delete": "deleted"}.get(match["how"], "changed")
    if row.startswith("diff --git "):
        return "", "changed"
    if row.startswith("--- ") and place + 1 < len(rows) and rows[place + 1].startswith("+++ "):
        return "", "changed"
    return None


def _named(row: str) -> str:
    match = _SIDE.match(row)
    path = match["path"] if match else ""
    return "" if path == "/dev/null" else path


def parse(text: str) -> Diff:
    """Read a diff; a line that fits nothing is context."""
    added = removed = old = new = 0
    out: list[str] = []
    rows = text.rstrip("\n").split("\n")
    in_hunk = False
    for row in rows:
        number = ""
        if match := _HUNK.match(row):
            old, new, in_hunk, kind = int(match[1][-9:]), int(match[3][-9:]), True, "hunk"
        elif row.startswith("diff --git ") or row.startswith("*** "):
            in_hunk, kind = row.startswith("*** "), "file"
            old = new = 0
        elif row.startswith(("--- ", "+++ ")) and not in_hunk:
            kind = "file"
        elif row.startswith(_META) and not in_hunk:
            kind = "meta"
        elif row.startswith("+"):
            kind, number, added = "add", str(new or ""), added + 1
            new += new > 0
        elif row.startswith("-"):
            kind, number, removed = "del", str(old or ""), removed + 1
            old += old > 0
        else:
            kind, number = "same", str(new or "")
            new += new > 0
            old += old > 0
        out.append(f'<span class="d-{kind}"{f" data-n={number}" if number else ""}>{escape(row)}\n</span>')
    return Diff("".join(out), added, removed, len(rows))
