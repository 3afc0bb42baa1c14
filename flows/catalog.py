"""What a root holds of finished runs: which runs, and which artifacts of each."""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime

from connectors.archive import Limits, members
from connectors.objects import Object, ObjectError, Objects, Trouble
from connectors.unpack import ArchiveError
from flows.artifact import Artifact, artifact, attempt_of, kind_of
from flows.completion import CompletionError
from flows.finished import MAX_KEY_BYTES, FinishedRun, Key, Left, read_finished
from flows.folders import Heard, Owners, folders_of, folders_on, is_folder, odd_folder, place_of, shared_in_words
from flows.listed import Absent, Listed
from flows.message import DEFAULT_NAMESPACE

RUNS = "runs.jsonl"
# A run-complete payload holds a prompt, and what triggered it.
MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
MAX_PAYLOADS = 5_000_000
# A file system's own folder, which is no run's, and root's alone.
LOST = "lost+found"
# What can't be listed, by the folder under the root.
Hidden = dict[str, list[Absent]]
# So many folders of which it isn't sure whose they are are named.
MAX_ODD = 3


class Catalog:
    """Tells which finished runs there are under a root.

    Args:
        objects: under the root.
        namespace: of runs that nobody tells the namespace of.
        note: told, in one line, what can't be read of the root itself, and what is left alone.
        owners: know the runs of other namespaces; who has none may read whatever there is for any of them.

    Attributes:
        has_left_some_alone: whether there are artifacts of which nobody tells whose they are.
    """

    def __init__(
        self,
        objects: Objects,
        namespace: str = DEFAULT_NAMESPACE,
        note: Callable[[str], None] = lambda _: None,
        owners: Owners | None = None,
    ) -> None:
        self._objects = objects
        self._namespace = namespace
        self._note = note
        self._owners = owners
        self._heard: tuple[Object, Heard] | None = None
        self.has_left_some_alone = False

    def everything(self) -> list[Listed]:
        """Return all runs, the newest first.

        Raises:
            ObjectError: the root can't be listed.
        """
        hidden: Hidden = {}
        found = {each.key: each for each in self._list("", hidden)}
        listing = found.pop(RUNS, None)
        told = self._told(listing) if listing else {}
        return sorted(self._of_told(told, found, hidden), key=lambda listed: listed.newest, reverse=True)

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
        if listing is not None:
            told = self._told(listing)
            self._heard = listing, Heard.of(told.values())
            if run := told.get(key):
                return self.of(run)
        names = [name for name in dict.fromkeys((key[1], known_name)) if name and is_folder(name)]
        hidden: Hidden = {}
        under = self._under(names, hidden)
        if under:
            name = self._own(key, under)
            return Listed(FinishedRun(*key, known_name or name), under[name], hidden.get(name, []))
        folders: dict[str, list[Object]] = {}
        for each in self._list("", {}):
            folders.setdefault(place_of(each.key), []).append(each)
        folders = {name: found for name, found in folders.items() if any(kind_of(each.key) for each in found)}
        if not folders:
            return None
        own_name = self._objects.root.rpartition("/")[2]
        if len(folders) > 1 and own_name not in names:
            # What can be no folder's name is one to look for all the same.
            wanted = " or ".join(names or [key[1]])
            message = f"none of the {len(folders)} folders under {self._objects.root} is named {wanted}"
            raise LookupError(message)
        ours = self._ours(each for found in folders.values() for each in found)
        name = self._own(key, {own_name if len(folders) > 1 or own_name in names else next(iter(folders)): ours})
        return Listed(FinishedRun(*key, known_name or name), ours)

    def of(self, run: FinishedRun) -> Listed:
        """Return what there is of a run that is known.

        Raises:
            ObjectError: the root can't be asked.
        """
        hidden: Hidden = {}
        under = self._under(folders_of(run), hidden)
        shared = self._shared(run.key, under)
        for name in shared:
            self._note(f"{'/'.join(run.key)}: {shared_in_words(name)}")
        own = [each for name, found in under.items() if name not in shared for each in found]
        absent = [each for name in under if name not in shared for each in hidden.get(name, ())]
        listed = Listed(run, own, absent, [*shared])
        self._add_left(listed, {each.object.key: each.object for each in own}, self._refused(run))
        return listed

    def _own(self, key: Key, under: dict[str, list[Artifact]]) -> str:
        """Return the first of some folders that are no other run's.

        Raises:
            LookupError: there is none.
        """
        shared = self._shared(key, under)
        for name in under:
            if name not in shared:
                return name
        shown = " or ".join(under)
        message = f"the name of the folder {shown} is shared with other runs; tell in {RUNS} whose its artifacts are"
        raise LookupError(message)

    def _shared(self, key: Key, under: dict[str, list[Artifact]]) -> list[str]:
        """Return which folders other runs are called, too, or hold what was read for a run of another namespace.

        That is any other run that the root tells of, and such of other namespaces as are known otherwise.
        """
        if not under:
            return []
        heard = self._hear()
        foreign: set[str] = set()
        read: set[str] = set()
        if self._owners is not None:
            foreign = self._owners.elsewhere(key[0], under)
            read = self._owners.read_elsewhere(key[0], (each.location for found in under.values() for each in found))
        return [
            name
            for name, found in under.items()
            if heard.shares(key, name) or name in foreign or any(each.location in read for each in found)
        ]

    def _hear(self) -> Heard:
        """Return what the list of runs tells, which is read anew where it has changed."""
        listing = self._find(RUNS)
        if listing is None:
            return Heard({}, {})
        if self._heard is None or self._heard[0] != listing:
            self._heard = listing, Heard.of(self._told(listing).values())
        return self._heard[1]

    def _refused(self, run: FinishedRun) -> set[Left]:
        """Return what was named for a run by such as may not operate everywhere, and is of another namespace.

        That is what lies in a folder, at any depth, that a run of another namespace is called, and what was read for
        one: whoever may not see a run may not have what it has left read into one of theirs.
        """
        confined = [left for left in run.left if left.confined and _can_be_kept(left.key)]
        if not confined or self._owners is None:
            return set()
        heard = self._hear()
        said = heard.keys.get(run.key, frozenset())
        keys = {left: self._keys(left) for left in confined if left.key not in said}
        folders = {folder for each in keys.values() for key in each for folder in folders_on(key)}
        foreign = self._owners.elsewhere(run.namespace, folders)
        foreign |= {name for name in folders if any(key[0] != run.namespace for key in heard.called.get(name, ()))}
        locations = {self._objects.location(key) for each in keys.values() for key in each}
        read = self._owners.read_elsewhere(run.namespace, locations)
        return {
            left
            for left, each in keys.items()
            if any(self._objects.location(key) in read or not foreign.isdisjoint(folders_on(key)) for key in each)
        }

    def _of_told(self, told: dict[Key, FinishedRun], found: dict[str, Object], hidden: Hidden) -> Iterator[Listed]:
        folders: dict[str, list[Object]] = {name: [] for name in hidden}
        for each in found.values():
            folders.setdefault(place_of(each.key), []).append(each)
        called = Heard.of(told.values()).called
        # What two runs of one name have in their folder belongs to whoever names it.
        shared = {name for name, keys in called.items() if len(keys) > 1}
        taken: set[str] = set()
        for run in told.values():
            names = [name for name in folders_of(run) if name in folders]
            ours = self._ours(each for name in names if name not in shared for each in folders[name])
            absent = [each for name in names if name not in shared for each in hidden.get(name, ())]
            listed = Listed(run, ours, absent, [name for name in names if name in shared])
            self._add_left(listed, found)
            taken.update(each.object.key for each in listed.artifacts)
            yield listed
        rest = {
            name: artifacts
            for name, objects in folders.items()
            if (artifacts := self._ours(each for each in objects if each.key not in taken))
        }
        for name, artifacts in rest.items():
            if name not in called:
                yield Listed(FinishedRun(self._namespace, name, name), artifacts, hidden.pop(name, []))
        for name, absent in hidden.items():
            if name not in called and name != LOST and _can_be_kept(name):
                yield Listed(FinishedRun(self._namespace, name, name), [], absent)
        self._note_odd({name: artifacts for name, artifacts in rest.items() if name not in shared})
        self._note_shared({name: artifacts for name, artifacts in rest.items() if name in shared})

    def _note_shared(self, left_alone: dict[str, list[Artifact]]) -> None:
        """Say which artifacts are left alone, since nobody has told whose they are."""
        self.has_left_some_alone = bool(left_alone)
        for name, artifacts in [*left_alone.items()][:MAX_ODD]:
            self._note(
                f"the name of the folder {name} is shared with other runs: what no line of {RUNS} names of it is left"
                f" alone, artifacts: {len(artifacts):,}"
            )
        if len(left_alone) > MAX_ODD:
            self._note(f"and those in {len(left_alone) - MAX_ODD:,} more folders")

    def _note_odd(self, by_place: dict[str, list[Artifact]]) -> None:
        """Say which folders are taken for a workflow's by their place alone, and look as if they held workflows."""
        odd = [
            (name, folder)
            for name, found in by_place.items()
            if (folder := next(filter(None, (odd_folder(each.object.key) for each in found)), None))
        ]
        for name, folder in odd[:MAX_ODD]:
            self._note(
                f"{name}/{folder} is taken for a part of the workflow {name}, since no line of {RUNS} tells of it;"
                f" if {folder} is the workflow, give {self._objects.root}/{name} as ROOT"
            )
        if len(odd) > MAX_ODD:
            self._note(f"and {len(odd) - MAX_ODD:,} more folders like these")

    def _add_left(self, listed: Listed, found: dict[str, Object], refused: Collection[Left] = ()) -> None:
        """Add what a run is said to have left and isn't in its folder, save what is refused and nobody else named."""
        have = {each.object.key for each in listed.artifacts}
        for left in sorted(listed.run.left, key=refused.__contains__):
            if not (kind_of(left.name) or kind_of(left.key)):
                continue
            try:
                if left in refused:
                    if have.isdisjoint(self._keys(left)):
                        _refuse(left)
                    continue
                known = self._resolve(left, found)
            except ObjectError as error:
                listed.absent.append(self._absent(left.key, attempt_of(left.key, left.name), error))
                continue
            each = artifact(known, self._objects.location(known.key), left.name)
            if each is not None and known.key not in have:
                have.add(known.key)
                listed.artifacts.append(each)

    def _absent(self, key: str, attempt: str, error: ObjectError) -> Absent:
        # What can't be kept as it is can by its escapes.
        place = self._objects.location(key if _can_be_kept(key) else _escaped(key))
        text = str(error)
        return Absent(place, attempt, error.trouble, text if text.isprintable() else _escaped(text))

    def _resolve(self, left: Left, found: dict[str, Object]) -> Object:
        """Return what a run is said to have left, whose key is relative to the root or to the bucket.

        Raises:
            ObjectError: it can't be had.
        """
        _check(left.key)
        if left.bucket and self._objects.bucket and left.bucket != self._objects.bucket:
            message = f"{left.key} is in another bucket, {left.bucket}"
            raise ObjectError(Trouble.REFUSED, message)
        keys = self._keys(left)
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

    def _keys(self, left: Left) -> list[str]:
        """Return the keys below the root that may be meant."""
        prefix = self._objects.prefix
        if prefix and left.key.startswith(f"{prefix}/"):
            return [left.key.removeprefix(f"{prefix}/"), left.key]
        return [left.key]

    def _under(self, names: Iterable[str], hidden: Hidden) -> dict[str, list[Artifact]]:
        """Return what is in folders, of those in which there is something or may be."""
        under = {name: self._ours(self._list(name, hidden)) for name in names}
        return {name: found for name, found in under.items() if found or name in hidden}

    def _ours(self, found: Iterable[Object]) -> list[Artifact]:
        ours = (artifact(each, self._objects.location(each.key)) for each in found)
        return [each for each in ours if each is not None]

    def _list(self, under: str, hidden: Hidden) -> Iterator[Object]:
        """Yield the objects in a folder; what can't be listed is told, and added to what is hidden."""

        def note(key: str, error: ObjectError) -> None:
            if key == RUNS:
                # Without it nobody knows whose anything is.
                raise error
            absent = self._absent(key, attempt_of(key), error)
            self._note(absent.text)
            hidden.setdefault(key.partition("/")[0], []).append(absent)

        for each in self._objects.list(under, note):
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


def _refuse(left: Left) -> None:
    """Refuse what isn't for everybody to name.

    Raises:
        ObjectError: always.
    """
    message = f"{left.key} is another namespace's, and who has named it may not operate in all of them"
    raise ObjectError(Trouble.REFUSED, message)


def _escaped(text: str) -> str:
    return ascii(text)[1:-1]


def _can_be_kept(key: str) -> bool:
    """Say whether a key can be stored, and shown in a line."""
    return key.isprintable() and len(key.encode("utf-8", "surrogatepass")) <= MAX_KEY_BYTES
