"""The messages that are measured with; the same number is the same message in every run."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from random import Random
from typing import TypeAlias

import msgspec

from tests.bench.streams import SUSPICIOUS, kind_at, size_at

RUNS = 50
MANY_RUNS = 5_000
PLAIN_BYTES = 400
# Of text: escaped, and with its envelope, it is a payload of about 1 MB, which is still allowed.
LARGE_BYTES = 940_000
LARGE_EVERY = 5_000
POOL_CHARACTERS = 2_000_000
SUSPICIONS = 997
# Multiples of these, taken modulo 1, fall evenly between 0 and 1, whatever their number.
_GOLDEN, _SILVER, _BRONZE = 0.6180339887498949, 0.4142135623730951, 0.3027756377319946
_AGENTS = ("planner", "executor", "reviewer")
_SHAPES = ("{}:{}:    {}\n", "src/{}/{}.py: {}\n", '  "{}": "{}", {}\n', "        {} = {} + {}\n")
_JAPANESE = "設計要件実装確認変更追加対象既存処理結果環境依存手順方針影響範囲試験検証成功失敗定義を行うのため"


@dataclass(frozen=True)
class Published:
    """One message on its way."""

    subject: str
    payload: bytes


Corpus: TypeAlias = Callable[[int], Published]


def plain(number: int, runs: int = RUNS) -> Published:
    """Return a message of 400 bytes in the canonical spelling, of one of some runs."""
    kind = ("message", "tool_call", "tool_result", "message")[number % 4]
    said = f"step {number}: read the file and ran the tests; "
    short = _payload(number, kind, {"content": said, "attrs": {"turn": number % 7}}, runs)
    missing = PLAIN_BYTES - len(short.payload)
    return _payload(number, kind, {"content": said + "x" * missing, "attrs": {"turn": number % 7}}, runs)


def spread(number: int) -> Published:
    """Return a message of 400 bytes, of one of many runs."""
    return plain(number, MANY_RUNS)


def realistic(number: int) -> Published:
    """Return a message whose kind and size are drawn as real streams have them, up to 1 MB."""
    kind = kind_at(number * _GOLDEN % 1)
    text = piece(number, min(LARGE_BYTES, size_at(kind, number * _SILVER % 1)), kind.foreign)
    if number * _BRONZE % 1 < kind.suspicious:
        text += _suspicions()[number % SUSPICIONS]
    said: dict[str, object]
    match kind.name:
        case "tool_call":
            said = {"tool": {"name": "shell", "input": {"command": text}}}
        case "tool_result":
            tool = {"name": "shell", "status": "completed", "exit_code": 0, "duration_ms": number % 977}
            said = {"tool": tool, "content": text}
        case _:
            said = {"content": text}
    return _payload(number, kind.name, said)


def mixed(number: int) -> Published:
    """Return a message of 400 bytes; every 5,000th has 1 MB."""
    return large(number) if number % LARGE_EVERY == LARGE_EVERY // 2 else plain(number)


def large(number: int) -> Published:
    """Return a message of 1 MB."""
    return _payload(number, "tool_result", {"content": piece(number, LARGE_BYTES, 0.4)})


def with_secret(corpus: Corpus) -> Corpus:
    """Return the same messages, each with a credential in what it says."""

    def leaky(number: int) -> Published:
        published = corpus(number)
        fields = msgspec.json.decode(published.payload)
        fields["content"] = fields.get("content", "") + f" export GITHUB_TOKEN=ghp_{number:036d}"
        return Published(published.subject, msgspec.json.encode(fields))

    return leaky


def _payload(number: int, kind: str, said: dict[str, object], runs: int = RUNS) -> Published:
    run, agent = number % runs, _AGENTS[number % len(_AGENTS)]
    payload = {
        "message_id": f"bench-{number:08}",
        "workflow_uid": f"0d9a1c0e-{run:04}",
        "workflow_name": f"bench-run-{run}",
        "workflow_namespace": "agents",
        "agent_id": agent,
        "kind": kind,
        "timestamp": f"2026-11-24T10:{number // 60000 % 60:02}:{number // 1000 % 60:02}.{number % 1000:03}Z",
        **said,
    }
    subject = f"workflow.agents.bench-run-{run}.0d9a1c0e-{run:04}.agent.{agent}.{kind}"
    return Published(subject, msgspec.json.encode(payload))


def piece(number: int, size: int, foreign: float) -> str:
    """Return a piece of made-up output of about so many bytes, another one for each number."""
    share = round(foreign, 1)
    # Of the characters beyond ASCII each has three bytes.
    characters = max(1, round(size * (1 - share) + size * share / 3))
    pool = _pool(share)
    start = number * 7_919 % (len(pool) - characters)
    return pool[start : start + characters]


@cache
def _suspicions() -> list[str]:
    """Return what makes a message suspicious: a few words, as real ones have."""
    random = Random(0)
    return [
        " ".join(random.choices([*SUSPICIOUS], weights=[*SUSPICIOUS.values()], k=4)) + "\n" for _ in range(SUSPICIONS)
    ]


@cache
def _pool(foreign: float) -> str:
    """Return lines as commands print them, nearly as repetitive as real ones: deflate halves them."""
    random = Random(foreign)
    words = _words(random, "etaoinshrdlu_cmfgypwb", 1_200)
    phrases = _words(random, _JAPANESE, 400)
    weights = {len(pool): [*accumulate(1 / rank for rank in range(1, len(pool) + 1))] for pool in (words, phrases)}
    lines: list[str] = []
    for number in range(POOL_CHARACTERS // 60):
        picked = random.choices(words, cum_weights=weights[len(words)], k=random.randint(4, 12))
        lines.append(random.choice(_SHAPES).format(picked[0], number, " ".join(picked[1:])))
        if random.random() < 1.4 * foreign:
            said = random.choices(phrases, cum_weights=weights[len(phrases)], k=random.randint(2, 8))
            lines.append("- " + "".join(said) + "。\n")
    return "".join(lines)


def _words(random: Random, letters: str, number: int) -> list[str]:
    return ["".join(random.choices(letters, k=random.randint(2, 9))) for _ in range(number)]
