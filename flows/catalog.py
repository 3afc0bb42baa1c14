"""What a root holds of finished runs: which runs, and which artifacts of each."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

from msgspec import Struct

from connectors.archive import Limits, members
from connectors.objects import Object, ObjectError, Objects, Trouble
from connectors.unpack import ArchiveError
from flows.artifact import Artifact, artifact, attempt_of, kind_of, title_of
from flows.completion import CompletionError
from flows.finished import MAX_KEY_BYTES, FinishedRun, Key, Left, read_finished
from flows.message import DEFAULT_NAMESPACE

RUNS = "runs.jsonl"
# A run-complete payload holds a prompt, and what triggered it.
MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
MAX_PAYLOADS = 5_000_000
# So many folders of which it isn't sure whose they are are named.
MAX_ODD = 3


class Absent(Struct, frozen=True):
    """An artifact that a run is said to have left, and that can't be had."""

    location: str
    attempt: str
    trouble: Trouble
    text: str

    @property
    def may_pass(self) -> bool:
        """Whether it may be there later."""
        return self.trouble is not Trouble.REFUSED


class Listed(Struct):
    """A finished run, and what there is of it."""

    run: FinishedRun
    artifacts: list[Artifact] = []
    absent: list[Absent] = []

    @property
    def newest(self) -> float:
        """When it ended, or what it left was last changed; seconds since the Unix epoch."""
        completion = self.run.completion
        if completion is not None and completion.finished_at is not None:
            return completion.finished_at.timestamp()
        told = completion.received_at.timestamp() if completion is not None else 0.0
        return max((each.object.modified for each in self.artifacts), default=told)


class Catalog:
    """Tells which finished runs there are under a root.

    Args:
        objects: under the root.
        namespace: of runs that nobody tells the namespace of.
        note: told, in one line, what can't be read of the root itself.
    """

    def __init__(
        self, objects: Objects, namespace: str = DEFAULT_NAMESPACE, note: Callable[[str], None] = lambda _: None
    ) -> None:
        self._objects = objects
        self._namespace = namespace
        self._note = note

    def everything(self) -> list[Listed]:
        """Return all runs, the newest first.

        Raises:
            ObjectError: the root can't be listed.
        """
        found = {each.key: each for each in self._list("")}
        listing = found.pop(RUNS, None)
        told = self._told(listing) if listing else {}
        return sorted(self._of_told(told, found), key=lambda listed: listed.newest, reverse=True)

    def one(self, key: Key, known_name: str | None = None) -> Listed | None:
        """Return the run of a namespace and uid; None where there is nothing of it.

        Args:
            key: of the run.
            known_name: the workflow's name, where somebody knows it.

        Raises:
            ObjectError: the root can't be listed.
            LookupError: there are several folders, and nobody says which is the run's; the text is one line.
        """
        listing = self._find(RUNS)
        told = self._told(listing).get(key) if listing else None
        if told:
            return self.of(told)
        names = [name for name in dict.fromkeys((key[1], known_name)) if name and "/" not in name]
        for name in names:
            if found := self._under(name):
                return Listed(FinishedRun(*key, known_name or name), found)
        folders: dict[str, list[Object]] = {}
        for each in self._list(""):
            folders.setdefault(_folder(each.key), []).append(each)
        folders = {name: found for name, found in folders.items() if any(kind_of(each.key) for each in found)}
        if not folders:
            return None
        own_name = self._objects.root.rpartition("/")[2]
        if len(folders) > 1 and own_name not in names:
            message = f"none of the {len(folders)} folders under {self._objects.root} is named {' or '.join(names)}"
            raise LookupError(message)
        name = own_name if len(folders) > 1 or own_name in names else next(iter(folders))
        return Listed(
            FinishedRun(*key, known_name or name), self._ours(each for found in folders.values() for each in found)
        )

    def of(self, run: FinishedRun) -> Listed:
        """Return what there is of a run that is known.

        Raises:
            ObjectError: the root can't be asked.
        """
        listed = Listed(run, self._under(run.name) if _is_folder(run.name) else [], [])
        self._add_left(listed, {each.object.key: each.object for each in listed.artifacts})
        return listed

    def _of_told(self, told: dict[Key, FinishedRun], found: dict[str, Object]) -> Iterator[Listed]:
        folders: dict[str, list[Object]] = {}
        for each in found.values():
            folders.setdefault(_folder(each.key), []).append(each)
        names = Counter(run.name for run in told.values())
        taken: set[str] = set()
        for run in told.values():
            # What two runs of one name have in their folder belongs to whoever names it.
            own = folders.get(run.name, []) if names[run.name] == 1 else []
            listed = Listed(run, self._ours(own), [])
            self._add_left(listed, found)
            taken.update(each.object.key for each in listed.artifacts)
            yield listed
        by_place: dict[str, list[Artifact]] = {}
        for name, objects in folders.items():
            rest = self._ours(each for each in objects if each.key not in taken)
            if rest and not names[name]:
                by_place[name] = rest
                yield Listed(FinishedRun(self._namespace, name, name), rest, [])
        self._note_odd(by_place)

    def _note_odd(self, by_place: dict[str, list[Artifact]]) -> None:
        """Say which folders are taken for a workflow's by their place alone, and look as if they held workflows."""
        odd = [
            (name, folder)
            for name, found in by_place.items()
            if (folder := next(filter(None, (_odd_folder(each.object.key) for each in found)), None))
        ]
        for name, folder in odd[:MAX_ODD]:
            self._note(
                f"{name}/{folder} is taken for a part of the workflow {name}, since no line of {RUNS} tells of it;"
                f" if {folder} is the workflow, give {self._objects.root}/{name} as ROOT"
            )
        if len(odd) > MAX_ODD:
            self._note(f"and {len(odd) - MAX_ODD:,} more folders like these")

    def _add_left(self, listed: Listed, found: dict[str, Object]) -> None:
        """Add what a run is said to have left and isn't in its folder."""
        have = {each.object.key for each in listed.artifacts}
        for left in listed.run.left:
            if not (kind_of(left.name) or kind_of(left.key)):
                continue
            try:
                known = self._resolve(left, found)
            except ObjectError as error:
                # What can't be kept as it is can by its escapes.
                place = self._objects.location(left.key if _can_be_kept(left.key) else ascii(left.key)[1:-1])
                listed.absent.append(Absent(place, attempt_of(left.key, left.name), error.trouble, str(error)))
                continue
            each = artifact(known, self._objects.location(known.key), left.name)
            if each is not None and known.key not in have:
                have.add(known.key)
                listed.artifacts.append(each)

    def _resolve(self, left: Left, found: dict[str, Object]) -> Object:
        """Return what a run is said to have left, whose key is relative to the root or to the bucket.

        Raises:
            ObjectError: it can't be had.
        """
        _check(left.key)
        if left.bucket and self._objects.bucket and left.bucket != self._objects.bucket:
            message = f"{left.key} is in another bucket, {left.bucket}"
            raise ObjectError(Trouble.REFUSED, message)
        prefix = self._objects.prefix
        keys = [left.key]
        if prefix and left.key.startswith(f"{prefix}/"):
            keys.insert(0, left.key.removeprefix(f"{prefix}/"))
        for key in keys:
            if key in found:
                return found[key]
        missing: ObjectError | None = None
        for key in keys:
            try:
                return self._objects.find(key)
            except ObjectError as error:
                missing = missing or error
        raise missing or ObjectError(Trouble.MISSING, left.key)

    def _under(self, name: str) -> list[Artifact]:
        return self._ours(self._list(name))

    def _ours(self, found: Iterable[Object]) -> list[Artifact]:
        ours = (artifact(each, self._objects.location(each.key)) for each in found)
        return [each for each in ours if each is not None]

    def _list(self, under: str) -> Iterator[Object]:
        for each in self._objects.list(under, lambda error: self._note(str(error))):
            try:
                _check(each.key)
            except ObjectError as error:
                self._note(str(error))
            else:
                yield each

    def _find(self, key: str) -> Object | None:
        try:
            return self._objects.find(key)
        except ObjectError as error:
            if error.trouble is Trouble.MISSING:
                return None
            raise

    def _told(self, listing: Object) -> dict[Key, FinishedRun]:
        """Read the list of run-complete payloads; what is wrong with a line costs that line alone."""
        told: dict[Key, FinishedRun] = {}
        received_at = datetime.fromtimestamp(listing.modified, UTC)
        limits = Limits(lines=MAX_PAYLOADS, line_bytes=MAX_PAYLOAD_BYTES)
        try:
            with self._objects.open(listing) as file:
                for member in members(file, limits):
                    for line in (line for lines in member.lines for line in lines):
                        if not line.data.strip() and not line.lost:
                            continue
                        try:
                            run = read_finished(line.data.removeprefix(b"\xef\xbb\xbf"), received_at, self._namespace)
                        except CompletionError as error:
                            self._note(f"line {line.number} of {listing.key}: {error}")
                            continue
                        known = told.get(run.key)
                        told[run.key] = known.also(run) if known else run
        except ArchiveError as error:
            self._note(f"{listing.key}: {error}")
        return told


def _check(key: str) -> None:
    """Refuse a key that can't be kept.

    Raises:
        ObjectError: it can't.
    """
    if not _can_be_kept(key):
        message = f"{ascii(key)[:100]} has a name that can't be kept"
        raise ObjectError(Trouble.REFUSED, message)


def _can_be_kept(key: str) -> bool:
    """Say whether a key can be stored, and shown in a line."""
    return key.isprintable() and len(key.encode("utf-8", "surrogatepass")) <= MAX_KEY_BYTES


def _folder(key: str) -> str:
    """Return the workflow that an object belongs to by its place."""
    folder, slash, _ = key.partition("/")
    return folder if slash else title_of(key)


def _odd_folder(key: str) -> str | None:
    """Return the second folder on an object's way where its name is none that Argo gives a workflow's pod."""
    folders = key.split("/")[:-1]
    if len(folders) < 2 or folders[1].startswith((folders[0], ".")):
        return None
    return folders[1]


def _is_folder(name: str) -> bool:
    return "/" not in name and name not in (".", "..", "")
