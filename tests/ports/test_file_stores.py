"""One suite for every store of files; below it what only files on a disk can suffer."""

import errno
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qwen_image_studio.contract.errors import StudioError
from qwen_image_studio.gallery.local import open_local
from qwen_image_studio.gallery.names import check_key, no_such_image
from qwen_image_studio.gallery.s3 import open_s3
from qwen_image_studio.gallery.store import FileStore, StoredFile
from qwen_image_studio.settings import Settings
from tests.support.servers.objects import ObjectStore

KEY = "2026/11/21/job_1/0.png"
HOSTILE = [
    *["", "/", ".", "..", "../canary", "a/../../canary", "a/./b", "a/..", "/etc/passwd", "//a", "a//b", "a/", "/a"],
    *["a\0b", "a\\..\\b", "C:/a", "C:a", ".hidden", "a/.hidden", ".incoming/a", "a\n", "a b", "~", "~/a", "a%2fb"],
    *["a/b:stream", "a..b", "a.", "-rf", "x" * 256, "/".join("ab" * 300), "ａ", "..．", "é.png", "\ud800"],
]


class Toy:
    """The smallest store that keeps what FileStore promises, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[bytes, str, float]] = {}

    def put(self, key: str, data: bytes, mime_type: str) -> None:
        """Keep."""
        self.kept[check_key(key)] = data, mime_type, time.time()

    def put_once(self, key: str, data: bytes, mime_type: str) -> bool:
        """Keep, unless there is something."""
        if check_key(key) in self.kept:
            return False
        self.put(key, data, mime_type)
        return True

    def open(self, key: str) -> StoredFile:
        """Open what was kept."""
        if check_key(key) not in self.kept:
            raise no_such_image()
        data, mime_type, _ = self.kept[key]
        return StoredFile(BytesIO(data), len(data), hashlib.sha256(data).hexdigest(), mime_type)

    def delete(self, key: str) -> None:
        """Delete, if it is there."""
        self.kept.pop(check_key(key), None)

    def keys(self) -> Iterator[tuple[str, float]]:
        """List all."""
        yield from [(key, put_at) for key, (_, _, put_at) in self.kept.items()]


def make_local(folder: Path) -> FileStore:
    """The store of files on a disk, as the settings open it."""
    return open_local(Settings(_env_file=None, data_dir=folder))


ADAPTERS: dict[str, Callable[[Path], FileStore]] = {"local": make_local, "toy": lambda _: Toy()}
SERVERS = ["moto", "s3rver"]
"""Object stores, as the fixtures of these names start them."""
WHOLE = [*sorted(ADAPTERS), "moto"]
"""The stores with whole puts and conditional ones, unlike s3rver, which writes a file while others read it."""


@pytest.fixture(params=[*sorted(ADAPTERS), *SERVERS])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    """An empty store of each kind in turn."""
    if request.param in SERVERS:
        server: ObjectStore = request.getfixturevalue(request.param)
        return open_s3(Settings.model_validate(server.settings))
    return ADAPTERS[request.param](tmp_path)


def read(storage: FileStore, key: str) -> bytes:
    """The whole file."""
    with storage.open(key).stream as stream:
        return stream.read()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder in which the local store keeps its files."""
    return tmp_path.resolve() / "images"


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(StudioError) as caught:
        call()
    return caught.value.code


def test_what_was_put_is_opened_again(storage: FileStore) -> None:
    for data in (b"", b"\x89PNG", os.urandom(300_000)):
        storage.put(KEY, data, "image/png")
        assert read(storage, KEY) == data


def test_keys_are_apart(storage: FileStore) -> None:
    storage.put("a/1.png", b"one", "image/png")
    storage.put("a/2.png", b"two", "image/png")
    storage.put("b/1.png", b"three", "image/png")
    assert [read(storage, key) for key in ("a/1.png", "a/2.png", "b/1.png")] == [b"one", b"two", b"three"]


def test_a_file_that_is_put_once_stays(storage: FileStore) -> None:
    assert storage.put_once(KEY, b"first", "image/png")
    assert not storage.put_once(KEY, b"second", "image/png")
    assert read(storage, KEY) == b"first"
    storage.delete(KEY)
    assert storage.put_once(KEY, b"second", "image/png")
    assert read(storage, KEY) == b"second"


def test_a_missing_image_is_not_found(storage: FileStore) -> None:
    assert code_of(lambda: storage.open(KEY)) == "not_found"
    storage.put(KEY, b"x", "image/png")
    for other in ("2026", "2026/11/21/job_1", KEY + "/0.png", "2026/11/21/job_1/0"):
        assert code_of(lambda other=other: storage.open(other)) == "not_found"  # type: ignore[misc]


def test_delete_forgets_one_image_and_may_be_repeated(storage: FileStore) -> None:
    storage.put(KEY, b"x", "image/png")
    storage.put("other.png", b"y", "image/png")
    for _ in range(2):
        storage.delete(KEY)
        assert code_of(lambda: storage.open(KEY)) == "not_found"
    storage.delete("2026")
    storage.delete("other.png/0.png")
    assert read(storage, "other.png") == b"y"


@pytest.mark.parametrize("key", HOSTILE)
def test_hostile_keys_name_nothing(storage: FileStore, key: str) -> None:
    assert code_of(lambda: storage.put(key, b"x", "image/png")) == "not_found"
    assert code_of(lambda: storage.open(key)) == "not_found"
    assert code_of(lambda: storage.delete(key)) == "not_found"


@given(key=st.text(max_size=40) | st.lists(st.sampled_from(["..", ".", "/", "a", "\\", "\0", "canary"])).map("".join))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_is_a_harmless_key(tmp_path: Path, storage: FileStore, key: str) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(b"outside")
    try:
        storage.put(key, b"inside", "image/png")
        opened = read(storage, key)
        storage.delete(key)
    except StudioError as error:  # storage_failed: a folder of that name may be there by now
        opened = b"inside" if error.code in {"not_found", "storage_failed"} else b""
    assert opened == b"inside"
    assert canary.read_bytes() == b"outside"
    assert {path.name for path in tmp_path.iterdir()} <= {"canary", "images"}


@pytest.mark.parametrize("storage", WHOLE, indirect=True)
def test_a_reader_never_sees_half_an_image(storage: FileStore) -> None:
    versions = [bytes([number]) * 400_000 for number in range(8)]
    storage.put(KEY, versions[0], "image/png")

    def put_all(_: int) -> None:
        for version in versions:
            storage.put(KEY, version, "image/png")

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(put_all, number) for number in range(3)]
        while not all(writer.done() for writer in writers):
            assert read(storage, KEY) in versions
        for writer in writers:
            writer.result()


def test_a_file_tells_its_size_its_kind_and_another_tag_once_it_changes(storage: FileStore) -> None:
    tags = set()
    for data in (b"one", b"two", b"three"):
        storage.put(KEY, data, "image/png")
        found = storage.open(KEY)
        with found.stream:
            assert (found.size, found.mime_type) == (len(data), "image/png")
            tags.add(found.tag)
    assert len(tags) == 3
    assert not [tag for tag in tags if '"' in tag]


def test_a_file_can_be_read_from_its_middle(storage: FileStore) -> None:
    storage.put(KEY, bytes(range(256)), "image/png")
    with storage.open(KEY).stream as stream:
        assert stream.seekable()
        stream.seek(100)
        assert stream.read(3) == bytes([100, 101, 102])


def test_an_open_file_stays_what_it_was(storage: FileStore) -> None:
    storage.put(KEY, b"earlier", "image/png")
    with storage.open(KEY).stream as stream:
        storage.put(KEY, b"later", "image/png")
        storage.delete(KEY)
        assert stream.read() == b"earlier"


def test_every_file_is_listed_with_its_time(storage: FileStore) -> None:
    before = time.time()
    assert list(storage.keys()) == []
    for key in (KEY, "2026/11/22/a.png", "other.png"):
        storage.put(key, b"x", "image/png")
    storage.delete("other.png")
    listed = dict(storage.keys())
    assert set(listed) == {KEY, "2026/11/22/a.png"}
    assert all(before - 5 < put_at < time.time() + 5 for put_at in listed.values())


@pytest.mark.parametrize("storage", WHOLE, indirect=True)
def test_of_many_that_put_once_one_wins(storage: FileStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        data = [b"%d" % number for number in range(16)]
        won = [each for each in pool.map(lambda each: each if storage.put_once(KEY, each, "") else None, data) if each]
    assert [read(storage, KEY)] == won


# Only files: full disks, planted links, processes that die in the middle of a put.


@pytest.mark.parametrize("call", ["fsync", "replace", "mkdir", "open"])
def test_a_full_disk_keeps_the_earlier_image(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    storage = make_local(tmp_path)
    storage.put(KEY, b"earlier", "image/png")

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path))

    with monkeypatch.context() as full:
        full.setattr(os if call == "fsync" else Path, call, fail)
        with pytest.raises(StudioError) as caught:
            storage.put(KEY, b"later", "image/png")
    assert caught.value.code == "storage_failed"
    assert "No space left" in caught.value.message
    assert str(tmp_path) not in caught.value.message
    assert read(storage, KEY) == b"earlier"
    assert list((root / ".incoming").iterdir()) == []


def test_whichever_call_fails_the_image_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = make_local(tmp_path)
    sync = os.fsync
    failures = 0
    for nth in range(1, 9):
        calls = 0

        def fail_once(descriptor: int, nth: int = nth) -> None:
            nonlocal calls
            calls += 1
            if calls == nth:
                raise OSError(errno.EIO, "Input/output error")
            sync(descriptor)

        before = f"before {nth}".encode()
        storage.put(KEY, before, "image/png")
        with monkeypatch.context() as broken:
            broken.setattr(os, "fsync", fail_once)
            with suppress(StudioError):
                storage.put(KEY, b"after", "image/png")
        failures += calls >= nth
        assert read(storage, KEY) in {before, b"after"}
    assert failures >= 6  # the file itself and each folder up to the root


def test_put_reaches_the_disk_in_the_right_order(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = make_local(tmp_path)
    said: list[str] = []
    sync, replace = os.fsync, Path.replace

    def note_sync(descriptor: int) -> None:
        said.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), root))
        sync(descriptor)

    def note_replace(path: Path, target: Path) -> Path:
        said.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "replace", note_replace)
    storage.put("2026/11/a.png", b"x", "image/png")
    assert said[0].startswith(".incoming/")
    assert said[1:] == ["rename", "2026/11", "2026", "."]


DIES_IN_PUT = """
import os, pathlib, sys
from tests.ports.test_file_stores import KEY, make_local
storage = make_local(pathlib.Path(sys.argv[1]))
os.fsync = lambda _: os._exit(9)
storage.put(KEY, b"half", "image/png")
"""


def test_a_killed_put_leaves_nothing_to_be_seen(tmp_path: Path, root: Path) -> None:
    storage = make_local(tmp_path)
    assert subprocess.run([sys.executable, "-c", DIES_IN_PUT, str(tmp_path)]).returncode == 9
    assert code_of(lambda: storage.open(KEY)) == "not_found"
    (left,) = (root / ".incoming").iterdir()
    make_local(tmp_path)  # may be another process's, in the middle of its put
    assert left.exists()
    os.utime(left, (0, time.time() - 2 * 3600))
    make_local(tmp_path)
    assert not left.exists()


@pytest.mark.parametrize("planted", ["0.png", "2026/0.png", "2026/11/0.png"])
def test_no_link_leads_out_of_the_root(tmp_path: Path, root: Path, planted: str) -> None:
    """Plant a symbolic link at each level of the key's path in turn; the last level is the file itself."""
    storage = make_local(tmp_path)
    outside = tmp_path / "outside"
    (outside / "11").mkdir(parents=True)
    for canary in (outside / "0.png", outside / "11" / "0.png"):
        canary.write_bytes(b"canary")
    first = planted.split("/")[0]
    (root / first).symlink_to(outside / "0.png" if first == planted else outside)
    assert code_of(lambda: storage.open(planted)) == "not_found"
    assert code_of(lambda: storage.put(planted, b"overwritten", "image/png")) == "not_found"
    assert code_of(lambda: storage.delete(planted)) == "not_found"
    assert code_of(lambda: storage.put("2026/new/0.png" if first == "2026" else planted, b"x", "")) == "not_found"
    assert (outside / "0.png").read_bytes() == (outside / "11" / "0.png").read_bytes() == b"canary"
    assert not (outside / "new").exists()


def test_a_link_that_leads_to_itself_is_refused(tmp_path: Path, root: Path) -> None:
    storage = make_local(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    assert code_of(lambda: storage.open("loop/0.png")) == "not_found"
    assert code_of(lambda: storage.put("loop/0.png", b"x", "image/png")) == "not_found"


def test_a_folder_that_cannot_be_made_is_said_at_start(tmp_path: Path) -> None:
    (tmp_path / "images").write_text("a file where the folder should be")
    assert code_of(lambda: make_local(tmp_path)) == "storage_failed"
