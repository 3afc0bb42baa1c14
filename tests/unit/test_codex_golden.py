"""Every event and item of every age of Codex's format, and what becomes of it.

Each file under `golden/` is one file of Codex, line by line: the line, and the messages it is read as.
`python -m tests.unit.test_codex_golden` writes what they are read as now; read the difference before you keep it.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from flows.codex import Reader
from flows.spelling import Claim

GOLDEN = Path(__file__).with_name("golden")
FILES = sorted(GOLDEN.glob("*.yaml"))
# The same in every message of a file.
OBVIOUS = ("source", "artifact", "line")


def told(claims: list[Claim]) -> list[dict[str, Any]]:
    """What claims say, without what is obvious."""
    return [_told(claim) for claim in claims]


def _told(claim: Claim) -> dict[str, Any]:
    attrs = {name: value for name, value in (claim.attrs or {}).items() if name not in OBVIOUS}
    said = {"kind": claim.kind, "role": claim.role, "content": claim.content, "tool": claim.tool, "attrs": attrs}
    if claim.timestamp:
        said["timestamp"] = claim.timestamp
    return {name: value for name, value in said.items() if value not in (None, {})}


def read_now(written: list[dict[str, Any]]) -> list[dict[str, Any]]:
    reader = Reader("codex-events", "live", "implementation-events")
    found: list[dict[str, Any]] = []
    for number, entry in enumerate(written, start=1):
        if "line" not in entry:
            found.append({"end": told(reader.end())})
            continue
        claims = reader.read(number, entry["line"].encode())
        found.append({"line": entry["line"], "says": told(claims)})
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_line_says_what_it_said(path: Path) -> None:
    written = yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
    assert read_now(written) == written


def test_there_is_a_file_for_every_age() -> None:
    assert {path.stem for path in FILES} >= {"current", "experimental", "legacy", "rollout", "rollout-flat", "forks"}


def rewrite() -> None:
    """Write down what every line is read as now."""
    for path in FILES:
        found = read_now(yaml.load(path.read_text(encoding="utf-8"), yaml.CSafeLoader))
        plain = msgspec.to_builtins(found)
        text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=10_000)
        path.write_text(text.replace("\n- line:", "\n\n- line:").replace("\n- end:", "\n\n- end:"), encoding="utf-8")


if __name__ == "__main__":
    rewrite()
