"""Whose a folder of artifacts is, by what is told of the runs: the name that it has, and who else is called so."""

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from flows.artifact import title_of
from flows.finished import FinishedRun, Key

# No file system has a longer name.
MAX_FOLDER_BYTES = 255


class Owners(Protocol):
    """Knows which runs there are beside those that the root tells of: see `flows.owners`."""

    def elsewhere(self, namespace: str, folders: Iterable[str]) -> set[str]:
        """Return which folders runs of other namespaces are called."""

    def read_elsewhere(self, namespace: str, locations: Iterable[str]) -> set[str]:
        """Return which artifacts, by their locations, were read for runs of other namespaces."""


class Heard(Struct, frozen=True):
    """What the list of runs tells of whose something is.

    Attributes:
        called: which runs have a name for theirs, or for their uid.
        keys: what each run is said to have left.
    """

    called: dict[str, set[Key]]
    keys: dict[Key, frozenset[str]]

    @classmethod
    def of(cls, told: Iterable[FinishedRun]) -> "Heard":
        """Return what runs that are told of say."""
        heard = cls({}, {})
        for run in told:
            for name in folders_of(run):
                heard.called.setdefault(name, set()).add(run.key)
            heard.keys[run.key] = frozenset(left.key for left in run.left)
        return heard

    def shares(self, key: Key, name: str) -> bool:
        """Say whether another run is called so, save one that is known by its name alone: that may be the same."""
        bare = key[0], name
        return bool(self.called.get(name, set()) - {key, bare})


def place_of(key: str) -> str:
    """Return the workflow that an object belongs to by its place."""
    folder, slash, _ = key.partition("/")
    return folder if slash else title_of(key)


def odd_folder(key: str) -> str | None:
    """Return the second folder on an object's way where its name is none that Argo gives a workflow's pod."""
    folders = key.split("/")[:-1]
    if len(folders) < 2 or folders[1].startswith((folders[0], ".")):
        return None
    return folders[1]


def folders_of(run: FinishedRun) -> list[str]:
    """Return the folders that a run would be known by: its uid's, and its name's."""
    return [name for name in dict.fromkeys((run.uid, run.name)) if is_folder(name)]


def folders_on(key: str) -> list[str]:
    """Return the folders on the way to an object; its workflow by its place, where it is in none."""
    return key.split("/")[:-1] or [place_of(key)]


def is_folder(name: str) -> bool:
    """Say whether a folder can be called so."""
    return not ({"/", "\\", "\0"} & {*name} or name in (".", "..", "")) and len(name.encode()) <= MAX_FOLDER_BYTES


def shared_in_words(folder: str) -> str:
    """Say why a run's folder was left alone."""
    return f"the name of the folder {folder} is shared with other runs: only what was named for this one was read"
