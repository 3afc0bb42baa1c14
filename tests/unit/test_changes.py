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
        ({"name": "edit", "output": GIT}, [("x.py", 1, 1), ("y.py", 1, 0), ("z.py", 0, 1)]),
        ({"name": "edit", "input": {"path": "/w/x.py"}, "output": GIT}, [("/w/x.py", 1, 1)]),
        ({"name": "shell", "output": GIT}, []),
        ({"name": "shell", "input": {"command": "git diff"}, "output": GIT}, []),
        ({"name": "write_stdin", "input": {"chars": "git diff"}, "output": GIT}, []),
        ({"name": "apply_patch", "input": {"changes": {"a": {"add": {"diff": "x\n\ny"}}}}}, [("a", 3, 0)]),
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
    (file,) = files_of([result({"name": "apply_patch", "input": text})])
    assert file.added == 5_000
    assert file.changes[0].cut == 4_603


APP = "/workspace/repo/src/app.py"
CHANGED = result({"name": "file_change", "input": {"changes": [{"path": APP, "kind": "update"}]}})


def printed(path: str, added: int = 2, removed: int = 1, command: str = "git diff") -> Event:
    lines = ["-old"] * removed + ["+new"] * added
    head = [f"diff --git a/{path} b/{path}", f"--- a/{path}", f"+++ b/{path}", f"@@ -1,{removed} +1,{added} @@"]
    text = "\n".join([*head, *lines])
    return result({"name": "shell", "input": {"command": command}, "output": text}, text)


def sums(*events: Event) -> list[tuple[str, int, int, bool]]:
    return [(file.path, file.added, file.removed, file.is_partial) for file in files_of([*events])]


def test_a_diff_that_is_printed_tells_how_much_was_changed_and_changes_nothing() -> None:
    other = printed("tests/fixtures/x.patch.py", command="cat tests/fixtures/x.patch")
    once = printed("src/app.py", added=9)
    assert sums(CHANGED) == [(APP, 0, 0, True)]
    assert sums(CHANGED, once, printed("src/app.py"), other) == [(APP, 2, 1, False)]
    assert sums(CHANGED, printed("src/app.py", command="cat x.patch")) == [(APP, 0, 0, True)]
    assert sums(printed("src/app.py")) == []
    # What comes after it isn't in it.
    assert sums(CHANGED, printed("src/app.py"), CHANGED) == [(APP, 2, 1, True)]
    # It is shown with the change, which doesn't carry it.
    (file,) = files_of([CHANGED, once, printed("src/app.py")])
    assert [change.added for change in file.shown] == [0, 2]
    assert file.how == "changed"


def test_a_change_that_tells_itself_what_it_is_needs_no_printed_one() -> None:
    patch = {"name": "apply_patch", "input": {"changes": [{"path": "src/app.py", "diff": HUNK}]}}
    assert sums(result(patch), printed("src/app.py", added=9), result(patch)) == [("src/app.py", 2, 2, False)]
    # Of another that doesn't, what was printed holds both.
    plain = result({"name": "edit_file", "input": {"path": "./src/app.py"}})
    assert sums(result(patch), plain, printed("src/app.py"), result(patch)) == [("src/app.py", 3, 2, False)]


def test_a_path_in_full_and_one_that_is_not_are_one_file_where_that_is_plain() -> None:
    whole = result({"name": "write_file", "input": {"file_path": APP}})
    short = result({"name": "write_file", "input": {"file_path": "src/app.py"}})
    other = "/workspace/other/src/app.py"
    namesake = result({"name": "write_file", "input": {"file_path": other}})
    assert len(sums(whole, short, whole)) == len(sums(short, whole)) == 1
    assert len(sums(whole, namesake)) == 2
    assert sums(whole, namesake, printed("src/app.py")) == [(APP, 0, 0, True), (other, 0, 0, True)]
    # The end of a name is no path, and of two paths that are not in full neither is a part of the other.
    assert sums(whole, printed("pp.py")) == [(APP, 0, 0, True)]
    assert sums(short, printed("app.py")) == [("src/app.py", 0, 0, True)]


def test_what_is_deleted_without_its_lines_is_told_in_part() -> None:
    gone = sums(result({"name": "apply_patch", "input": PATCH}))
    assert gone == [("new.py", 1, 0, False), ("old.py", 2, 1, False), ("gone.py", 0, 0, True)]
