"""Objects in a folder and in a bucket, behind the same few words."""

import errno
import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connectors.loopback import HOST
from connectors.objects import Object, ObjectError, Objects, Trouble
from tests.bucket import KEYS, Bucket
from tests.rights import as_nobody
from tests.waiting import wait_until


class Folder:
    """The same as a bucket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    @property
    def root(self) -> str:
        return str(self.path)

    def put(self, key: str, data: bytes) -> str:
        path = self.path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return key


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Folder | Bucket:
    if request.param == "folder":
        return Folder(tmp_path / "root")
    bucket: Bucket = request.getfixturevalue("bucket")
    return bucket


def keys(objects: Objects, under: str = "") -> list[str]:
    return [found.key for found in objects.list(under)]


def test_what_is_there_is_listed_at_any_depth_with_size_and_time(place: Folder | Bucket) -> None:
    for key in ("runs.jsonl", "wf-1/pod/a.tgz", "wf-1/deep/er/b.jsonl", "wf-10/c", "wf-1.txt"):
        place.put(key, key.encode())
    found = {each.key: each for each in Objects(place.root).list()}
    assert found.keys() == {"runs.jsonl", "wf-1/pod/a.tgz", "wf-1/deep/er/b.jsonl", "wf-10/c", "wf-1.txt"}
    assert all(each.size == len(key) for key, each in found.items())
    assert all(each.modified > 1_700_000_000 for each in found.values())


def test_what_is_under_a_folder_is_not_what_is_beside_it(place: Folder | Bucket) -> None:
    for key in ("wf-1/a", "wf-1/b/c", "wf-10/d", "wf-1.txt"):
        place.put(key, b"x")
    assert sorted(keys(Objects(place.root), "wf-1")) == ["wf-1/a", "wf-1/b/c"]
    assert keys(Objects(place.root), "wf-2") == []


def test_a_root_may_be_below_another(place: Folder | Bucket) -> None:
    place.put("teams/one/wf-1/a", b"x")
    place.put("teams/two/wf-1/b", b"x")
    objects = Objects(f"{place.root}/teams/one/")
    assert keys(objects) == ["wf-1/a"]
    with objects.open(objects.find("wf-1/a")) as file:
        assert file.read(10) == b"x"


def test_a_version_is_another_once_the_content_is(place: Folder | Bucket) -> None:
    place.put("a", b"one")
    objects = Objects(place.root)
    first = objects.find("a")
    assert objects.find("a") == first == next(objects.list())

    def is_another() -> bool:
        # Where a file's time is that of the kernel's last tick, two of a size may have the same.
        place.put("a", b"two")
        return objects.find("a").version != first.version

    wait_until(is_another, "another version")


def test_what_is_read_is_what_is_there(place: Folder | Bucket) -> None:
    data = os.urandom(9_000_000)
    place.put("large", data)
    place.put("empty", b"")
    objects = Objects(place.root)
    for key, expected in (("large", data), ("empty", b"")):
        with objects.open(objects.find(key)) as file:
            parts = []
            while part := file.read(1 << 20):
                parts.append(part)
            assert b"".join(parts) == expected


def test_what_is_not_there_is_missing(place: Folder | Bucket) -> None:
    objects = Objects(place.root)
    asked: list[Callable[[], Object]] = [lambda: objects.find("a/b"), lambda: read(objects, Object("a/b", 1, "v", 0.0))]
    for ask in asked:
        with pytest.raises(ObjectError) as missing:
            ask()
        assert (missing.value.trouble, missing.value.helps_to_wait) == (Trouble.MISSING, True)


def read(objects: Objects, found: Object) -> Object:
    with objects.open(found) as file:
        file.read(1)
    return found


@pytest.mark.parametrize("suffix", ["nowhere", "no/where"])
def test_a_root_that_is_not_there_is_missing(suffix: str, tmp_path: Path, bucket: Bucket) -> None:
    del bucket
    for root in (f"{tmp_path}/{suffix}", f"s3://{suffix}"):
        objects = Objects(root)
        for ask in (objects.look, lambda: list(objects.list())):  # noqa: B023
            with pytest.raises(ObjectError) as missing:
                ask()
            assert missing.value.trouble is Trouble.MISSING


def test_whether_a_root_can_be_listed_is_one_question(place: Folder | Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        place.put(f"below/{number}.jsonl", b"x")
    monkeypatch.setattr(Objects, "list", lambda *_: pytest.fail("everything is listed"))
    Objects(place.root).look()
    Objects(f"{place.root}/below").look()


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../a", "a/../b", "a//b", "a/", "./a", "a\\b", "a\0b", "a\ud800"])
def test_a_key_that_leads_out_is_refused(key: str, place: Folder | Bucket) -> None:
    objects = Objects(place.root)
    with pytest.raises(ObjectError) as refused:
        objects.find(key)
    assert (refused.value.trouble, refused.value.helps_to_wait) == (Trouble.REFUSED, False)
    with pytest.raises(ObjectError, match=r"no path|symbolic"):
        read(objects, Object(key, 1, "v", 0.0))


def test_links_and_what_is_no_file_are_neither_listed_nor_opened(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "root")
    folder.put("real/a", b"x")
    (tmp_path / "outside").write_bytes(b"secret")
    (folder.path / "file").symlink_to(tmp_path / "outside")
    (folder.path / "loop").symlink_to(folder.path)
    os.mkfifo(folder.path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder.path / "socket"))
        objects = Objects(folder.root)
        assert keys(objects) == ["real/a"]
        for key in ("file", "loop/real/a", "pipe", "socket"):
            with pytest.raises(ObjectError) as refused:
                objects.find(key)
            assert refused.value.trouble is Trouble.REFUSED


def test_a_root_may_itself_be_a_link(tmp_path: Path) -> None:
    Folder(tmp_path / "root").put("a", b"x")
    (tmp_path / "link").symlink_to(tmp_path / "root")
    assert keys(Objects(str(tmp_path / "link"))) == ["a"]


@pytest.mark.parametrize("mode", [0, 0o444], ids=oct)
def test_a_folder_that_may_not_be_read_hides_only_itself(mode: int, common: Path) -> None:
    folder = Folder(common / "root")
    for key in ("shut/a", "shut/b", "shut/below/c", "open/d"):
        folder.put(key, b"x")
    (folder.path / "shut").chmod(mode)
    objects = Objects(folder.root)
    for under, found in (("", ["open/d"]), ("shut", [])):
        told: list[tuple[str, Trouble]] = []
        with as_nobody():
            keys = [each.key for each in objects.list(under, lambda key, error: told.append((key, error.trouble)))]  # noqa: B023
        assert (keys, told) == (found, [("shut", Trouble.FORBIDDEN)])


@pytest.mark.parametrize("mode", [0, 0o444], ids=oct)
def test_a_root_that_may_not_be_read_is_forbidden(mode: int, common: Path) -> None:
    folder = Folder(common / "root")
    folder.put("wf-1/a", b"x")
    folder.path.chmod(mode)
    objects = Objects(folder.root)
    for ask in (objects.look, lambda: list(objects.list()), lambda: list(objects.list("wf-1"))):
        with as_nobody(), pytest.raises(ObjectError) as forbidden:
            ask()
        assert (forbidden.value.trouble, str(forbidden.value)) == (
            Trouble.FORBIDDEN,
            f"{folder.root} may not be read",
        )


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE], ids=os.strerror)
def test_what_a_file_system_fails_to_tell_of_hides_only_itself(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Folder(tmp_path / "root")
    for key in ("wf-1/a", "wf-1/b", "wf-2/c"):
        folder.put(key, b"x")
    entries = os.scandir

    def scan(path: str) -> Any:
        # A context, as what it stands for.
        return entries(path) if not path.endswith("wf-1") else [Failing(each, number) for each in entries(path)]

    monkeypatch.setattr(os, "scandir", lambda path: scan(os.fspath(path)))
    told: list[tuple[str, Trouble]] = []
    found = Objects(folder.root).list("", lambda key, error: told.append((key, error.trouble)))
    assert [each.key for each in found] == ["wf-1/b", "wf-2/c"]
    assert told == [("wf-1/a", Trouble.UNREACHABLE)]


class Failing:
    """An entry of a folder whose file system fails to tell of `a`."""

    def __init__(self, entry: "os.DirEntry[str]", number: int) -> None:
        self.entry = entry
        self.number = number

    def __getattr__(self, name: str) -> Any:
        return getattr(self.entry, name)

    def stat(self, *, follow_symlinks: bool) -> os.stat_result:
        if self.entry.name == "a":
            raise OSError(self.number, os.strerror(self.number))
        return self.entry.stat(follow_symlinks=follow_symlinks)


def test_a_bucket_that_does_not_answer_is_unreachable_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL_S3": f"http://{HOST}:1"}.items():
        monkeypatch.setenv(name, value)
    objects = Objects("s3://argo-workflows")
    for ask in (objects.look, lambda: list(objects.list())):
        with pytest.raises(ObjectError) as away:
            ask()
        assert (away.value.trouble, away.value.helps_to_wait) == (Trouble.UNREACHABLE, True)


def test_without_credentials_it_is_forbidden(bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(ObjectError) as forbidden:
        list(Objects(bucket.root).list())
    assert forbidden.value.trouble is Trouble.FORBIDDEN


@pytest.mark.parametrize("root", ["{0}/root", "file://{0}/root"])
def test_it_goes_by_one_name_whoever_asks(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Folder(tmp_path / "root").put("a", b"x")
    monkeypatch.chdir(tmp_path)
    there: Callable[[str], str] = lambda name: Objects(name).location("a")  # noqa: E731
    assert there(root.format(tmp_path)) == there("root") == there("root/") == f"file://{tmp_path}/root/a"
    assert Objects("s3://b/p/").location("a") == "s3://b/p/a"


def test_it_may_be_sent_to_another_process(place: Folder | Bucket) -> None:
    place.put("a", b"x")
    objects = Objects(place.root)
    assert keys(objects) == ["a"]
    assert keys(pickle.loads(pickle.dumps(objects))) == ["a"]
