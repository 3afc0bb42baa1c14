"""What an artifact is by its name: what Codex wrote, an agent's log, or nothing of ours."""

from functools import lru_cache
from typing import Literal

from msgspec import Struct

from connectors.objects import Object
from flows.codex import FileKind, artifact_name

# An archive whose name tells nothing; its members' names may.
BUNDLE: Literal["bundle"] = "bundle"
ArtifactKind = FileKind | Literal["bundle"]

_PACKED = (".tar.gz", ".tgz", ".tar")
EVENTS = "events"
_LOG = "agent-log"
_LINES = (".jsonl", ".ndjson")
# What is written beside the events, whatever it is packed in.
_BESIDE = ("changes", "notify", "status", "runtime-log", "resume", "manifest", "workspace", "log", "logs")


class Artifact(Struct, frozen=True):
    """Something that a run has left.

    Attributes:
        location: what it is called by anybody; the account of it is kept under this.
        attempt: what it has in common with the other artifacts of the same attempt at the same stage.
    """

    object: Object
    location: str
    kind: ArtifactKind
    name: str
    attempt: str

    @property
    def is_packed(self) -> bool:
        """Whether it was packed: then nothing is written to it any more."""
        return self.object.key.endswith((*_PACKED, ".gz"))


def title_of(path: str) -> str:
    """Return what a file is called as an artifact, whatever it is packed in."""
    return _title(path.rpartition("/")[2])


# Few names are those of most artifacts.
@lru_cache(maxsize=1_024)
def _title(name: str) -> str:
    packed = next((end for end in _PACKED if name.endswith(end)), "")
    return artifact_name(name.removesuffix(packed) if packed else name)


def kind_of(path: str) -> ArtifactKind | None:
    """Return what a file is by its name; None where it is nothing of ours."""
    return _kind(path.rpartition("/")[2])


@lru_cache(maxsize=1_024)
def _kind(name: str) -> ArtifactKind | None:
    title = _title(name)
    if title.endswith(EVENTS):
        return "codex-events"
    if title.endswith(_LOG):
        return "log"
    if title.endswith(_BESIDE):
        return None
    if name.removesuffix(".gz").endswith(_LINES):
        return "codex-events"
    return BUNDLE if name.endswith(_PACKED) else None


def artifact(found: Object, location: str, name: str = "") -> Artifact | None:
    """Return an object as the artifact that it is; None where it is none.

    Args:
        found: the object.
        location: what it is called by anybody.
        name: what it is said to be, where its own name tells nothing.
    """
    path = _named(found.key, name)
    kind = kind_of(path)
    return Artifact(found, location, kind, title_of(path), attempt_of(path)) if kind is not None else None


def attempt_of(path: str, name: str = "") -> str:
    """Return what an artifact has in common with the others of its attempt: the folder, and the stage in its name."""
    path = _named(path, name)
    stage = title_of(path).removesuffix(EVENTS).removesuffix(_LOG).rstrip("-")
    return f"{path.rpartition('/')[0]}/{stage}"


def _named(path: str, name: str) -> str:
    """Return a path whose name tells what it is, if anything does."""
    name = name.replace("/", "-").strip(".")
    if kind_of(path) is not None or not name:
        return path
    folder, slash, _ = path.rpartition("/")
    return f"{folder}{slash}{name}"
