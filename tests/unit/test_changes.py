"""What a run has changed, as its events tell it."""

from typing import Any

import pytest

from flows.message import Event
from tests.unit.events import event
from web import diff
from web.changes import files_of

PATCH = """*** Begin Patch
*** Add File: new.py
+one
*** Update File: old.py
@@
-two
+three
+four
*** Delete File: gone.py
*** End Patch"""
GIT = """diff --git a/x.py b/x.py
index 1..2 100644
--- a/x.py
+++ b/x.py
@@ -1,2 +1,2 @@
 same
--- looks like a header
+++ looks like one, too
diff --git a/y.py b/y.py
new file mode 100644
--- /dev/null
+++ b/y.py
@@ -0,0 +1 @@
+hello
diff --git a/z.py b/z.py
deleted file mode 100644
--- a/z.py
+++ /dev/null
@@ -1 +0,0 @@
-bye"""

HUNK = "@@ -1 +1 @@\n-a\n+b\n"


def result(tool: dict[str, Any], content: str = "done") -> Event:
    return event(content, "tool_result", role="tool", tool={"status": "completed", **tool})


def test_a_diff_is_divided_by_file() -> None:
    assert [(path, how) for path, how, _ in diff.sections(GIT)] == [
        ("x.py", "changed"),
        ("y.py", "added"),
        ("z.py", "deleted"),
    ]
    assert "\n".join(part for *_, part in diff.sections(GIT)) == GIT


def test_a_patch_is_divided_by_file() -> None:
    found = [(path, how) for path, how, _ in diff.sections(PATCH)]
    assert found == [("new.py", "added"), ("old.py", "changed"), ("gone.py", "deleted")]


@pytest.mark.parametrize(
    ("tool", "expected"),
    [
        ({"name": "apply_patch", "input": PATCH}, [("new.py", 1, 0), ("old.py", 2, 1), ("gone.py", 0, 0)]),
        ({"name": "apply_patch", "input": {"patch": PATCH}}, [("new.py", 1, 0), ("old.py", 2, 1), ("gone.py", 0, 0)]),
        ({"name": "shell", "output": GIT}, [("x.py", 1, 1), ("y.py", 1, 0), ("z.py", 0, 1)]),
        ({"name": "file_change", "input": {"changes": [{"path": "a.py", "kind": "add"}]}}, [("a.py", 0, 0)]),
        (
            {"name": "apply_patch", "input": {"changes": {"a.py": {"update": {"unified_diff": HUNK}}}}},
            [("a.py", 1, 1)],
        ),
        ({"name": "write_file", "input": {"path": "a.py", "content": "x"}}, [("a.py", 0, 0)]),
        ({"name": "shell", "input": {"command": "ls"}, "output": "a.py"}, []),
    ],
)  # fmt: skip
def test_changes_are_found_in_whatever_form_they_are_told(
    tool: dict[str, Any], expected: list[tuple[str, int, int]]
) -> None:
    assert [(file.path, file.added, file.removed) for file in files_of([result(tool)])] == expected


def test_changes_to_one_file_stand_together_and_what_failed_is_none() -> None:
    patch = {"name": "apply_patch", "input": {"changes": [{"path": "a.py", "diff": "@@ -1 +1 @@\n-a\n+b"}]}}
    files = files_of([result(patch), result(patch), result({**patch, "status": "failed"})])
    assert [(file.path, len(file.changes), file.added) for file in files] == [("a.py", 2, 2)]


def test_a_giant_diff_is_cut_and_counted_whole() -> None:
    text = "--- a/a.py\n+++ b/a.py\n@@ -0,0 +1,5000 @@\n" + "\n".join("+x" for _ in range(5_000))
    (file,) = files_of([result({"name": "shell", "output": text})])
    assert file.added == 5_000
    assert file.changes[0].cut == 4_603
