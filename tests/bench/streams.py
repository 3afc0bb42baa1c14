"""How large what agents say is, by kind: a table that was measured on real streams.

`python -m tests.bench.streams FOLDER` measured it, on the public `codex exec --json` streams of 21 files: 1,356 events,
of which the bytes of what is said count (a command, its output, a text, a plan as JSON), not those of the event.
"""

import json
import sys
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

# Where the sizes are cut; between two cuts they grow geometrically.
CUTS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


class Kind(NamedTuple):
    """One kind of message.

    Attributes:
        share: of all messages.
        sizes: bytes of what is said, at each of the `CUTS`.
        foreign: the share of these bytes that is no ASCII.
        suspicious: the share of the messages that hold some of the `SUSPICIOUS` words, a few of them each.
    """

    name: str
    share: float
    sizes: tuple[int, ...]
    foreign: float
    suspicious: float


KINDS = (
    Kind("tool_result", 0.333, (0, 38, 158, 2629, 6588, 11467, 14412, 177809, 1398194), 0.38, 0.48),
    Kind("tool_call", 0.305, (11, 27, 43, 61, 78, 98, 240, 352, 491), 0.02, 0.03),
    Kind("error", 0.178, (19, 19, 19, 19, 85, 85, 106, 106, 107), 0.00, 0.33),
    Kind("status", 0.150, (12, 12, 12, 14, 354, 419, 431, 522, 527), 0.00, 0.16),
    Kind("message", 0.034, (40, 108, 418, 492, 1086, 4901, 5488, 5716, 5716), 0.45, 0.24),
)
# What is no credential, but stands where one could: of 1,355 messages made of the events above so many held it.
SUSPICIOUS = {
    "token": 133, "SO": 108, "Secret": 84, "secret": 84, "Token": 83, "authoriz": 81, "API_KEY": 79, "SU": 72,
    "TOKEN": 54, "Credential": 45, "credential": 35, "Bearer ": 25, "://": 23, "ApiKey": 23, "CREDENTIAL": 17,
    "SC": 16, "sk_": 11, "sk-": 10, "SECRET": 8, "ACCESS_KEY": 8,
}  # fmt: skip
_ENDS = (*accumulate(kind.share for kind in KINDS[:-1]), 1.0)


def kind_at(place: float) -> Kind:
    """Return the kind at a place from 0 to 1 (excluded) among all messages."""
    return KINDS[bisect_right(_ENDS, place)]


def size_at(kind: Kind, place: float) -> int:
    """Return the bytes that a message of a kind has at a place from 0 to 1 (excluded) among its like."""
    at = bisect_right(CUTS, place) - 1
    (low, high), (least, most) = [*pairwise(CUTS)][at], [*pairwise(kind.sizes)][at]
    growth: float = (max(1, most) / max(1, least)) ** ((place - low) / (high - low))
    return round(max(1, least) * growth)


def measure(folder: Path) -> Iterator[Kind]:
    """Yield the kinds of the streams in a folder, the most frequent first."""
    texts: dict[str, list[bytes]] = defaultdict(list)
    for path in folder.glob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            try:
                kind, text = _said(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            texts[kind].append(text.encode("utf-8", "replace"))
    number = sum(map(len, texts.values()))
    words = [word.encode() for word in SUSPICIOUS]
    for kind, said in sorted(texts.items(), key=lambda item: -len(item[1])):
        sizes = sorted(map(len, said))
        cuts = tuple(sizes[min(len(sizes) - 1, int(cut * len(sizes)))] for cut in CUTS)
        foreign = sum(byte > 127 for text in said for byte in text) / max(1, sum(sizes))
        suspicious = sum(any(word in text for word in words) for text in said) / len(said)
        yield Kind(kind, round(len(said) / number, 3), cuts, round(foreign, 2), round(suspicious, 2))


def _said(event: dict[str, Any]) -> tuple[str, str]:
    """Return the kind and the text of what an event says."""
    match event:
        case {"type": "error", "message": text} | {"type": "turn.failed", "error": {"message": text}}:
            return "error", text
        case {"type": "turn.completed", "usage": usage}:
            return "status", _json(usage)
        case {"type": "thread.started" | "turn.started" as kind}:
            return "status", kind
        case {"item": {"type": "agent_message" | "reasoning", "text": text}}:
            return "message", text
        case {"item": {"type": "todo_list", "items": items}}:
            return "status", _json(items)
        case {"item": {"type": "file_change", "changes": changes}}:
            return "tool_result", _json(changes)
        case {"type": "item.started", "item": {"command": text}}:
            return "tool_call", text
        case {"item": {"aggregated_output": text}}:
            return "tool_result", text
    return "status", _json(event["item"])


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


if __name__ == "__main__":
    print(*measure(Path(sys.argv[1])), sep="\n")
