"""The image, read: what it is built of, and as whom it runs."""

import re
from pathlib import Path

from flows.topology import GITOPS

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORED = (ROOT / ".dockerignore").read_text().splitlines()
INSTRUCTIONS = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE))


def test_it_runs_as_a_number_that_is_not_root_and_that_the_pods_name() -> None:
    stage = INSTRUCTIONS.rpartition("\nFROM ")[2]
    [user] = re.findall(r"(?m)^USER (\d+):\d+$", stage)
    assert int(user) >= 10_000
    assert f"runAsUser: {user}" in (GITOPS / "jangar" / "deployment-agent-comms-web.yaml").read_text()
    assert stage.index("USER ") > stage.index("RUN ")


def test_what_is_installed_is_pinned_by_hash() -> None:
    installs = re.findall(r"pip --python \S+ (?:install|wheel) [^&\n]*", INSTRUCTIONS)
    assert len(installs) == 4
    assert all("--require-hashes" in words or "--no-index" in words for words in installs)


def test_only_what_runs_is_copied() -> None:
    copied = {word for line in re.findall(r"(?m)^COPY (?!--from)(.*) \S+$", INSTRUCTIONS) for word in line.split()}
    kept = {line.removeprefix("!") for line in IGNORED if line.startswith("!")}
    assert IGNORED[1] == "*"
    assert {word.partition("/gunicorn")[0] for word in copied} == kept
    assert all((ROOT / word).exists() for word in copied)
    assert not {"tests", ".git", ".venv"} & kept


def test_the_pages_settings_lie_where_the_deployment_looks() -> None:
    [place] = re.findall(r"COPY web/gunicorn\.conf\.py (\S+)", INSTRUCTIONS)
    assert place in (GITOPS / "jangar" / "deployment-agent-comms-web.yaml").read_text()
