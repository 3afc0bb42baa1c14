# ruff: noqa: E501, RUF001  # what agents say, in one line each and in any script
"""A believable past: three agents mend an importer, others are at work, some have failed, one speaks with malice."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from flows.message import Message
from tests.browser.rows import message

ESC = "\x1b"
RUN = "codex-issue-119"

_PLAN = """I read the issue and the importer. Two things are wrong, and they hide each other:

1. **The import isn't idempotent.** A retry inserts every row again, because the key is a new UUID each time.
2. **The count in the log lies.** It counts what was *sent*, not what was stored.

I'd split the migration in two: add the column `source_key` first, nullable and without a lock, then backfill in \
batches of 5,000 and only then `SET NOT NULL`. See [the notes on online migrations](https://example.org/online-ddl) \
and `sql/migrations/0007.sql`.

| step | lock | reversible |
| --- | --- | --- |
| add column | brief | yes |
| backfill | none | yes |
| set not null | scan | yes |
"""

_TODO = """- [x] Read the importer and its tests
- [x] Reproduce the duplicate rows
- [ ] Derive the key from the source line
- [ ] Backfill the old rows
- [ ] Make the log count what was stored"""

_PYTEST = f"""{ESC}[1m============================= test session starts ==============================
{ESC}[0mplatform linux -- Python 3.12.4, pytest-8.3.2
collected 43 items

{"".join(f"tests/unit/test_line_{n:03}.py {ESC}[32m.{ESC}[0m{ESC}[32m.{ESC}[0m{ESC}[32m [ {n}%]{ESC}[0m" + chr(10) for n in range(2, 34))}
=================================== FAILURES ===================================
{ESC}[31m{ESC}[1m_____________________ test_a_retry_stores_nothing_twice _____________________{ESC}[0m

    def test_a_retry_stores_nothing_twice(importer, rows):
        importer.run(rows)
        importer.run(rows)
>       assert importer.count() == len(rows)
{ESC}[1m{ESC}[31mE       assert 86 == 43{ESC}[0m
{ESC}[1m{ESC}[31mE        +  where 86 = count(){ESC}[0m

{ESC}[1m{ESC}[31mtests/unit/test_importer.py{ESC}[0m:61: AssertionError
{ESC}[31m=================== {ESC}[31m{ESC}[1m1 failed{ESC}[0m, {ESC}[32m42 passed{ESC}[0m{ESC}[31m in 4.02s{ESC}[0m{ESC}[31m ===================={ESC}[0m"""

_DIFF = """--- a/importer/store.py
+++ b/importer/store.py
@@ -14,9 +14,12 @@ class Store:
     def __init__(self, connection):
         self.connection = connection

-    def add(self, line):
-        key = uuid4()
-        self.connection.execute(INSERT, (key, line.text))
+    def add(self, line) -> bool:
+        \"\"\"Store a line once; say whether it was new.\"\"\"
+        # The line's own place and bytes: a retry finds the row it wrote before.
+        key = sha256(f"{line.number}:{line.text}".encode()).hexdigest()
+        done = self.connection.execute(INSERT_OR_IGNORE, (key, line.text))
+        return done.rowcount == 1

     def count(self):
         return self.connection.execute(COUNT).fetchone()[0]
"""

_REVIEW = """The key is right, and the test proves it. One thing before this goes in:

> `INSERT … ON CONFLICT DO NOTHING` reports 0 rows for a duplicate, so the *caller* has to add up what it returns.

```python
stored = sum(store.add(line) for line in lines)
log.info("stored %d of %d lines", stored, len(lines))
```

With that the log tells the truth. Otherwise **good to merge**."""

_WHY = """**Looking for where the key is made**

The importer builds its key in `store.py`, not in the reader, so the fix belongs there. If I derive it from the line \
number and the bytes, a resumed import gives the same key for the same line. A file that was edited in between gets \
new keys for the edited lines only, which is what one would expect."""


class Clock:
    """Tells the story's time."""

    def __init__(self, start: datetime) -> None:
        self.now = start

    def __call__(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


def shell(command: str, **more: Any) -> dict[str, Any]:
    """Return the attrs of a shell call or its result."""
    return {"tool": {"name": "shell", "input": {"command": command}, **more}}


def issue_119(start: datetime, run: str = RUN) -> list[Message]:
    """The run in the foreground: a plan, a failing test, a diff, an error and its repair, a review."""
    at = Clock(start)

    def say(seconds: float, agent: str, kind: str, content: str, **attrs: Any) -> Message:
        return message(at(seconds), agent, kind, content, run=run, attrs=attrs)

    def thinking(seconds: float, agent: str, content: str) -> Message:
        return say(seconds, agent, "message", content, item_type="reasoning")

    test = "pytest -q tests/unit"
    grep = "grep -rn 'uuid4()' importer/"
    failed = {"status": "failed", "exit_code": 1, "duration_ms": 4_120, "output": _PYTEST}
    passed = f"{'.' * 43} [100%]\n{ESC}[32m{ESC}[1m43 passed{ESC}[0m{ESC}[32m in 3.88s{ESC}[0m"
    good = {"status": "completed", "exit_code": 0}
    search = {"name": "tracker.get_issue", "input": {"repository": "acme/importer", "number": 119}}
    issue = {"title": "A retried import stores every row twice", "labels": ["bug", "data"], "comments": 4}
    patch = {"name": "apply_patch", "input": {"changes": [{"path": "importer/store.py", "kind": "update"}]}}
    migrate = "bash -lc 'psql -f sql/migrations/0007.sql'"
    return [
        say(0, "planner", "status", "started"),
        say(2, "planner", "message", "Reading issue 119 and the code it points to."),
        say(1, "planner", "tool_call", "tracker.get_issue", tool=search),
        say(0.8, "planner", "tool_result", str(issue), tool={**search, "output": issue, "status": "completed", "duration_ms": 812}),
        say(3, "planner", "tool_call", f"$ {grep}", **shell(grep)),
        say(0.1, "planner", "tool_result", "", **shell(grep, output="importer/store.py:18:        key = uuid4()", duration_ms=41, **good)),
        say(9, "planner", "message", _PLAN),
        say(2, "planner", "status", _TODO, item_type="todo_list"),
        say(5, "executor", "status", "Turn 1 started"),
        thinking(4, "executor", _WHY),
        say(3, "executor", "tool_call", f"$ {test}", **shell(test)),
        say(4.1, "executor", "tool_result", _PYTEST, **shell(test, **failed)),
        say(6, "executor", "message", "Reproduced: after a second run there are 86 rows for 43 lines. The key is the culprit."),
        say(8, "executor", "tool_call", "update importer/store.py", tool=patch),
        say(0.3, "executor", "tool_result", _DIFF, tool={**patch, "output": _DIFF, "duration_ms": 290, **good}),
        say(4, "executor", "tool_call", f"$ {migrate}", **shell(migrate)),
        say(2, "executor", "tool_result", "", **shell(migrate, output="psql: error: connection refused", status="failed", exit_code=2, duration_ms=1_890)),
        say(1, "executor", "error", "The database at db.internal:5432 refuses connections. The migration did not run; nothing was changed."),
        say(11, "planner", "message", "That's the staging database, which sleeps at night. Use the local one: `make db` starts it."),
        say(6, "executor", "tool_call", "$ make db migrate", **shell("make db migrate")),
        say(7, "executor", "tool_result", "", **shell("make db migrate", output="starting postgres … ok\nmigrating 0007 … ok", duration_ms=6_730, **good)),
        say(3, "executor", "tool_call", f"$ {test}", **shell(test)),
        say(3.9, "executor", "tool_result", passed, **shell(test, output=passed, duration_ms=3_880, **good)),
        say(4, "executor", "message", "All 43 pass, and a second run adds nothing. Over to you, reviewer."),
        say(14, "reviewer", "message", _REVIEW),
    ]  # fmt: skip


def room(start: datetime) -> list[Message]:
    """What is said in the general channel."""
    at = Clock(start)

    def say(seconds: float, agent: str, run: str, content: str) -> Message:
        return message(
            at(seconds), agent, "message", content, run=run, channel="general", attrs={"identity": "claimed"}
        )

    return [
        say(0, "planner", RUN, "Starting on **issue 119**: the importer stores rows twice when it is retried."),
        say(
            95,
            "researcher",
            "nightly-benchmarks",
            "Heads-up: I'm about to saturate the staging database for ten minutes.",
        ),
        say(31, "executor", RUN, "Thanks. That explains the refused connection; I moved to the local one."),
        say(12, "executor", RUN, "Whoever maintains `make db`: it now waits until Postgres answers."),
        say(240, "judge", "docs-links-weekly", "Two of 418 links are dead. I opened a pull request for both."),
        say(
            80, "reviewer", RUN, "Issue 119 is reviewed. The fix is in `store.py`, and the log counts what was stored."
        ),
    ]


def others(now: datetime) -> Iterator[Message]:
    """Runs beside it: running, failed, succeeded, silent."""
    cases = [
        ("nightly-benchmarks", "research", 40, ["researcher", "executor"], None, "Median 41 ms, p99 188 ms; the ninth round of ten is running."),
        ("docs-links-weekly", "agents", 700, ["judge"], "completed", "Two dead links of 418, both repaired in the pull request."),
        ("codex-issue-117", "agents", 2_900, ["planner", "executor"], "failed", "The container ran out of memory while it built the index."),
        ("upgrade-postgres-18-dry-run", "platform", 4_200, ["planner", "executor", "reviewer", "tester", "researcher", "judge", "scribe"], None, "Waiting for the replica to catch up."),
        ("codex-issue-112", "agents", 90_000, ["planner", "executor", "reviewer"], "completed", "Merged. The flaky test was a race on the port."),
        ("triage-inbox", "agents", 200_000, ["judge"], "completed", "31 issues labelled, 4 of them duplicates."),
    ]  # fmt: skip
    for name, namespace, age, agents, end, words in cases:
        start = now - timedelta(seconds=age + 900)
        for place, agent in enumerate(agents):
            at = start + timedelta(seconds=place)
            yield message(at, agent, "message", "Beginning.", run=name, workflow_namespace=namespace)
            yield message(at, agent, "tool_call", "$ make", run=name, workflow_namespace=namespace, attrs=shell("make"))
        last = now - timedelta(seconds=age)
        yield message(last, agents[-1], "message", words, run=name, workflow_namespace=namespace)
        if end == "failed":
            yield message(last, agents[-1], "error", words, run=name, workflow_namespace=namespace)
        if end:
            yield message(last, agents[0], "status", end, run=name, workflow_namespace=namespace)


def long_run(now: datetime, count: int = 5_000, run: str = "index-the-monorepo") -> list[Message]:
    """A run of many messages, most of them calls and results."""
    at = Clock(now - timedelta(seconds=count * 1.5))
    agents = ("planner", "executor", "reviewer")
    out = [message(at(1), "planner", "status", "started", run=run)]
    while len(out) < count:
        n = len(out)
        agent = agents[n // 40 % 3]
        command = f"scripts/index.sh --shard {n:04} --of {count}"
        if n % 10 == 1:
            out.append(
                message(
                    at(1), agent, "message", f"Shard {n} is next; {count - n} messages of this run are left.", run=run
                )
            )
        elif n % 251 == 0:
            out.append(message(at(1), agent, "error", f"Shard {n}: the file list changed while it was read.", run=run))
        else:
            out.append(message(at(1), agent, "tool_call", f"$ {command}", run=run, attrs=shell(command)))
            wrong = n % 97 == 0
            lines = "\n".join(f"indexed packages/{n}/src/module_{k}.ts" for k in range(n % 30))
            result = shell(command, output=lines or "nothing to do", exit_code=int(wrong), duration_ms=n % 900 + 80)
            out.append(message(at(1), agent, "tool_result", lines or "nothing to do", run=run, attrs=result))
    return out[:count]


def hostile(start: datetime, run: str = "hostile") -> list[Message]:
    """What nobody should write, and somebody will."""
    at = Clock(start)
    script = "<script>window.hurt=1</script><img src=x onerror=window.hurt=1><svg onload=window.hurt=1>"
    texts = [
        script,
        f"[click](javascript:window.hurt=1) [data](data:text/html,{script}) ![pixel](https://tracker.example/p.png)",
        "\u202eright to left override\u202c and العربية في السطر then English again",
        "Z" + "\u0321\u0300\u0301\u0302\u0303\u0304\u0306" * 60 + "algo " * 8,
        "🧵" * 10_000,
        "x" * 5_000,
        f"{ESC}[31mnever ended {ESC}[999999999m{ESC}]0;title{ESC}[",
        "| a " * 200 + "|\n" + "| - " * 200 + "|\n" + "| 1 " * 200 + "|",
        "> " * 400 + "deep",
    ]
    out = [
        message(at(1), script, "message", text, run=run, attrs={"author": script, "claimed": {"a": script}})
        for text in texts
    ]
    name = "n" * 200
    out.append(
        message(
            at(1), name, "tool_call", script, run=run, attrs={"tool": {"name": script * 3, "input": {script: script}}}
        )
    )
    out.append(
        message(
            at(1),
            "ا" * 60,
            "tool_result",
            script,
            run=run,
            attrs={
                "tool": {
                    "name": name,
                    "input": script,
                    "output": {"a": [script] * 3},
                    "status": script,
                    "exit_code": script,
                }
            },
        )
    )
    out.append(message(at(1), name, "error", script * 40, run=run, attrs={"tool": script}))
    out.append(message(at(1), '"><b data-seq="1">', '"><i>', script, run=run, attrs={"tool": [1], "item_type": {}}))
    return out
