"""Unified diffs, and the patches agents write, line by line with their meaning as classes."""

import re
from html import escape

from msgspec import Struct

_START = re.compile(r"^(?:diff --git |--- \S.*\n\+\+\+ \S|\*\*\* Begin Patch|@@ -\d+(?:,\d+)? \+\d+)", re.MULTILINE)
_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
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


def parse(text: str) -> Diff:
    """Read a diff; a line that fits nothing is context."""
    added = removed = old = new = 0
    out: list[str] = []
    rows = text.rstrip("\n").split("\n")
    in_hunk = False
    for row in rows:
        number = ""
        if match := _HUNK.match(row):
            old, new, in_hunk, kind = int(match[1][-9:]), int(match[2][-9:]), True, "hunk"
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
