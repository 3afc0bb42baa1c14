"""Finished runs as agents leave them, made up: each an archive of events, as many and as large as asked for."""

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import msgspec

from tests.bench.corpus import piece
from tests.bench.streams import KINDS, size_at

PLAIN_BYTES = 400
# 2026-11-20, in milliseconds.
BEGAN_MS = 1_795_168_800_000
_SILVER = 0.4142135623730951
_RESULT = next(kind for kind in KINDS if kind.name == "tool_result")
_encode = msgspec.json.Encoder().encode

# Returns the text of a run's line by its number and by what it is.
Talk: TypeAlias = Callable[[int, str], str]


def plain(number: int, kind: str) -> str:
    """Return text that makes lines of 400 bytes on average."""
    return piece(number, {"command": 60, "output": 420}.get(kind, 290), 0.0)


def realistic(number: int, kind: str) -> str:
    """Return text of which an output is as long as real ones are."""
    if kind == "output":
        return piece(number, min(900_000, size_at(_RESULT, number * _SILVER % 1)), _RESULT.foreign)
    return plain(number, kind)


def leave(folder: Path, names: Sequence[str], lines: int, talk: Talk = plain) -> int:
    """Put runs into a folder, each of so many lines or a few more; returns how many bytes of text they are."""
    numbers = count()
    size = 0
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "runs.jsonl").open("a") as told:
        for at, name in enumerate(names):
            text = b"\n".join(_events(at, lines, talk, numbers)) + b"\n"
            size += len(text)
            key = f"{name}/{name}-1/implementation-events.tgz"
            path = folder / key
            path.parent.mkdir(parents=True)
            path.write_bytes(_packed(text))
            told.write(json.dumps(_completion(name, key)) + "\n")
    # What finished runs have left has long been on the disk, and is not written beside what is measured.
    os.sync()
    return size


def _completion(name: str, key: str) -> dict[str, object]:
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "namespace": "agents"},
        "status": {"phase": "Succeeded", "startedAt": "2026-11-20T10:00:00Z", "finishedAt": "2026-11-20T11:00:00Z"},
        "artifacts": [{"name": "implementation-events", "key": key}],
    }


def _events(run: int, lines: int, talk: Talk, numbers: Iterator[int]) -> Iterator[bytes]:
    """Yield a run's lines: commands with what they print, thoughts and words, one turn of them."""
    thread = UUID(int=BEGAN_MS << 80 | 7 << 76 | 2 << 62 | run)
    yield _encode({"type": "thread.started", "thread_id": str(thread)})
    yield _encode({"type": "turn.started"})
    for item in range(max(1, (lines - 3) // 6)):
        for call in range(2):
            command = talk(next(numbers), "command")
            known = {"id": f"item_{4 * item + call}", "type": "command_execution", "command": command}
            begun = {**known, "aggregated_output": "", "exit_code": None, "status": "in_progress"}
            yield _encode({"type": "item.started", "item": begun})
            output = talk(next(numbers), "output")
            ended = {**known, "aggregated_output": output, "exit_code": 0, "status": "completed"}
            yield _encode({"type": "item.completed", "item": ended})
        for place, kind in ((2, "reasoning"), (3, "agent_message")):
            said = {"id": f"item_{4 * item + place}", "type": kind, "text": talk(next(numbers), kind)}
            yield _encode({"type": "item.completed", "item": said})
    tokens = {"input_tokens": 24_763, "cached_input_tokens": 24_448, "output_tokens": 122}
    yield _encode({"type": "turn.completed", "usage": tokens})


def _packed(text: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        member = tarfile.TarInfo("implementation-events.jsonl")
        member.size = len(text)
        archive.addfile(member, io.BytesIO(text))
    return buffer.getvalue()
