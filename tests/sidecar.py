"""The publisher beside an agent, as a process that a test may stop and kill; and an agent's files."""

import json
import os
import signal
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from flows.codex import Reader
from tests.forks import Fork
from tests.waiting import PATIENCE_S

COMMAND = Path(sysconfig.get_path("scripts")) / "agent-comms"
THREAD = "019a3fe0-82fb-7e31-8e96-1d5c0544fd8a"


class Sidecar:
    """`agent-comms publish`, following files."""

    # Whoever measures it has it start from nothing.
    is_forked = True

    def __init__(self, folder: Path, nats_url: str, *arguments: str | Path, **environ: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.spool = folder / "spool"
        base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._environ = {
            **base,
            "NATS_URL": nats_url,
            "WORKFLOW_NAME": "run-1",
            "WORKFLOW_UID": "uid-1",
            "AGENT_ID": "executor",
            "AGENT_COMMS_SPOOL_DIR": str(self.spool),
            **environ,
        }
        self._command = [str(COMMAND), "publish", *map(str, arguments)]
        self.process: Fork | subprocess.Popen[bytes]

    def start(self, *more: str | Path, stdin: int | None = subprocess.DEVNULL) -> Self:
        words = [*self._command, *map(str, more)]
        with (
            Path(os.devnull).open("rb") as nothing,
            (self.folder / "out").open("ab") as out,
            (self.folder / "err").open("ab") as err,
        ):
            if self.is_forked and stdin == subprocess.DEVNULL:
                self.process = Fork(
                    words,
                    env=self._environ,
                    cwd=Path.cwd(),
                    stdin=nothing.fileno(),
                    stdout=out.fileno(),
                    stderr=err.fileno(),
                )
            else:
                self.process = subprocess.Popen(words, stdin=stdin, stdout=out, stderr=err, env=self._environ)
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def lines_read(self) -> int:
        """How far it has noted down that it has read."""
        for ledger in self.spool.glob("*/ledger.json"):
            for mark in json.loads(ledger.read_text())["marks"].values():
                return int(mark["position"]["line"])
        return 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Say that the run is over; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(timeout=PATIENCE_S)


def append(path: Path, *lines: str | bytes) -> None:
    with path.open("ab") as file:
        for line in lines:
            file.write((line.encode() if isinstance(line, str) else line) + b"\n")


def event(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields}, ensure_ascii=False)


def item(phase: str, number: int, kind: str, **fields: Any) -> str:
    return event(f"item.{phase}", item={"id": f"item_{number}", "type": kind, **fields})


def said(number: int, text: str = "") -> str:
    return item("completed", number, "agent_message", text=text or f"message {number}")


def talk(turns: int, thread: str = THREAD) -> Iterator[str]:
    """An agent that thinks, runs a command, writes a file and says what it did, again and again."""
    yield event("thread.started", thread_id=thread)
    for turn in range(turns):
        yield event("turn.started")
        first = turn * 6
        yield item("completed", first, "reasoning", text=f"**Step {turn}**\n\nwhat to do — next\u2028then")
        todo = [{"text": "one", "completed": turn % 2 == 0}, {"text": f"step {turn}", "completed": False}]
        yield item("started", first + 1, "todo_list", items=todo)
        command = {"command": f"bash -lc 'pytest -k {turn}'"}
        yield item("started", first + 2, "command_execution", **command, aggregated_output="", status="in_progress")
        yield "2026-01-01T00:00:00Z WARN codex: this is no event"
        done = {
            "aggregated_output": f"\x1b[31m{turn} failed\x1b[0m\n" * 20,
            "exit_code": turn % 2,
            "status": "completed",
        }
        yield item("completed", first + 2, "command_execution", **command, **done)
        yield item("completed", first + 3, "file_change", changes=[{"path": f"/w/{turn}.py", "kind": "add"}])
        yield ""
        yield said(first + 4, f"Done with {turn}: ✓")
        yield event("turn.completed", usage={"input_tokens": turn, "cached_input_tokens": 0, "output_tokens": 1})


def mapped(lines: list[bytes], artifact: str = "events") -> list[tuple[int, str, str]]:
    """Line, kind and content of each message that lines of Codex are, in order."""
    reader = Reader("codex-events", "live", artifact)
    return [
        (number, claim.kind or "", claim.content or "")
        for number, line in enumerate(lines, start=1)
        for claim in reader.read(number, line)
    ]
