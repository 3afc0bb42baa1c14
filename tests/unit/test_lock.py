import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EVERYTHING = ROOT / ".ci" / "requirements.lock"
RUNTIME = ROOT / ".ci" / "requirements-runtime.lock"
BUILD = ROOT / ".ci" / "requirements-build.lock"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def pins(lock: Path) -> dict[str, str]:
    return {canonicalize_name(name): version for name, version in PIN.findall(lock.read_text())}


def asked(*extras: str) -> list[Requirement]:
    lists = [PROJECT["project"]["dependencies"], *(PROJECT["project"]["optional-dependencies"][e] for e in extras)]
    return [Requirement(text) for texts in lists for text in texts]


@pytest.mark.parametrize(
    ("lock", "extras"), [(EVERYTHING, ("embedded", "dev")), (RUNTIME, ("otel",))], ids=["everything", "runtime"]
)
def test_what_the_project_asks_for_is_pinned(lock: Path, extras: tuple[str, ...]) -> None:
    pinned = pins(lock)
    for requirement in asked(*extras):
        version = pinned.get(canonicalize_name(requirement.name), "")
        assert requirement.specifier.contains(version, prereleases=True), f"run `make lock`: {requirement}"


def test_production_gets_what_was_tested() -> None:
    assert pins(RUNTIME).items() <= pins(EVERYTHING).items()


def test_the_project_is_built_with_what_is_pinned() -> None:
    assert {"hatchling", "editables"} <= pins(EVERYTHING).keys()
    assert {"hatchling", "setuptools"} <= pins(BUILD).keys()
    assert all(pins(EVERYTHING).get(name, version) == version for name, version in pins(BUILD).items())


@pytest.mark.parametrize("lock", [EVERYTHING, RUNTIME, BUILD], ids=lambda lock: lock.name)
def test_every_pin_has_its_hashes_and_no_lock_names_a_host(lock: Path) -> None:
    blocks = re.split(r"(?m)^(?=\S)", lock.read_text())
    assert all("--hash=sha256:" in block for block in blocks if block.strip())
    assert "://" not in lock.read_text()
